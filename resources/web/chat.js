// The chat page: joins the conversation, the server and what is on screen.
// Invariant: one reply grows at a time, of all tabs, and all that came of it is kept however it ends.

import { withKey } from "./access.js";
import { Composer } from "./composer.js";
import { choices, Conversation, fields, FRESH_MS, keepChoices } from "./conversation.js";
import { button, find, make } from "./dom.js";
import { models, Refused, reply } from "./server.js";
import { openSettings } from "./settings.js";
import { faultSentence, Transcript } from "./transcript.js";
import { say, switchLanguage, tell } from "./words.js";

const SAVE_MS = 1000;
const AGAIN_MS = 1500; // between two looks whether the server is back
const GONE_MS = 4000; // that it may be gone altogether, as while it changes hands
const BACK_MS = 60_000; // that it may say it is coming back
const TOAST_MS = 5000;

const conversation = new Conversation();
const chosen = choices();
let served = [];
let stopping = null; // the AbortController of the reply that grows
let growing = null; // that reply, as a message
let savedAt = 0;
let isLeft = false; // the page is going

const transcript = new Transcript(find("scroll"), find("messages"), find("to-end"), { edit, regenerate, forget });
const composer = new Composer({ send, stop, cancelEdit, changed: keepDraft });

// --- a question and its reply -------------------------------------------------------

/** Whether something may be asked now: not while a reply grows, here or in another tab. */
function isFree() {
  if (growing) return false;
  if (!conversation.isCurrent) refresh();
  if (conversation.isElsewhere) toast(say("other_tab"));
  return !conversation.isElsewhere;
}

function send(text) {
  if (!isFree()) return;
  const before = composer.isEditing ? [...conversation.messages] : null;
  const isStart = before !== null && before[conversation.lastQuestion].isStart;
  if (before) conversation.messages.length = conversation.lastQuestion;
  composer.clear();
  conversation.draft = "";
  conversation.saveDraft();
  conversation.add({ role: "user", text, isStart });
  answer(before);
}

function regenerate() {
  if (!isFree() || conversation.lastQuestion < 0) return;
  const before = [...conversation.messages];
  conversation.messages.length = conversation.lastQuestion + 1;
  answer(before);
}

/** Asks the last question as if it were the first; what came before stays on screen. */
function forget() {
  if (!isFree()) return;
  const question = { ...conversation.messages[conversation.lastQuestion], isStart: true };
  conversation.messages.splice(conversation.lastQuestion, Infinity, question);
  answer();
}

function edit() {
  if (!isFree()) return;
  composer.edit(conversation.messages[conversation.lastQuestion].text);
}

function cancelEdit() {
  composer.set(conversation.draft);
}

function stop() {
  stopping?.abort();
}

/** before: the conversation to go back to if there is no answer, for a good one shall not be lost for nothing. */
async function answer(before = null) {
  const system = chosen.system ? [{ role: "system", content: chosen.system }] : [];
  const body = { model: chosen.model, messages: [...system, ...conversation.shown()], ...fields(chosen) };
  transcript.show(conversation.messages);
  const message = conversation.add({ role: "assistant", text: "", thinking: "", model: chosen.model, state: "growing" });
  growing = conversation.growing = message;
  stopping = new AbortController();
  const { signal } = stopping;
  find("hello").hidden = true;
  find("clear").disabled = false;
  composer.setBusy(true);
  transcript.begin(message);
  save();
  const pulse = setInterval(save, SAVE_MS);
  try {
    await patiently(() => withKey((key) => take(reply(body, key, signal), message)), message, signal);
    message.state = message.finish === "length" ? "length" : "done";
  } catch (error) {
    if (signal.aborted) message.state = "stopped";
    else if (error instanceof Refused) Object.assign(message, { state: "failed", fault: { code: error.code, reason: error.reason } });
    else throw error;
  } finally {
    clearInterval(pulse);
    if (isLeft) message.state = "interrupted";
    if (isLeft) delete message.fault; // that the page has gone is no fault of the server
    delete message.finish;
    composer.setBusy(false);
    save(); // as the tab that has the reply
    growing = stopping = conversation.growing = null;
    transcript.end(conversation.messages);
    if (transcript.shown.length !== conversation.messages.length) transcript.show(conversation.messages);
    if (message.fault && !message.text && before?.at(-1).text) goBack(before, message.fault);
  }
  find("told").textContent = message.state === "done" ? say("answered") : "";
}

function goBack(before, fault) {
  const question = conversation.messages[conversation.lastQuestion].text;
  conversation.messages = before;
  transcript.show(before);
  if (question !== before[conversation.lastQuestion].text) composer.edit(question);
  toast(faultSentence(fault));
  save();
}

