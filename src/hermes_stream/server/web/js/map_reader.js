// What stands under the pointer, or under the crosshair that the arrow keys move, said in words beside a picture.

import { h, setText } from "./dom.js";
import { clock, percent } from "./times.js";
import { frameAt } from "./timeline.js";

const REACH_PIXELS = 5;

export class MapReader {
  /** @type {{timeSeconds: number, layer: number} | null} */
  cross = null;
  #asked = 0;

  /**
   * @param {import("./memory_map.js").MemoryMap} map
   * @param {(timeSeconds: number) => void} open
   */
  constructor(map, open) {
    this.map = map;
    this.open = open;
    this.image = h("img", { alt: "" });
    this.text = h("p", { "aria-live": "polite" });
    this.tip = h("div", { class: "tip", hidden: true }, this.image, this.text);
    const surface = map.surface;
    surface.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#point(event));
    surface.addEventListener("pointerleave", () => this.leave());
    surface.addEventListener("blur", () => this.leave());
    surface.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#press(event));
    surface.addEventListener("click", () => this.cross && this.open(this.cross.timeSeconds));
  }

  leave() {
    this.cross = null;
    this.tip.hidden = true;
    this.map.redrawMoving();
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const picture = this.map.picture();
    const box = this.map.surface.getBoundingClientRect();
    const { marksHeight, rowsHeight } = picture.heights;
    const nLayers = picture.lane.memory?.layers ?? 1;
    const layer = Math.floor(((event.clientY - box.top - marksHeight) * nLayers) / rowsHeight);
    this.#set(picture.scale.time(event.clientX - box.left), Math.min(Math.max(layer, 0), nLayers - 1));
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    const { frames = [], times_s: times = [], layers = 1 } = this.map.lane.memory ?? {};
    if (event.key === "Escape" && this.cross) return this.leave();
    if (event.key === "Enter" && this.cross) return this.open(this.cross.timeSeconds);
    const last = frames.length - 1;
    const here = this.cross ? this.#frame(this.cross.timeSeconds, Infinity) : last;
    const layer = this.cross?.layer ?? 0;
    /** @type {Record<string, [number, number]>} */
    const ways = {
      ArrowLeft: [here - (this.cross ? 1 : 0), layer],
      ArrowRight: [here + 1, layer],
      ArrowUp: [here, layer - 1],
      ArrowDown: [here, layer + (this.cross ? 1 : 0)],
      Home: [0, layer],
      End: [last, layer],
    };
    const way = ways[event.key];
    if (!way || last < 0) return undefined;
    event.preventDefault();
    const index = Math.min(Math.max(way[0], 0), last);
    return this.#set(times[index], Math.min(Math.max(way[1], 0), layers - 1));
  }

  /** @param {number} timeSeconds @param {number} layer */
  #set(timeSeconds, layer) {
    this.cross = { timeSeconds, layer };
    this.#tell(timeSeconds, layer);
    this.map.redrawMoving();
  }

  /** @param {number} timeSeconds @param {number} reachSeconds */
  #frame(timeSeconds, reachSeconds) {
    return frameAt(this.map.lane.memory?.times_s ?? [], this.map.picture().stepSeconds, timeSeconds, reachSeconds);
  }

  /** @param {number} timeSeconds @param {number} layer */
  #tell(timeSeconds, layer) {
    const { scale, lane } = this.map.picture();
    const index = this.#frame(timeSeconds, (REACH_PIXELS * (scale.endSeconds - scale.startSeconds)) / scale.width);
    const shown = index < 0 ? timeSeconds : lane.memory?.times_s[index] ?? timeSeconds;
    setText(this.text, this.#words(shown, layer, index));
    this.tip.hidden = false;
    const x = scale.x(timeSeconds);
    // Beside the pointer, on the side where there is room.
    this.tip.classList.toggle("leftwards", x > scale.width / 2);
    this.tip.style.left = `${Math.min(Math.max(x, 0), scale.width)}px`;
    this.#show(shown);
  }

  /** @param {number} timeSeconds @param {number} layer @param {number} index */
  #words(timeSeconds, layer, index) {
    const { session, memory, marks } = this.map.lane;
    const { scale } = this.map.picture();
    const near = (REACH_PIXELS * (scale.endSeconds - scale.startSeconds)) / scale.width;
    const mark = marks.find((each) => Math.abs(each.timeSeconds - (this.cross?.timeSeconds ?? NaN)) <= near);
    const asked = mark ? `\n${mark.kind === "alert" ? "Alert" : "Asked"}: ${mark.text}` : "";
    const time = clock(timeSeconds, 1);
    const gap = (session.gaps ?? []).find((/** @type {any} */ each) => timeSeconds > each.start_s && timeSeconds < (each.end_s ?? Infinity));
    if (gap && index < 0) return `${time}\nNothing was seen: ${gap.reason || "a gap"}${asked}`;
    if (timeSeconds > session.time_s) return `${time}\nnot yet`;
    const group = Object.entries(memory?.groups ?? {}).find(([, [start, stop]]) => layer >= start && layer < stop);
    const place = `layer ${layer}${group && Object.keys(memory?.groups ?? {}).length > 1 ? `, ${group[0]}` : ""}`;
    const share = index < 0 ? 0 : memory?.shares[layer]?.[index] ?? 0;
    return `${time} · ${place}\n${share > 0 ? `${percent(share)} of the frame held` : "forgotten"}${asked}`;
  }

  /** @param {number} timeSeconds */
  async #show(timeSeconds) {
    const asked = (this.#asked += 1);
    this.image.hidden = true;
    try {
      // Not for every pixel that the pointer crosses.
      await new Promise((resolve) => setTimeout(resolve, 60));
      if (asked !== this.#asked || !this.cross || timeSeconds > this.map.lane.session.time_s) return;
      const url = await this.map.lane.picture(timeSeconds);
      if (asked === this.#asked) [this.image.src, this.image.hidden] = [url, false];
    } catch {
      // No picture of that time: the words stand alone.
    }
  }
}
