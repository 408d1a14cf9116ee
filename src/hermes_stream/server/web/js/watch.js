// The second view: one session, or two side by side, with everything about them.

import { AlertPanel } from "./alert_panel.js";
import { AskPanel } from "./ask_panel.js";
import { getJson } from "./api.js";
import { Charts } from "./charts.js";
import { byId, setText } from "./dom.js";
import { titleOf } from "./hints.js";
import { Lane } from "./lane.js";
import { MemoryMap } from "./memory_map.js";
import { Stage, showMoment } from "./stage.js";

/** @typedef {import("./feed.js").Feed} Feed */

export class Watch {
  /** @param {any[]} sessions  one or two, as the server gives them @param {() => void} onGone */
  constructor(sessions, onGone) {
    this.lanes = sessions.map((session) => new Lane(session));
    const [first] = this.lanes;
    this.stage = new Stage(first);
    const open = (/** @type {Lane} */ lane, /** @type {number} */ time, /** @type {string} */ note = "", /** @type {string} */ path = "") =>
      this.#open(lane, time, note, path);
    this.maps = this.lanes.map((lane, index) => new MemoryMap(lane, index, sessions.length === 1, open));
    this.ask = new AskPanel(this.lanes, open);
    this.alerts = new AlertPanel(first, open);
    byId("maps").replaceChildren(...this.maps.map(({ element }) => element));
    byId("charts").replaceChildren(new Charts(this.lanes).element);
    byId("watch").classList.toggle("comparing", this.lanes.length > 1);
    setText(byId("watch-title"), titleOf(first.session));
    setText(byId("watch-about"), aboutOf(this.lanes));
    this.#showSpans();
    for (const lane of this.lanes) {
      lane.addEventListener("gone", onGone);
      lane.start();
    }
  }

  leave() {
    for (const lane of this.lanes) lane.stop();
    this.stage.leave();
    this.ask.leave();
    this.alerts.leave();
    byId("maps").replaceChildren();
    byId("charts").replaceChildren();
  }

  /** @param {Feed | null} feed */
  showFeed(feed) {
    this.stage.showFeed(feed);
  }

  /** @param {Lane} lane @param {number} timeSeconds @param {string} note @param {string} path */
  #open(lane, timeSeconds, note, path) {
    for (const map of this.maps) map.pin(timeSeconds);
    showMoment(lane, timeSeconds, note, path);
  }

  /** How much of the stream the maps show. */
  #showSpans() {
    for (const button of byId("spans").querySelectorAll("button")) {
      button.onclick = () => {
        for (const other of byId("spans").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        for (const map of this.maps) map.show(Number(button.dataset.seconds) || null);
      };
    }
  }
}

/** @param {Lane[]} lanes */
function aboutOf(lanes) {
  const { source, model } = lanes[0].session;
  return [source ?? "pushed", model, ...new Set(lanes.map(({ session }) => session.memory))].join(" · ");
}

/**
 * The sessions of some names. Raises ApiError where one of them is not there.
 * @param {string[]} ids
 */
export async function findSessions(ids) {
  return Promise.all(ids.map((id) => getJson(`/v1/sessions/${encodeURIComponent(id)}`)));
}