/** Asks again by itself while the server comes back, as long as nothing of the answer has come. */
async function patiently(ask, message, signal) {
  const begun = performance.now();
  while (true) {
    try {
      return await ask();
    } catch (error) {
      const waits = { unreachable: GONE_MS, api_loading: BACK_MS, api_model_ended: BACK_MS }[error.code] ?? 0;
      const isOver = performance.now() - begun > waits;
      if (!waits || isOver || message.text || message.thinking || signal.aborted || isLeft) throw error;
      transcript.await(say("coming_back"));
      await new Promise((resolve) => {
        setTimeout(resolve, AGAIN_MS);
        signal.addEventListener("abort", resolve, { once: true });
      });
    }
  }
}

async function take(pieces, message) {
  const asked = performance.now();
  let begun = 0;
  for await (const piece of pieces) {
    message.model = piece.model;
    message.finish = piece.finish || message.finish;
    if (piece.text || piece.thinking) begun ||= performance.now();
    if (piece.text && message.thinking && !message.text) message.thoughtSeconds = Math.ceil((performance.now() - asked) / 1000);
    message.thinking += piece.thinking;
    message.text += piece.text;
    if (piece.tokens) Object.assign(message, { tokens: piece.tokens, seconds: (performance.now() - begun) / 1000 });
    if (piece.text || piece.thinking) transcript.grow();
    if (performance.now() - savedAt > SAVE_MS) save();
  }
}

// --- what is kept -------------------------------------------------------------------

function save() {
  savedAt = performance.now();
  conversation.save();
  find("not-kept").hidden = conversation.isKept;
}

function keepDraft(text) {
  if (composer.isEditing) return;
  conversation.draft = text;
  conversation.saveDraft();
}

/** What another tab has kept; where a reply grows there, a look later whether it still does. */
function refresh() {
  conversation.load();
  showAll(false, false);
  clearTimeout(refresh.timer);
  if (conversation.isElsewhere) refresh.timer = setTimeout(() => growing || refresh(), FRESH_MS);
}

function clear() {
  if (!growing && !isFree()) return;
  stop();
  const before = conversation.messages;
  conversation.messages = [];
  composer.set(conversation.draft);
  save();
  showAll();
  composer.focus();
  if (!before.length) return;
  toast(say("cleared"), say("undo"), () => {
    if (!isFree() || conversation.messages.length) return;
    conversation.messages = before;
    save();
    showAll();
  });
}

function toast(text, verb = "", onVerb = () => {}) {
  const place = find("toasts");
  const shown = make("div", { className: "toast" }, make("span", {}, text));
  if (verb) {
    const act = () => {
      shown.remove();
      onVerb();
    };
    shown.append(make("button", { type: "button", className: "ghost", onclick: act }, verb));
  }
  place.replaceChildren(shown);
  const leave = () => (shown.matches(":hover, :focus-within") ? setTimeout(leave, TOAST_MS) : shown.remove());
  setTimeout(leave, TOAST_MS);
}

// --- the page around it -------------------------------------------------------------

function showAll(isAnew = false, goesToEnd = true) {
  transcript.show(conversation.messages, isAnew, goesToEnd);
  find("hello").hidden = conversation.messages.length > 0;
  find("clear").disabled = conversation.messages.length === 0;
  const model = chosen.model || served[0];
  find("hello-title").textContent = model ? say("hello", { model }) : say("hello_unknown");
  find("examples").replaceChildren(
    ...["example_1", "example_2", "example_3"].map((key) =>
      make("button", { type: "button", className: "example", onclick: () => send(say(key)) }, say(key)),
    ),
  );
}

async function showModels() {
  const banner = find("banner");
  try {
    served = await withKey(models);
    banner.hidden = served.length > 0;
    if (!served.length) complain("no_model_loaded");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.code, error.reason);
  }
  if (!served.includes(chosen.model)) chosen.model = served[0] ?? "";
  const select = find("model");
  select.replaceChildren(...served.map((name) => make("option", { value: name, textContent: name })));
  select.value = chosen.model;
  select.disabled = served.length < 2;
  if (!growing) showAll();
}

function complain(code, reason = "") {
  const again = make("button", { type: "button", className: "secondary", onclick: showModels }, say("try_again"));
  find("banner").replaceChildren(make("p", {}, faultSentence({ code, reason })), again);
  find("banner").hidden = false;
}

find("model").onchange = (event) => {
  chosen.model = event.target.value;
  keepChoices(chosen);
  showAll();
};
find("clear").onclick = clear;
find("settings").onclick = () => openSettings(chosen, () => keepChoices(chosen));
find("language").onclick = () => {
  switchLanguage();
  tell();
  composer.setBusy(growing !== null);
  if (!growing) showAll(true);
};
document.addEventListener("told", (event) => toast(event.detail));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !document.querySelector("dialog[open]")) {
    if (growing) stop();
    else if (composer.isEditing) composer.cancel();
  }
});
addEventListener("pagehide", () => {
  isLeft = true;
  if (!growing) return;
  growing.state = "interrupted";
  save();
});
addEventListener("pageshow", () => (isLeft = false));
addEventListener("storage", (event) => {
  if (!growing && Conversation.isPlace(event.key)) refresh(); // changed in another tab
});

tell();
composer.set(conversation.draft);
refresh();
transcript.toEnd();
composer.focus();
showModels();
