// Markdown of a model -> elements, made one by one from the parser's tokens.
// Invariant: nothing the model writes becomes markup, is loaded, or runs; raw HTML is text, pictures are links, and links
// lead to http, https and mailto only.

import MarkdownIt from "./vendor/markdown-it-15.0.3/markdown-it.esm.min.mjs";
import { codeBlock } from "./code.js";
import { make } from "./dom.js";
import { addFormulas, formula } from "./formulas.js";

const TAGS = new Set("p h1 h2 h3 h4 h5 h6 ul ol li blockquote table thead tbody tr th td em strong s".split(" "));
const SCHEMES = new Set(["http:", "https:", "mailto:"]);
const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef]|[\ud840-\udbff]/;

const parser = new MarkdownIt({ html: false, linkify: true });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
addFormulas(parser);
openAtChinese(parser);
parser.core.ruler.after("inline", "tasks", showTasks);

/** What is done and what is to be done, in lists of tasks. */
function showTasks(state) {
  state.tokens.forEach((token, at) => {
    const first = state.tokens[at - 2]?.type === "list_item_open" && token.type === "inline" ? token.children[0] : null;
    if (first?.type !== "text") return;
    first.content = first.content.replace(/^\[( |x|X)\] /, (_, mark) => (mark === " " ? "☐ " : "☑ "));
  });
}

/** The blocks of a text as items {token, kids}, not drawn yet. */
export const blocks = (text) => nested(parser.parse(text, {}));

function nested(tokens) {
  const root = { kids: [] };
  const open = [root];
  for (const token of tokens) {
    if (token.hidden) continue; // paragraphs of tight lists
    if (token.nesting < 0) open.pop();
    else if (token.type === "inline") open.at(-1).kids.push(...nested(token.children));
    else {
      const item = { token, kids: [] };
      open.at(-1).kids.push(item);
      if (token.nesting > 0) open.push(item);
    }
  }
  return root.kids;
}

/** Makes `place`, whose end shows the items `old`, show `fresh` there; what is the same stays as it is. */
export function redraw(place, old, fresh) {
  let at = 0;
  while (at < old.length && at < fresh.length && adopts(fresh[at], old[at])) at += 1;
  for (const { node } of old.slice(at)) node.remove();
  place.append(...fresh.slice(at).map(drawn));
}

/** Takes over what `old` has drawn if it is the same but for more at its end. */
function adopts(item, old) {
  const [token, before] = [item.token, old.token];
  const isKind = token.type === before.type && token.tag === before.tag && token.info === before.info;
  if (!isKind || String(token.attrs) !== String(before.attrs) || !token.content.startsWith(before.content)) return false;
  if (token.content !== before.content) {
    if (!["text", "fence"].includes(token.type)) return false;
    const text = token.type === "text" ? old.node : old.node.querySelector("code").firstChild;
    if (!text) return false;
    text.data = token.type === "text" ? token.content : code(token);
  }
  item.node = old.node;
  item.place = old.place;
  if (token.nesting > 0) redraw(item.place, old.kids, item.kids);
  return true;
}

function drawn(item) {
  item.node = item.place = item.token.nesting > 0 ? opened(item.token) : leaf(item.token);
  if (item.kids.length) item.place.append(...item.kids.map(drawn));
  if (item.token.tag === "table") item.node = make("div", { className: "table", tabIndex: 0 }, item.place);
  return item.node;
}

function opened(token) {
  if (token.type === "link_open") return link(token.attrGet("href"));
  const node = document.createElement(TAGS.has(token.tag) ? token.tag : "span");
  if (token.tag === "ol" && token.attrGet("start") !== null) node.start = token.attrGet("start");
  const side = /text-align:(left|right|center)/.exec(token.attrGet("style") ?? "");
  if (side) node.className = `to-${side[1]}`;
  return node;
}

function leaf(token) {
  switch (token.type) {
    case "softbreak":
      return document.createTextNode("\n");
    case "hardbreak":
      return document.createElement("br");
    case "hr":
      return document.createElement("hr");
    case "code_inline":
      return make("code", { textContent: token.content });
    case "fence":
    case "code_block":
      return codeBlock(code(token), token.info.trim().split(/\s+/)[0]);
    case "formula":
    case "formula_block":
      return formula(token);
    case "image": {
      const node = link(token.attrGet("src"));
      node.append(token.content || token.attrGet("src"));
      node.classList.add("picture");
      return node;
    }
    default:
      return document.createTextNode(token.content);
  }
}

const code = (token) => token.content.replace(/\n$/, "");

function link(target) {
  const address = URL.canParse(target ?? "") ? new URL(target) : null;
  if (!address || !SCHEMES.has(address.protocol)) return make("span", {});
  return make("a", { href: address.href, target: "_blank", rel: "noopener noreferrer nofollow", title: address.href });
}

/** A Chinese neighbour counts as a word boundary, so that `**注意：**后面` is bold as it is meant. */
function openAtChinese(made) {
  const state = made.inline.State.prototype;
  const plain = state.scanDelims;
  state.scanDelims = function (start, canSplitWord) {
    const found = plain.call(this, start, canSplitWord);
    const before = this.src[start - 1] ?? " ";
    const after = this.src[start + found.length] ?? " ";
    if (this.src[start] === "*" && (CJK.test(before) || CJK.test(after))) {
      found.can_open = !/\s/.test(after);
      found.can_close = !/\s/.test(before);
    }
    return found;
  };
}
