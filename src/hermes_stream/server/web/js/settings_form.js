// How a session remembers: memory, budget, model, frames a second; for the start page and for a comparison.

import { getJson } from "./api.js";
import { byId, h, setText } from "./dom.js";

/** @typedef {{name: string, kind: string, summary: string}} Part */
/** @typedef {{memory?: string, budget?: number | string, model?: string, fps?: number, name?: string}} Settings */

const OWN = "…";
/** @type {Promise<{default: string, data: Part[]}> | null} */
let known = null;

export class MemoryChoice {
  /**
   * @param {string} prefix  of the ids: `${prefix}-memory`, `-own`, `-summary`, `-budget`
   * @param {string} [none]  what an empty choice is called; without it the default memory is chosen
   */
  constructor(prefix, none = "") {
    this.select = byId(`${prefix}-memory`);
    this.own = byId(`${prefix}-own`);
    this.summary = byId(`${prefix}-summary`);
    this.budget = byId(`${prefix}-budget`);
    this.none = none;
    /** @type {Map<string, string>} */
    this.summaries = new Map();
    this.select.addEventListener("change", () => this.#changed());
  }

  /** Fill in what the server offers. */
  async load() {
    known ??= getJson("/v1/policies");
    known.catch(() => (known = null));
    const { data, default: first } = await known;
    const stores = data.filter(({ kind }) => kind === "store");
    stores.sort((a, b) => Number(b.name === first) - Number(a.name === first));
    this.summaries = new Map(stores.map(({ name, summary }) => [name, summary]));
    const options = stores.map(({ name }) => h("option", { value: name }, name === first ? `${name} (default)` : name));
    if (this.none) options.unshift(h("option", { value: "" }, this.none));
    this.select.replaceChildren(...options, h("option", { value: OWN }, "Composed, in your own words …"));
    this.#changed();
  }

  /** Suggest another memory than one that is in use. @param {string} used */
  suggest(used) {
    const other = ["sliding-window", "hermes", ...this.summaries.keys()].find((name) => !used.startsWith(name));
    this.select.value = other ?? "";
    this.#changed();
  }

  /** @returns {Settings | null}  null where nothing is chosen */
  get value() {
    const memory = this.select.value === OWN ? this.own.value.trim() : this.select.value;
    if (!memory && this.none) return null;
    return { memory: memory || undefined, budget: budgetOf(this.budget.value) };
  }

  #changed() {
    const isOwn = this.select.value === OWN;
    this.own.hidden = !isOwn;
    setText(this.summary, isOwn ? "As in: dtd(drop=0.5) | hermes + recent(frames=4)" : this.summaries.get(this.select.value) ?? "");
    this.budget.disabled = Boolean(this.none) && !this.select.value;
  }
}

/** Tokens a layer as a number, bytes as they were written. @param {string} text */
export function budgetOf(text) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  return /^\d+$/.test(trimmed) ? Number(trimmed) : trimmed;
}

/** The models that are served, the default one first. @param {HTMLSelectElement} select */
export async function loadModels(select) {
  try {
    const { data } = await getJson("/v1/models");
    select.replaceChildren(...data.map((/** @type {any} */ { id }) => h("option", { value: id }, id)));
  } catch {
    select.replaceChildren(h("option", { value: "" }, "the server's own"));
  }
}
