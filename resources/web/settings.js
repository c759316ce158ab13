// The sheet with the system prompt and how tokens are chosen. What is left empty is left to the model.

import { EMPTY_CHOICES } from "./conversation.js";
import { find } from "./dom.js";
import { say } from "./words.js";

const FIELDS = ["system", "temperature", "maxTokens", "seed", "think"];
const NUMBERS = { temperature: "temperature_note", maxTokens: "max_tokens_note", seed: "seed_note" };

/** chosen: changed in place; onChange: called when it was. */
export function openSettings(chosen, onChange) {
  const dialog = find("settings-dialog");
  fill(chosen);
  find("settings-form").onsubmit = (event) => {
    event.preventDefault();
    if (Object.keys(NUMBERS).map(check).includes(false)) return;
    for (const name of FIELDS) chosen[name] = find(`set-${name}`).value.trim();
    onChange();
    dialog.close();
  };
  find("settings-reset").onclick = () => fill(EMPTY_CHOICES);
  find("settings-cancel").onclick = () => dialog.close();
  for (const name of Object.keys(NUMBERS)) find(`set-${name}`).onblur = () => check(name);
  dialog.showModal();
}

function fill(chosen) {
  for (const name of FIELDS) find(`set-${name}`).value = chosen[name];
  Object.keys(NUMBERS).forEach(check);
}

/** Whether a number is possible; the sentence under the field says so. */
function check(name) {
  const field = find(`set-${name}`);
  const isRight = field.checkValidity();
  const note = say(NUMBERS[name]);
  const told = find(`note-${name}`);
  told.textContent = isRight ? note : say("invalid", { note });
  told.classList.toggle("wrong", !isRight);
  field.setAttribute("aria-invalid", String(!isRight));
  return isRight;
}
