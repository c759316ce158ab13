// The conversation on screen: one article a message, and staying at its end while it is looked at.

import { copyText } from "./code.js";
import { button, icon, make } from "./dom.js";
import { Growing } from "./growing.js";
import { say } from "./words.js";

const AT_END_PX = 40;
const FAULTS = {
  unreachable: "fault_unreachable",
  lost: "fault_lost",
  rate_limit_exceeded: "fault_busy",
  context_length_exceeded: "fault_long",
  invalid_api_key: "fault_key",
  no_model_loaded: "fault_no_model",
  api_stopping: "fault_stopping",
  api_model_changed: "fault_changed",
  api_model_ended: "fault_ended",
  api_loading: "fault_loading",
  out_of_memory: "fault_memory",
};
const MARKS = { stopped: "stopped", interrupted: "interrupted", length: "length" };

export const faultSentence = ({ code, reason }) => say(FAULTS[code] ?? "fault_other", { reason });

export class Transcript {
  /** place: what scrolls; list: where the messages are; verbs: {edit, regenerate, forget}, called without arguments. */
  constructor(place, list, toEnd, verbs) {
    Object.assign(this, { place, list, verbs, isAtEnd: true, reply: null, shown: [] });
    let top = 0;
    const noteScroll = () => {
      const isNear = place.scrollHeight - place.scrollTop - place.clientHeight < AT_END_PX;
      if (isNear) this.isAtEnd = true;
      else if (place.scrollTop < top) this.isAtEnd = false; // the user went up; else only the text grew
      top = place.scrollTop;
      toEnd.hidden = this.isAtEnd;
    };
    place.addEventListener("scroll", noteScroll, { passive: true });
    const sizes = new ResizeObserver(() => this.follow());
    sizes.observe(place);
    sizes.observe(list);
    toEnd.onclick = () => this.toEnd();
  }

  /** Brings the screen to `messages`: what is there already stays, unless `isAnew`. */
  show(messages, isAnew = false, goesToEnd = true) {
    const differs = messages.findIndex((message, at) => message !== this.shown[at]);
    const same = isAnew ? 0 : differs < 0 ? messages.length : differs;
    while (this.list.children.length > same) this.list.lastChild.remove();
    this.reply = null;
    const added = messages.slice(same);
    this.list.append(...added.map((message, at) => this.#article(message, at === added.length - 1)));
    this.shown = [...messages];
    this.#offer(messages);
    if (goesToEnd) this.toEnd();
    else this.follow();
  }

  /** A reply begins: what it is gets drawn by `grow`. */
  begin(message) {
    this.list.setAttribute("aria-busy", "true");
    for (const button of this.list.querySelectorAll(".again, .edit")) button.remove();
    this.reply = new Reply(message, () => this.follow());
    this.list.append(this.reply.article);
    this.shown.push(message);
    this.toEnd();
  }

  /** Says why nothing comes yet. */
  await(sentence) {
    if (this.reply) this.reply.waiting.textContent = sentence;
    this.follow();
  }

  grow() {
    this.reply?.grow();
    this.follow();
  }

  end(messages) {
    this.reply?.end(this.verbs, true);
    this.reply = null;
    this.#offer(messages);
    this.list.setAttribute("aria-busy", "false");
    this.follow();
  }

  follow() {
    if (this.isAtEnd) this.place.scrollTop = this.place.scrollHeight;
  }

  toEnd() {
    this.isAtEnd = true;
    this.follow();
  }

  #article(message, isLast) {
    if (message.role === "user") return question(message);
    const reply = new Reply(message, () => this.follow());
    if (message.state === "growing") reply.growElsewhere();
    else reply.end(this.verbs, isLast);
    return reply.article;
  }

  /** The last question can be changed, the last answer be had again. */
  #offer(messages) {
    const at = messages.findLastIndex((message) => message.role === "user");
    if (at < 0 || this.list.children.length <= at) return;
    const edit = button(say("edit"), "edit", this.verbs.edit);
    edit.classList.add("edit");
    this.list.querySelector(".edit")?.remove();
    this.list.children[at].querySelector(".actions").append(edit);
    for (const old of this.list.querySelectorAll("article:not(:last-child) .again")) old.remove();
  }
}

