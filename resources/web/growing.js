// A text that grows at its end, drawn as Markdown: blocks that are complete are drawn once and stay.
// Invariant: the work of a frame depends on the last block alone, and takes a quarter of the time at most.

import { colour } from "./code.js";
import { elements, parse } from "./markdown.js";

const SHARE = 4;

export class Growing {
  /** place: where it is drawn; onDrawn: called after each change. */
  constructor(place, onDrawn = () => {}) {
    this.place = place;
    this.onDrawn = onDrawn;
    this.text = "";
    this.start = 0; // of what is not complete yet
    this.tail = [];
    this.frame = 0;
    this.timer = 0;
    this.cost = 0;
    this.drawnAt = 0;
  }

  set(text) {
    this.text = text;
    if (this.frame || this.timer) return;
    const wait = this.drawnAt + this.cost * SHARE - performance.now();
    if (wait > 0) this.timer = setTimeout(() => this.#ask(), wait);
    else this.#ask();
  }

  /** Draws what is left. A text with references is drawn anew, for they may stand at its end. */
  end() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    if (/^ {0,3}\[[^\]]+\]:/m.test(this.text)) {
      this.place.replaceChildren();
      this.tail = [];
      this.start = 0;
    }
    this.#drawTail(parse(this.text.slice(this.start)));
    this.start = this.text.length;
    colour(this.place);
    this.onDrawn();
  }

  #ask() {
    this.timer = 0;
    this.frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.frame = 0;
    const begun = performance.now();
    const rest = this.text.slice(this.start);
    let tokens = parse(rest);
    const [at, line] = lastBlock(tokens);
    if (at > 0 && line < rest.split("\n").length - 1) {
      // Its first line is whole, so nothing that comes can join it to what stands before it.
      this.#drawTail(tokens.slice(0, at));
      colour(this.place);
      this.tail = [];
      this.start += rest.split("\n").slice(0, line).join("\n").length + 1;
      tokens = tokens.slice(at);
    }
    this.#drawTail(tokens);
    this.drawnAt = performance.now();
    this.cost = this.drawnAt - begun;
    this.onDrawn();
  }

  #drawTail(tokens) {
    if (this.#appended(tokens)) return;
    const nodes = [...elements(tokens).childNodes];
    for (const node of this.tail) node.remove();
    this.place.append(...nodes);
    this.tail = nodes;
  }

  /** Code that only got longer is written on, so that long code stays cheap. */
  #appended(tokens) {
    const [node] = this.tail;
    if (tokens.length !== 1 || tokens[0].type !== "fence" || this.tail.length !== 1 || !node.matches?.(".code")) return false;
    const code = node.querySelector("code");
    const text = tokens[0].content.replace(/\n$/, "");
    const language = tokens[0].info.trim().split(/\s+/)[0];
    const isSame = !language || node.querySelector(".language").textContent === language;
    if (!isSame || !code.firstChild || !text.startsWith(code.textContent)) return false;
    code.firstChild.appendData(text.slice(code.textContent.length));
    return true;
  }
}

/** Where the last block of the top level begins: index of its token, and its line. */
function lastBlock(tokens) {
  const at = tokens.findLastIndex((token) => token.level === 0 && token.nesting >= 0 && token.map);
  return at < 0 ? [0, 0] : [at, tokens[at].map[0]];
}
