// Formulas in Markdown: $, $$, \( and \[, as the window reads them, and how KaTeX draws them.
// Invariant: a formula never spans a blank line; what KaTeX cannot read stays as it was written.

import { make } from "./dom.js";

const CLOSERS = { $$: "$$", "\\(": "\\)", "\\[": "\\]" };
const INTERRUPTS = { alt: ["paragraph", "reference", "blockquote", "list"] };

let katex = null;
let loading = null;

/** Adds the rules to a markdown-it parser. */
export function addFormulas(parser) {
  parser.inline.ruler.before("escape", "formula", inlineFormula);
  parser.block.ruler.before("fence", "formula", blockFormula, INTERRUPTS);
}

/** The element for a formula token. KaTeX is loaded with the first one; until then the source stands there. */
export function formula(token) {
  const isBlock = token.type !== "formula" || token.markup === "$$" || token.markup === "\\[";
  const source = token.info;
  const node = make("span", { className: isBlock ? "formula block" : "formula", textContent: source });
  if (katex) draw(node, token.content, isBlock);
  else load().then(() => draw(node, token.content, isBlock), () => {});
  return node;
}

function load() {
  loading ??= import("./vendor/katex-0.19.1/katex.min.js").then(() => {
    katex = globalThis.katex;
  });
  return loading;
}

function draw(node, source, isBlock) {
  const drawn = document.createElement("span");
  const plain = Element.prototype.setAttribute;
  // KaTeX writes some of its own styles as attributes, which our policy forbids; as properties they are allowed.
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else plain.call(this, name, value);
  };
  try {
    katex.render(source, drawn, { displayMode: isBlock, throwOnError: true, strict: "ignore", trust: false, maxSize: 20, maxExpand: 500 });
    node.replaceChildren(...drawn.childNodes);
  } catch {
    node.classList.add("unread");
  } finally {
    Element.prototype.setAttribute = plain;
  }
}

function inlineFormula(state, silent) {
  const { src: source, pos: start, posMax: stop } = state;
  let mark = source.slice(start, start + 2);
  let body = start + 2;
  let end;
  if (CLOSERS[mark]) end = source.indexOf(CLOSERS[mark], body);
  else if (mark[0] === "$") {
    mark = "$";
    body = start + 1;
    end = closingDollar(source, body);
  } else return false;
  const after = end + mark.length;
  if (end < 0 || after > stop || !source.slice(body, end).trim()) return false;
  if (!silent) {
    const token = state.push("formula", "", 0);
    token.content = source.slice(body, end).trim();
    token.markup = mark;
    token.info = source.slice(start, after);
  }
  state.pos = after;
  return true;
}

/** Where `$...` ends, so that prices stay prices: no blank inside the marks, no digit after them. */
function closingDollar(source, body) {
  if (/\s/.test(source[body] ?? " ")) return -1;
  let end = source.indexOf("$", body);
  while (end > 0 && source[end - 1] === "\\") end = source.indexOf("$", end + 1);
  if (end <= body || /\s/.test(source[end - 1]) || /\d/.test(source[end + 1] ?? "")) return -1;
  return end;
}

function blockFormula(state, start, end, silent) {
  const first = state.src.slice(state.bMarks[start] + state.tShift[start], state.eMarks[start]);
  const mark = first.slice(0, 2);
  if (!["$$", "\\["].includes(mark) || state.sCount[start] - state.blkIndent >= 4) return false;
  const closer = CLOSERS[mark];
  const lines = [first.slice(2)];
  let line = start;
  while (!lines.at(-1).includes(closer)) {
    line += 1;
    if (line >= end || state.isEmpty(line) || state.sCount[line] < state.blkIndent) return false;
    lines.push(state.getLines(line, line + 1, state.blkIndent, false));
  }
  const last = lines.at(-1).trimEnd();
  const body = lines.join("\n").trimEnd().slice(0, -2).trim();
  if (last.indexOf(closer) !== last.length - 2 || !body) return false;
  if (!silent) {
    const token = state.push("formula_block", "", 0);
    Object.assign(token, { content: body, markup: mark, map: [start, line + 1], block: true });
    token.info = `${mark}\n${body}\n${closer}`;
    state.line = line + 1;
  }
  return true;
}
