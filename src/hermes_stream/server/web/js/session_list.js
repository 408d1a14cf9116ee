// All sessions of the server that this key may see; the server is the truth, this is its picture.

import { ApiError, getJson } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { stateOf, titleOf } from "./hints.js";
import { pause } from "./lane.js";
import { clock } from "./times.js";

const REFRESH_MS = 2500;

export class SessionList {
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** @type {string[]} */
  #open = [];

  constructor() {
    this.list = byId("sessions");
    this.#follow();
  }

  /** @param {string[]} ids  those in view */
  mark(ids) {
    this.#open = ids;
    for (const [id, row] of this.#rows) this.#markRow(id, row);
    this.refresh();
  }

  async refresh() {
    try {
      const { data } = await getJson("/v1/sessions");
      this.#show(data.reverse());
      byId("offline").hidden = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("offline").hidden = error.status !== 0;
    }
  }

  async #follow() {
    for (;;) {
      if (!document.hidden) await this.refresh();
      await pause(REFRESH_MS);
    }
  }

  /** @param {any[]} sessions  newest first */
  #show(sessions) {
    const names = new Set(sessions.map(({ id }) => id));
    for (const [id, row] of this.#rows) if (!names.has(id)) (row.remove(), this.#rows.delete(id));
    sessions.forEach((session, index) => {
      const row = this.#rows.get(session.id) ?? this.#newRow(session);
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
      this.#update(row, session);
    });
    byId("no-sessions").hidden = sessions.length > 0;
    setText(byId("session-count"), sessions.length ? String(sessions.length) : "");
  }

  /** @param {any} session */
  #newRow(session) {
    const link = h(
      "a",
      { href: `#/s/${session.id}` },
      h("span", { class: "dot" }),
      h("span", { class: "name" }),
      h("span", { class: "about" }),
      h("time", {}),
    );
    const row = h("li", {}, link);
    this.#rows.set(session.id, row);
    this.#markRow(session.id, row);
    return row;
  }

  /** @param {HTMLElement} row @param {any} session */
  #update(row, session) {
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
    const { name, reason } = stateOf(session);
    part(".dot").dataset.state = session.state;
    part("a").title = reason ? `${name}: ${reason}` : name;
    setText(part(".name"), titleOf(session));
    setText(part(".about"), `${name} · ${session.memory}`);
    setText(part("time"), clock(session.time_s));
  }

  /** @param {string} id @param {HTMLElement} row */
  #markRow(id, row) {
    const link = /** @type {HTMLElement} */ (row.querySelector("a"));
    if (this.#open.includes(id)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
