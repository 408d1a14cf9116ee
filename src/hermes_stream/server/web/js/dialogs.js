// Dialogs: the key, a yes or no, help. Each is a <dialog> of index.html, so that focus and Escape are the browser's.

import { byId, setText } from "./dom.js";

/**
 * What a person answered; "" where the dialog was left.
 * @param {string} id
 * @returns {Promise<string>}
 */
function answerOf(id) {
  const dialog = byId(id);
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** The key that the server wants; null where nobody gives one. @param {boolean} isRefused  one was given already */
export async function askKey(isRefused) {
  byId("key-refused").hidden = !isRefused;
  const field = byId("key");
  field.value = "";
  const answer = await answerOf("key-dialog");
  const key = field.value.trim();
  field.value = "";
  return answer === "yes" && key ? key : null;
}

/** @param {string} title @param {string} text @param {string} yes  what the button says */
export async function confirm(title, text, yes) {
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  return (await answerOf("confirm")) === "yes";
}

/** Whether a second memory was chosen. @param {string} explanation */
export async function askComparison(explanation) {
  setText(byId("compare-text"), explanation);
  return (await answerOf("compare-dialog")) === "yes";
}

/** Buttons that close their dialog, and clicks beside a dialog. */
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    for (const button of dialog.querySelectorAll("button[data-close]")) {
      button.addEventListener("click", () => dialog.close(/** @type {HTMLElement} */ (button).dataset.close));
    }
  }
}
