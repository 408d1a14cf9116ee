// Standing questions: asked of every chunk by the server; what they hit, as moments to look at.

import { AlertRow, noteOf } from "./alert_row.js";
import { ApiError, getJson, postJson, remove } from "./api.js";
import { announce, byId, h, toast } from "./dom.js";
import { hintsFor } from "./hints.js";
import { pause } from "./lane.js";
import { clock } from "./times.js";

/** @typedef {import("./lane.js").Lane} Lane */

const REFRESH_MS = 1500;

export class AlertPanel {
  /** @type {Map<string, AlertRow>} */
  #rows = new Map();
  #isOver = false;

  /**
   * @param {Lane} lane  standing questions are asked of the first session in view
   * @param {(lane: Lane, timeSeconds: number, note: string, picture: string) => void} onOpen
   */
  constructor(lane, onOpen) {
    this.lane = lane;
    this.onOpen = onOpen;
    this.path = `${lane.path}/alerts`;
    this.list = byId("alerts");
    this.form = byId("alert-form");
    this.form.onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#add(byId("alert-question").value.trim());
    };
    lane.addEventListener("alert", (event) => this.#hit(/** @type {CustomEvent} */ (event).detail));
    this.#showHints();
    this.#follow();
  }

  leave() {
    this.#isOver = true;
    this.form.onsubmit = null;
    this.list.replaceChildren();
  }

  async #follow() {
    while (!this.#isOver) {
      if (!document.hidden) await this.#refresh();
      await pause(REFRESH_MS);
    }
  }

  async #refresh() {
    try {
      const { data } = await getJson(this.path, this.lane.signal);
      if (this.#isOver) return;
      for (const alert of data) this.#rowOf(alert).update(alert);
      const names = new Set(data.map((/** @type {any} */ alert) => alert.id));
      for (const [id, row] of this.#rows) if (!names.has(id)) this.#drop(id, row);
      this.#showEmpty();
      await Promise.all([...this.#rows.values()].filter((row) => row.isStale).map((row) => this.#look(row)));
    } catch (error) {
      // A session that is gone is told of elsewhere; a server that is away comes back.
      if (!this.#isOver && !(error instanceof ApiError)) throw error;
    }
  }

  /** @param {AlertRow} row */
  async #look(row) {
    row.show(await getJson(`${this.path}/${encodeURIComponent(row.id)}`, this.lane.signal));
  }

  /** @param {string} question */
  async #add(question) {
    const box = byId("alert-question");
    if (!question) return box.focus();
    const number = (/** @type {string} */ id) => (byId(id).value === "" ? undefined : Number(byId(id).value));
    const threshold = number("alert-threshold");
    const choices = byId("alert-choices").value.split(",").map((/** @type {string} */ text) => text.trim()).filter(Boolean);
    const body = {
      question,
      choices: choices.length ? choices : undefined,
      threshold: threshold === undefined ? undefined : threshold / 100,
      hold_s: number("alert-hold"),
      cooldown_s: number("alert-cooldown"),
    };
    try {
      const alert = await postJson(this.path, body);
      box.value = "";
      this.#rowOf(alert).update(alert);
      this.#showEmpty();
      announce(`Standing question added: ${question}`);
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
    }
    return undefined;
  }

  /** @param {any} alert @returns {AlertRow} */
  #rowOf(alert) {
    const known = this.#rows.get(alert.id);
    if (known) return known;
    const row = new AlertRow(alert, this.lane, {
      onDelete: () => this.#delete(alert.id),
      onOpen: (hit) => this.onOpen(this.lane, hit.time_s, noteOf(hit), hit.picture),
    });
    this.#rows.set(alert.id, row);
    this.list.prepend(row.element);
    return row;
  }

  /** @param {any} hit */
  #hit(hit) {
    if (hit.isPast) return;
    this.#rows.get(hit.alert)?.hit(hit);
    const text = `${hit.name || hit.question} At ${clock(hit.time_s)}.`;
    announce(`Alert. ${text}`);
    toast(text, "alert", () => this.onOpen(this.lane, hit.time_s, noteOf(hit), hit.picture));
  }

  /** @param {string} id */
  async #delete(id) {
    try {
      await remove(`${this.path}/${encodeURIComponent(id)}`);
      const row = this.#rows.get(id);
      if (row) this.#drop(id, row);
      this.#showEmpty();
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
    }
  }

  /** @param {string} id @param {AlertRow} row */
  #drop(id, row) {
    row.element.remove();
    this.#rows.delete(id);
  }

  #showHints() {
    const hints = hintsFor(this.lane.session).alerts;
    const chip = (/** @type {string} */ text) => h("button", { type: "button", class: "chip", onclick: () => this.#add(text) }, text);
    byId("alert-hints").replaceChildren(...hints.map(chip));
    byId("alert-hints").hidden = !hints.length;
  }

  #showEmpty() {
    byId("no-alerts").hidden = this.#rows.size > 0;
  }
}
