// Single keys, as the help lists them; a switch there turns them off.

import { byId } from "./dom.js";

const KEY = "hermes-stream.shortcuts";

/** @param {Record<string, () => void>} actions  by key */
export function listenForShortcuts(actions) {
  const toggle = byId("shortcuts-on");
  toggle.checked = localStorage.getItem(KEY) !== "off";
  toggle.addEventListener("change", () => localStorage.setItem(KEY, toggle.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.closest("input, textarea, select, dialog[open]");
    if (isTyping || !toggle.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
