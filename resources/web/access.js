// The key: asked for where the server wants one, kept for this tab, or in this browser if the user says so.

import { find } from "./dom.js";
import { models } from "./server.js";
import { say } from "./words.js";

const PLACE = "qwen-workbench.key";

let key = read();

function read() {
  try {
    return sessionStorage.getItem(PLACE) ?? localStorage.getItem(PLACE) ?? "";
  } catch {
    return "";
  }
}

function keep(isForGood) {
  try {
    forget();
    (isForGood ? localStorage : sessionStorage).setItem(PLACE, key);
  } catch {
    // it holds until the page is closed
  }
}

function forget() {
  sessionStorage.removeItem(PLACE);
  localStorage.removeItem(PLACE);
}

/** Does `work(key)`; where the server wants another key, asks the user for it first. */
export async function withKey(work) {
  try {
    return await work(key);
  } catch (error) {
    if (error.code !== "invalid_api_key") throw error;
    await askForKey(key !== "");
    return work(key);
  }
}

let asking = null;

/** Opens the dialog until the server takes the key. */
function askForKey(isWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = find("key-dialog");
    const fault = find("key-fault");
    const field = find("key-field");
    fault.textContent = isWrong ? say("key_wrong") : "";
    dialog.oncancel = (event) => event.preventDefault(); // nothing can be done here without it
    find("key-form").onsubmit = async (event) => {
      event.preventDefault();
      const given = field.value.trim();
      fault.textContent = given ? "" : say("key_missing");
      if (!given || (await refusal(given, fault))) {
        field.setAttribute("aria-invalid", "true");
        field.select();
        return;
      }
      key = given;
      keep(find("key-keep").checked);
      field.value = "";
      field.removeAttribute("aria-invalid");
      dialog.close();
      asking = null;
      resolve();
    };
    dialog.showModal();
    field.focus();
  });
  return asking;
}

/** Whether the server refuses a key, told in `fault`. */
async function refusal(given, fault) {
  try {
    await models(/^[\x21-\x7e]+$/.test(given) ? given : "-"); // others cannot be sent, so they are none
    return false;
  } catch (error) {
    fault.textContent = say(error.code === "invalid_api_key" ? "key_wrong" : "fault_unreachable");
    return true;
  }
}
