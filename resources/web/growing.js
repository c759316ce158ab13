// A text that grows at its end, drawn as Markdown: blocks that are complete are drawn once and stay.
// Invariant: the work of a frame depends on the last block alone, and takes a quarter of the time at most.

import { colour } from "./code.js";
import { blocks, redraw } from "./markdown.js";

const SHARE = 4;

export class Growing {
  /** place: where it is drawn; onDrawn: called after each change. */
  constructor(place, onDrawn = () => {}) {
    this.place = place;
    this.onDrawn = onDrawn;
    this.text = "";
    this.start = 0; // of what is not complete yet
    this.tail = []; // its blocks
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
    this.frame = this.timer = 0;
    if (/^ {0,3}\[[^\]]+\]:/m.test(this.text)) {
      this.place.replaceChildren();
      this.tail = [];
      this.start = 0;
    }
    this.#redraw();
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
    const rest = this.#redraw();
    const line = this.tail.at(-1)?.token.map?.[0] ?? 0;
    const lines = rest.split("\n");
    if (line > 0 && line < lines.length - 1) {
      // The first line of the last block is whole, so nothing that comes can join it to what stands before it.
      for (const { node } of this.tail.slice(0, -1)) colour(node);
      this.tail = this.tail.slice(-1);
      this.start += lines.slice(0, line).join("\n").length + 1;
    }
    this.drawnAt = performance.now();
    this.cost = this.drawnAt - begun;
    this.onDrawn();
  }

  #redraw() {
    const rest = this.text.slice(this.start);
    const fresh = blocks(rest);
    redraw(this.place, this.tail, fresh);
    this.tail = fresh;
    return rest;
  }
}