function question(message) {
  const copy = button(say("copy"), "copy", () => copyText(message.text, copy));
  const bubble = make("div", { className: "bubble", textContent: message.text });
  const article = make("article", { className: "question" }, bubble, make("div", { className: "actions" }, copy));
  if (message.isStart) article.prepend(make("p", { className: "start" }, say("start")));
  article.setAttribute("aria-label", say("you"));
  return article;
}

class Reply {
  constructor(message, onDrawn) {
    this.message = message;
    this.prose = make("div", { className: "prose" });
    this.growing = new Growing(this.prose, onDrawn);
    this.thoughts = null;
    this.waiting = make("p", { className: "waiting" }, say("waiting"));
    this.article = make("article", { className: "reply" }, this.waiting, this.prose);
    this.article.setAttribute("aria-label", say("answer_of", { model: message.model || say("model") }));
    if (message.state === "growing") this.article.classList.add("growing");
  }

  grow() {
    const { text, thinking } = this.message;
    if (text || thinking) this.waiting.remove();
    if (thinking) this.#showThoughts(!text);
    if (text) this.growing.set(text);
  }

  /** In another tab, which tells now and then how far it is. */
  growElsewhere() {
    this.grow();
    this.waiting.textContent = say("elsewhere");
    this.article.append(this.waiting);
  }

  /** The text is whole: what became of it, and what can be done with it. */
  end(verbs, isLast) {
    const { text, thinking, state, fault } = this.message;
    this.waiting.remove();
    this.article.classList.remove("growing");
    this.article.setAttribute("aria-label", say("answer_of", { model: this.message.model || say("model") }));
    if (thinking) this.#showThoughts(false);
    this.growing.text = text;
    this.growing.end();
    if (MARKS[state]) this.article.append(make("p", { className: "mark" }, say(MARKS[state])));
    if (state === "done" && !text) this.article.append(make("p", { className: "mark" }, say("empty_answer")));
    if (fault) this.article.append(this.#fault(verbs, isLast));
    this.article.append(this.#foot(verbs, isLast));
  }

  #showThoughts(isOpen) {
    const { thinking, thoughtSeconds, text, state } = this.message;
    const isThinking = state === "growing" && !text;
    if (!this.thoughts) {
      this.summary = make("summary");
      this.thought = document.createTextNode("");
      this.thoughts = make("details", { className: "thoughts", open: isOpen }, this.summary, make("p", {}, this.thought));
      this.article.prepend(this.thoughts);
    }
    if (thinking !== this.thought.data) this.thought.appendData(thinking.slice(this.thought.length));
    const told = thoughtSeconds === undefined ? say("thought_short") : say("thought", { seconds: thoughtSeconds });
    const words = isThinking ? say("thinking") : told;
    if (this.summary.textContent !== words) {
      this.summary.textContent = words;
      this.thoughts.open = isOpen;
    }
  }

  #fault(verbs, isLast) {
    const box = make("div", { className: "fault" }, icon("error"), make("p", {}, faultSentence(this.message.fault)));
    box.setAttribute("role", "alert");
    if (isLast) {
      const again = make("button", { type: "button", className: "secondary", onclick: verbs.regenerate }, say("try_again"));
      const buttons = make("div", { className: "buttons again" }, again);
      if (this.message.fault.code === "context_length_exceeded") {
        const forget = make("button", { type: "button", className: "secondary", onclick: verbs.forget }, say("forget"));
        buttons.append(forget);
      }
      box.append(buttons);
    }
    return box;
  }

  #foot(verbs, isLast) {
    const { text, tokens, seconds, fault } = this.message;
    const foot = make("div", { className: "actions" });
    if (text) {
      const copy = button(say("copy"), "copy", () => copyText(text, copy));
      foot.append(copy);
    }
    if (isLast && !fault) {
      const again = button(say("regenerate"), "refresh", verbs.regenerate);
      again.classList.add("again");
      foot.append(again);
    }
    if (tokens && seconds) {
      const rate = (tokens / seconds).toFixed(tokens / seconds < 10 ? 1 : 0);
      foot.append(make("span", { className: "figures" }, say("figures", { tokens, rate })));
    }
    return foot;
  }
}
