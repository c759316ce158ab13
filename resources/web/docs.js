// The description of the API for people: its paths with their fields, from /openapi.json.

import { withKey } from "./access.js";
import { button, find, make } from "./dom.js";
import { copyText } from "./code.js";
import { description, Refused } from "./server.js";
import { faultSentence } from "./transcript.js";
import { say, switchLanguage, tell } from "./words.js";

const DEEPEST = 3; // of fields within fields
let told = null;
let needsKey = false;

function show() {
  tell();
  find("base-url").textContent = `${location.origin}/v1`;
  if (!told) return;
  const paths = Object.entries(told.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => section(path, verb, operation)),
  );
  find("paths").replaceChildren(...paths);
}

function section(path, verb, operation) {
  const head = make("h2", {}, make("span", { className: "verb" }, verb.toUpperCase()), " ", path);
  const node = make("section", {}, head, make("p", { className: "about" }, about(path, operation)));
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) node.append(part("api_body", fields(body)));
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  if (answer) node.append(part("api_answer", fields(answer)));
  node.append(example(path, verb, body));
  return node;
}

const ABOUT = {
  "/v1/chat/completions": "about_chat",
  "/v1/completions": "about_completions",
  "/v1/models": "about_models",
  "/v1/models/{name}": "about_model",
  "/tokenize": "about_tokenize",
  "/health": "about_health",
};

function about(path, operation) {
  return ABOUT[path] ? say(ABOUT[path]) : (operation.description ?? "");
}

function part(word, rows) {
  return make("details", {}, make("summary", {}, say(word)), make("dl", {}, ...rows));
}

/** Rows for the fields of a schema, those of nested objects under them. */
function fields(given, prefix = "", depth = 0) {
  const schema = resolved(given);
  const rows = [];
  const isNeeded = ([name]) => schema.required?.includes(name) ?? false;
  const named = Object.entries(schema.properties ?? {}).sort((one, other) => isNeeded(other) - isNeeded(one));
  for (const [name, field] of named) {
    const term = make("dt", {}, make("code", {}, prefix + name), " ", make("span", { className: "type" }, typeOf(field)));
    if (schema.required?.includes(name)) term.append(" ", make("span", { className: "required" }, say("api_required")));
    const notes = [field.description ?? "", range(field)];
    if (field.default !== undefined && field.default !== null && field.default !== "") {
      notes.push(say("api_default", { value: JSON.stringify(field.default) }));
    }
    rows.push(term, make("dd", {}, notes.filter(Boolean).join(" · ")));
    const inner = kinds(field).map(resolved).find((kind) => kind.properties);
    if (inner && depth < DEEPEST) rows.push(...fields(inner, `${prefix}${name}.`, depth + 1));
  }
  return rows;
}

function resolved(schema) {
  const name = schema.$ref?.replace("#/components/schemas/", "");
  return name ? told.components.schemas[name] : schema;
}

/** The schemas a field may have, without null and with those of a list's items. */
function kinds(field) {
  const some = field.anyOf ?? field.oneOf ?? [field];
  return some.flatMap((kind) => (kind.items ? kinds(kind.items) : kind.anyOf ? kinds(kind) : [kind])).filter((kind) => kind.type !== "null");
}

function typeOf(field) {
  const some = (field.anyOf ?? field.oneOf ?? [field]).filter((kind) => kind.type !== "null");
  const names = some.map((kind) => {
    if (kind.enum) return kind.enum.map((value) => JSON.stringify(value)).join(" | ");
    if (kind.const !== undefined) return JSON.stringify(kind.const);
    if (kind.type === "array") return `${kind.items ? typeOf(kind.items) : ""}[]`;
    return kind.type ?? (kind.$ref ? "object" : "any");
  });
  return [...new Set(names)].join(" | ");
}

function range(field) {
  const [numbers = {}] = kinds(field).filter((kind) => kind.minimum !== undefined || kind.maximum !== undefined);
  const { minimum: least, maximum: most } = numbers;
  if (least === undefined && most === undefined) return "";
  return most === undefined ? `≥ ${least}` : `${least ?? ""} – ${most}`;
}

const BODIES = {
  "/v1/chat/completions": { messages: [{ role: "user", content: "Hello" }], max_tokens: 50 },
  "/v1/completions": { prompt: "The capital of Ethiopia is", max_tokens: 10 },
  "/tokenize": { prompt: "Hello" },
};

function example(path, verb, body) {
  const parts = [`curl ${location.origin}${path.replace("{name}", "starter")}`];
  if (needsKey) parts[0] += ' -H "Authorization: Bearer KEY"';
  if (body) parts.push('-H "Content-Type: application/json"', `-d '${JSON.stringify(BODIES[path] ?? {})}'`);
  const text = parts.join(" \\\n  ");
  const copy = button(say("copy"), "copy", () => copyText(text, copy));
  const head = make("div", { className: "head" }, make("span", { className: "language" }, say("api_try")), copy);
  return make("div", { className: "code" }, head, make("pre", { tabIndex: 0 }, make("code", {}, text)));
}

find("language").onclick = () => {
  switchLanguage();
  show();
};
find("document").onclick = (event) => {
  event.preventDefault(); // a plain link would come without the key
  if (!told) return;
  const file = new Blob([JSON.stringify(told, null, 2)], { type: "application/json" });
  const link = make("a", { href: URL.createObjectURL(file), download: "openapi.json" });
  link.click();
  URL.revokeObjectURL(link.href);
};
document.addEventListener("told", (event) => find("toasts").replaceChildren(make("div", { className: "toast" }, make("span", {}, event.detail))));

show();
try {
  told = await withKey((key) => {
    needsKey = key !== "";
    return description(key);
  });
  show();
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  find("paths").replaceChildren();
  find("fault").textContent = faultSentence({ code: error.code, reason: error.reason });
}
