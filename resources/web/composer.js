// The box for the question, with the one round button that sends or stops.

import { find, icon } from "./dom.js";
import { say } from "./words.js";

const TOUCH = matchMedia("(hover: none) and (pointer: coarse)"); // its keyboard has no Shift-Enter

export class Composer {
  /** verbs: {send(text), stop(), cancelEdit(), changed(text)} */
  constructor(verbs) {
    this.verbs = verbs;
    this.field = find("question");
    this.act = find("send");
    this.isBusy = this.isEditing = false;
    this.field.addEventListener("input", () => this.#changed());
    this.field.addEventListener("keydown", (event) => this.#key(event));
    this.act.onclick = () => (this.isBusy ? verbs.stop() : this.#send());
    find("cancel-edit").onclick = () => this.cancel();
    this.setBusy(false);
  }

  focus() {
    if (!TOUCH.matches) this.field.focus(); // on a phone that would bring the keyboard up
  }

  set(text) {
    this.#setEditing(false);
    this.#fill(text);
  }

  clear() {
    this.set("");
  }

  edit(text) {
    this.#setEditing(true);
    this.#fill(text);
    this.field.focus();
    this.field.setSelectionRange(text.length, text.length);
  }

  cancel() {
    this.#setEditing(false);
    this.verbs.cancelEdit();
    this.focus();
  }

  setBusy(isBusy) {
    this.isBusy = isBusy;
    this.act.replaceChildren(icon(isBusy ? "stop" : "send"));
    const name = say(isBusy ? "stop" : "send");
    this.act.setAttribute("aria-label", name);
    this.act.title = name;
    this.#fit();
  }

  #setEditing(isEditing) {
    this.isEditing = isEditing;
    find("editing").hidden = !isEditing;
  }

  #fill(text) {
    this.field.value = text;
    this.#fit();
  }

  #changed() {
    this.#fit();
    this.verbs.changed(this.field.value);
  }

  #key(event) {
    const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
    if (!isPlainEnter || (TOUCH.matches && !event.ctrlKey && !event.metaKey)) return;
    event.preventDefault();
    if (!this.isBusy) this.#send();
  }

  #send() {
    if (this.field.value.trim()) this.verbs.send(this.field.value.trim());
  }

  #fit() {
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
    this.act.disabled = !this.isBusy && !this.field.value.trim();
  }
}
