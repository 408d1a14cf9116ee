// All sessions of the server that this key may see; the server is the truth, this is its picture.

import { ApiError, askAgain, getJson } from "./api.js";
import { byId, h, icon, setText } from "./dom.js";
import { stateOf, titleOf } from "./hints.js";
import { pause } from "./lane.js";
import { clock } from "./times.js";

const REFRESH_MS = 2500;

export class SessionList {
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** @type {string[]} */
  #open = [];

  /** @param {(session: any) => void} onDelete */
  constructor(onDelete) {
    this.onDelete = onDelete;
    this.list = byId("sessions");
    byId("give-key").onclick = async () => {
      await askAgain();
      await this.refresh();
    };
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
      this.#tell(200);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#tell(error.status);
    }
  }

  /** @param {number} status  of the last answer; 0: none */
  #tell(status) {
    byId("offline").hidden = status !== 0;
    byId("locked").hidden = status !== 401;
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
    const label = `Delete ${titleOf(session)}`;
    const onclick = () => this.onDelete(session);
    const button = h("button", { type: "button", class: "quiet square", "aria-label": label, title: "Delete", onclick }, icon("close"));
    const row = h("li", {}, link, button);
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
    setText(part(".about"), `${session.state !== "live" && reason ? reason : name} · ${session.memory}`);
    setText(part("time"), clock(session.time_s));
  }

  /** @param {string} id @param {HTMLElement} row */
  #markRow(id, row) {
    const link = /** @type {HTMLElement} */ (row.querySelector("a"));
    if (this.#open.includes(id)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
