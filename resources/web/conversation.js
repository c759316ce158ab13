// The conversation and the choices, kept in this browser so that a reload loses nothing.
// Invariant: what is kept is bounded; a reply that was on its way when the page was left is marked as interrupted.

const CONVERSATION = "qwen-workbench.conversation";
const CHOICES = "qwen-workbench.choices";
const MOST_MESSAGES = 400;
const MOST_CHARACTERS = 1_500_000; // browsers keep 5 MB for a page, two bytes a character

/**
 * A message is {role: "user", text, isStart} or {role: "assistant", text, thinking, thoughtSeconds, model, state, fault, tokens,
 * seconds} with the state growing, done, length, stopped, interrupted or failed.
 */
export class Conversation {
  constructor() {
    this.isKept = true;
    this.load();
  }

  load() {
    const kept = read(CONVERSATION) ?? {};
    this.messages = Array.isArray(kept.messages) ? kept.messages.filter(isMessage) : [];
    this.draft = typeof kept.draft === "string" ? kept.draft : "";
    for (const message of this.messages) if (message.state === "growing") message.state = "interrupted";
  }

  save() {
    let kept = this.messages.slice(-MOST_MESSAGES);
    const sizes = kept.map((message) => message.text.length + (message.thinking?.length ?? 0));
    let size = sizes.reduce((sum, one) => sum + one, 0);
    while (size > MOST_CHARACTERS && kept.length > 2) {
      size -= sizes.shift();
      kept = kept.slice(1);
    }
    if (this.messages.length || this.draft) this.isKept = write(CONVERSATION, { messages: kept, draft: this.draft });
    else this.isKept = remove(CONVERSATION);
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

function read(place) {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    return null; // not allowed, or not ours
  }
}

function write(place, value) {
  try {
    localStorage.setItem(place, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function remove(place) {
  try {
    localStorage.removeItem(place);
    return true;
  } catch {
    return false;
  }
}
