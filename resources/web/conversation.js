// The conversation and the choices, kept in this browser so that a reload loses nothing. All tabs share the conversation.
// Invariant: what is kept is bounded, and no tab writes over what another one has kept; a reply that was on its way when
// its page was left is marked as interrupted.

const CONVERSATION = "qwen-workbench.conversation";
const DRAFT = "qwen-workbench.draft"; // of this tab alone
const CHOICES = "qwen-workbench.choices";
const MOST_MESSAGES = 400;
const MOST_CHARACTERS = 1_500_000; // browsers keep 5 MB for a page, two bytes a character
const TAB = Math.random().toString(36).slice(2);
export const FRESH_MS = 10_000; // without a word from its tab for so long, a reply no longer grows

/**
 * A message is {id, role: "user", text, isStart} or {id, role: "assistant", text, thinking, thoughtSeconds, model, state, fault,
 * tokens, seconds} with the state growing, done, length, stopped, interrupted or failed.
 *
 * growing: the reply that grows in this tab; isElsewhere: one grows in another
 */
export class Conversation {
  constructor() {
    this.isKept = true;
    this.messages = [];
    this.growing = null;
    this.draft = read(DRAFT, "sessionStorage") ?? "";
    this.load();
  }

  load() {
    const kept = read(CONVERSATION) ?? {};
    const before = this.messages;
    this.messages = messagesOf(kept).map((one, at) => (JSON.stringify(one) === JSON.stringify(before[at]) ? before[at] : one));
    this.stamp = kept.stamp;
    this.isElsewhere = kept.tab !== TAB && Date.now() - kept.at < FRESH_MS && this.messages.at(-1)?.state === "growing";
    if (this.isElsewhere) return;
    for (const message of this.messages) if (message.state === "growing") message.state = "interrupted";
  }

  /** Whether no other tab has kept anything since this one has looked. */
  get isCurrent() {
    return (read(CONVERSATION)?.stamp ?? this.stamp) === this.stamp;
  }

  add(message) {
    this.messages.push({ id: `${TAB}-${Date.now()}-${message.role}`, ...message });
    return this.messages.at(-1);
  }

  saveDraft() {
    if (this.draft) write(DRAFT, this.draft, "sessionStorage");
    else remove(DRAFT, "sessionStorage");
  }

  save() {
    if (!this.isCurrent) this.#join(messagesOf(read(CONVERSATION)));
    let kept = this.messages.slice(-MOST_MESSAGES);
    const sizes = kept.map((message) => message.text.length + (message.thinking?.length ?? 0));
    let size = sizes.reduce((sum, one) => sum + one, 0);
    while (size > MOST_CHARACTERS && kept.length > 2) {
      size -= sizes.shift();
      kept = kept.slice(1);
    }
    this.stamp = `${TAB}-${Date.now()}-${Math.random()}`;
    const by = this.growing ? { tab: TAB, at: Date.now() } : {};
    if (this.messages.length) this.isKept = write(CONVERSATION, { messages: kept, stamp: this.stamp, ...by });
    else this.isKept = remove(CONVERSATION);
  }

  /** Another tab wrote at the same time: of what is theirs, theirs holds. */
  #join(theirs) {
    const known = new Set(this.messages.map((message) => message.id));
    const byId = new Map(theirs.map((message) => [message.id, message]));
    const mine = this.messages.map((one) => (one === this.growing ? one : (one.id && byId.get(one.id)) || one));
    this.messages = [...mine, ...theirs.filter((message) => message.id && !known.has(message.id))];
  }

  get lastQuestion() {
    return this.messages.findLastIndex((message) => message.role === "user");
  }

  /** What the model is shown: from the last start on, without replies that never had a word. */
  shown() {
    const start = this.messages.findLastIndex((message) => message.isStart);
    return this.messages
      .slice(Math.max(start, 0))
      .filter((message) => message.role === "user" || message.text)
      .map((message) => ({ role: message.role, content: message.text }));
  }

  static isPlace(key) {
    return key === CONVERSATION || key === null;
  }
}

export const EMPTY_CHOICES = { model: "", system: "", temperature: "", maxTokens: "", seed: "", think: "" };

export function choices() {
  const kept = read(CHOICES) ?? {};
  const known = Object.keys(EMPTY_CHOICES).filter((name) => typeof kept[name] === "string");
  return { ...EMPTY_CHOICES, ...Object.fromEntries(known.map((name) => [name, kept[name]])) };
}

export function keepChoices(chosen) {
  write(CHOICES, chosen);
}

/** The fields of a request; what is left empty is left to the model. */
export function fields(chosen) {
  const made = {};
  if (chosen.temperature !== "") made.temperature = Number(chosen.temperature);
  if (chosen.maxTokens !== "") made.max_tokens = Number(chosen.maxTokens);
  if (chosen.seed !== "") made.seed = Number(chosen.seed);
  if (chosen.think !== "") made.enable_thinking = chosen.think === "on";
  return made;
}

function isMessage(message) {
  return ["user", "assistant"].includes(message?.role) && typeof message.text === "string";
}

function messagesOf(kept) {
  return Array.isArray(kept?.messages) ? kept.messages.filter(isMessage) : [];
}

function read(place, storage = "localStorage") {
  try {
    return JSON.parse(window[storage].getItem(place));
  } catch {
    return null; // not allowed, or not ours
  }
}

function write(place, value, storage = "localStorage") {
  try {
    window[storage].setItem(place, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function remove(place, storage = "localStorage") {
  try {
    window[storage].removeItem(place);
    return true;
  } catch {
    return false;
  }
}
