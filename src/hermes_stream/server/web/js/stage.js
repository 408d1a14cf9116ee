// The live picture: the newest frame that the model was given, or the video itself where this page pushes it.

import { getPicture } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { stateOf } from "./hints.js";
import { pause } from "./lane.js";
import { clock, count, wallClock } from "./times.js";

/** @typedef {import("./lane.js").Lane} Lane */
/** @typedef {import("./feed.js").Feed} Feed */

const FASTEST_MS = 250;

export class Stage {
  #isOver = false;
  #url = "";
  /** @type {Feed | null} */
  #feed = null;

  /** @param {Lane} lane  whose picture is shown */
  constructor(lane) {
    this.lane = lane;
    this.image = byId("picture");
    this.image.hidden = true;
    byId("waiting").hidden = false;
    for (const kind of ["session", "stats"]) lane.addEventListener(kind, () => this.update());
    this.update();
    this.#watch();
  }

  leave() {
    this.#isOver = true;
    this.showFeed(null);
    this.image.removeAttribute("src");
    URL.revokeObjectURL(this.#url);
  }

  /** Show what this page itself pushes, which is smoother than what comes back. @param {Feed | null} feed */
  showFeed(feed) {
    // Out of the page a video would stop.
    if (this.#feed && !this.#feed.isOver) byId("feeds").append(this.#feed.video);
    else this.#feed?.video.remove();
    this.#feed = feed;
    if (feed) byId("screen").append(feed.video);
    this.update();
  }

  update() {
    if (this.#isOver) return;
    const { session } = this.lane;
    const { name, reason } = stateOf(session);
    const pill = byId("state");
    pill.dataset.state = session.state;
    setText(pill, name);
    setText(byId("time"), clock(session.time_s, 1));
    setText(byId("wall"), wallClock(session.origin_s, session.time_s));
    const hasPicture = Boolean(this.#feed) || !this.image.hidden;
    byId("waiting").hidden = hasPicture;
    setText(byId("waiting-text"), session.state === "live" ? "Waiting for the first frame" : reason || "No frame yet");
    const note = byId("reason");
    note.hidden = session.state === "live" || !reason || !hasPicture;
    setText(note, reason);
    setText(byId("facts"), facts(session));
    byId("continue").hidden = !(session.state === "gap" && !session.feed && !session.source && !this.#feed);
  }

  async #watch() {
    let shown = NaN;
    while (!this.#isOver) {
      const { session, path } = this.lane;
      const isWanted = !this.#feed && !document.hidden && (session.state === "live" || this.image.hidden);
      if (isWanted && session.frames_seen) {
        try {
          const { url, timeSeconds } = await getPicture(`${path}/picture`, this.lane.signal);
          if (timeSeconds === shown || this.#isOver) URL.revokeObjectURL(url);
          else await this.#show(url, timeSeconds);
          shown = timeSeconds;
        } catch {
          // Between two servers, or before the first frame: the next one comes.
        }
      }
      await pause(Math.max(500 / (session.fps || 1), FASTEST_MS));
    }
  }

  /** @param {string} url @param {number} timeSeconds */
  async #show(url, timeSeconds) {
    const next = new Image();
    next.src = url;
    // Decoded before it is shown, so that nothing flickers.
    await next.decode();
    this.image.src = url;
    this.image.hidden = false;
    this.image.alt = `The stream at ${clock(timeSeconds)}`;
    URL.revokeObjectURL(this.#url);
    this.#url = url;
    this.update();
  }
}

/** @param {any} session */
function facts(session) {
  const parts = [`${count(session.frames_seen)} frames seen`, `${session.fps} a second`];
  if (session.frames_dropped) parts.push(`${count(session.frames_dropped)} dropped`);
  parts.push(`${count(session.n_compressions)} compressions`);
  const nGaps = session.gaps?.length ?? 0;
  if (nGaps) parts.push(nGaps === 1 ? "1 gap" : `${nGaps} gaps`);
  return parts.join(" · ");
}

/**
 * A moment in a dialog.
 * @param {Lane} lane @param {number} timeSeconds @param {string} note
 * @param {string} [path]  of a better picture than the small one
 */
export async function showMoment(lane, timeSeconds, note, path) {
  const dialog = byId("moment");
  setText(byId("moment-title"), `${clock(timeSeconds, 1)}`);
  setText(byId("moment-wall"), wallClock(lane.session.origin_s, timeSeconds));
  setText(byId("moment-note"), note);
  const image = h("img", { alt: `The stream at ${clock(timeSeconds, 1)}` });
  byId("moment-picture").replaceChildren(image);
  if (!dialog.open) dialog.showModal();
  try {
    image.src = await lane.picture(timeSeconds);
    if (path) image.src = (await getPicture(path)).url;
  } catch {
    if (image.src) return;
    byId("moment-picture").replaceChildren(h("p", {}, "No picture of this moment is kept."));
  }
}
