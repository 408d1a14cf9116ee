// Elements made in code. Text becomes text nodes and nothing else: an answer can hold any markup and stays text.

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element. Properties that begin with "on" are listeners, `class` and `data-…` and `aria-…` are attributes.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * An icon out of the sprite in index.html.
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * The element of an id, which stands in index.html.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

/**
 * Set a text only where it changes, so that nothing is laid out or read aloud again for nothing.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} text  said once to people who do not see the page */
export function announce(text) {
  const region = byId("announcements");
  region.textContent = "";
  // A region that is emptied and filled at once would say nothing the second time.
  requestAnimationFrame(() => (region.textContent = text));
}

/**
 * A message that goes by itself.
 * @param {string} text
 * @param {"note" | "error" | "alert"} [kind]
 * @param {(() => void) | null} [onOpen]  makes it a button
 */
export function toast(text, kind = "note", onOpen = null) {
  const box = h("div", { class: `toast is-${kind}`, role: kind === "error" ? "alert" : null }, h("span", {}, text));
  const close = () => box.remove();
  if (onOpen) box.append(h("button", { type: "button", class: "quiet", onclick: () => (onOpen(), close()) }, "Show"));
  box.append(h("button", { type: "button", class: "quiet square", "aria-label": "Dismiss", onclick: close }, icon("close")));
  const shelf = byId("toasts");
  shelf.append(box);
  while (shelf.children.length > 4) shelf.firstElementChild.remove();
  setTimeout(close, kind === "error" ? 12_000 : 7_000);
}
