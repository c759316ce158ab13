// Code blocks: the language, a copy button, and colours that come when there is time for them.

import { button, make } from "./dom.js";
import { say } from "./words.js";

const MOST_COLOURED = 60_000; // characters
let highlighter = null;

export function codeBlock(text, language) {
  const code = make("code", { textContent: text });
  const copy = button(say("copy_code"), "copy", () => copyText(code.textContent, copy));
  const name = make("span", { className: "language" }, language || say("code"));
  const block = make("div", { className: "code" }, make("div", { className: "head" }, name, copy));
  block.append(make("pre", { tabIndex: 0 }, code));
  return block;
}

/** Puts colours on the finished code blocks in `node`, one after the other while nothing else is to do. */
export function colour(node) {
  for (const block of node.matches(".code") ? [node] : node.querySelectorAll(".code:not(.final)")) {
    block.classList.add("final");
    const language = block.querySelector(".language").textContent.toLowerCase();
    const code = block.querySelector("code");
    if (code.textContent.length > MOST_COLOURED) continue;
    whenIdle(async () => {
      highlighter ??= (await import("./vendor/highlight.js-11.12.0/highlight.min.js")).default;
      if (!highlighter.getLanguage(language)) return;
      const found = highlighter.highlight(code.textContent, { language, ignoreIllegals: true });
      code.replaceChildren(...found._emitter.rootNode.children.map(coloured));
    });
  }
}

/** What the highlighter found as elements: its own HTML is never used. */
function coloured(found) {
  if (typeof found === "string") return document.createTextNode(found);
  const kind = found.scope?.split(".")[0] ?? "";
  return make("span", { className: /^[\w-]+$/.test(kind) ? `hl-${kind}` : "" }, ...found.children.map(coloured));
}

function whenIdle(work) {
  if (window.requestIdleCallback) requestIdleCallback(work, { timeout: 500 });
  else setTimeout(work, 50);
}

/** Copies and says so in the button; pages that come without TLS from another machine need the old way. */
export async function copyText(text, told) {
  const isCopied = await written(text);
  document.dispatchEvent(new CustomEvent("told", { detail: say(isCopied ? "copied" : "copy_failed") }));
  if (!isCopied) return;
  told.classList.add("done");
  setTimeout(() => told.classList.remove("done"), 1500);
}

async function written(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { value: text, className: "hidden", readOnly: true });
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    return isCopied;
  }
}
