// The memory map of one session: pictures, canvas, names of layer groups, a crosshair for pointer and keys, a table.

import { h, setText } from "./dom.js";
import { Evictions } from "./evictions.js";
import { contextOf, drawMap, drawMoving, stepSeconds } from "./map_canvas.js";
import { MapReader } from "./map_reader.js";
import { MapTable } from "./map_table.js";
import { onLookChange } from "./palette.js";
import { PictureStrip } from "./picture_strip.js";
import { bytes, clock, count } from "./times.js";
import { scaleOf, spanOf } from "./timeline.js";

/** @typedef {import("./lane.js").Lane} Lane */

const MARKS_HEIGHT = 16;
const AXIS_HEIGHT = 24;
const ROW_PIXELS = { alone: 18, beside: 10 };
const LEAST_ROWS_HEIGHT = 96;
const MOST_ROWS_HEIGHT = 224;
const LINE_PIXELS = 15;

export class MemoryMap {
  #evictions = new Evictions();
  /** @type {import("./lane.js").Memory | null} */
  #before = null;
  #isMoving = false;
  /** @type {number | null} */
  #pinSeconds = null;
  #isCalm = matchMedia("(prefers-reduced-motion: reduce)");

  /**
   * @param {Lane} lane
   * @param {number} laneIndex  0 or 1: which colours
   * @param {boolean} isAlone  or beside another one, for which there must be room
   * @param {(lane: Lane, timeSeconds: number) => void} onOpen  a moment
   */
  constructor(lane, laneIndex, isAlone, onOpen) {
    this.rowPixels = isAlone ? ROW_PIXELS.alone : ROW_PIXELS.beside;
    this.lane = lane;
    this.laneIndex = laneIndex;
    /** @type {number | null} */
    this.lastSeconds = null;
    const open = (/** @type {number} */ timeSeconds) => onOpen(lane, timeSeconds);
    this.strip = new PictureStrip(lane, open);
    this.table = new MapTable(lane);
    this.title = h("h3", {});
    this.numbers = h("p", { class: "numbers" });
    this.groups = h("div", { class: "groups", "aria-hidden": "true" });
    this.canvas = h("canvas", {});
    this.moving = h("canvas", {});
    this.surface = h("div", { class: "surface", tabindex: 0, role: "group", "aria-roledescription": "memory map" });
    this.reader = new MapReader(this, open);
    this.surface.append(this.canvas, this.moving, this.reader.tip);
    this.element = h(
      "article",
      { class: `map lane-${"ab"[laneIndex]}` },
      h("header", {}, h("span", { class: "badge", "aria-hidden": "true" }, "AB"[laneIndex]), this.title, this.numbers),
      h("div", { class: "body" }, h("div", {}), this.strip.element, this.groups, this.surface),
      this.table.element,
    );
    this.#listen();
  }

  /** Say where to look. @param {number | null} timeSeconds */
  pin(timeSeconds) {
    this.#pinSeconds = timeSeconds;
    this.#drawMoving();
  }

  /** Show all, or the last seconds only. @param {number | null} lastSeconds */
  show(lastSeconds) {
    this.lastSeconds = lastSeconds;
    this.draw();
  }

  #listen() {
    onLookChange(this.surface, this.lane.signal, () => this.draw());
    this.lane.addEventListener("memory", () => this.#renew());
    for (const kind of ["session", "stats", "marks", "compressed"]) this.lane.addEventListener(kind, () => this.draw());
  }

  #renew() {
    if (!this.#isCalm.matches) this.#evictions.note(this.#before, this.lane.memory, performance.now());
    this.#before = this.lane.memory;
    this.draw();
    this.table.update();
    this.#move();
  }

  /** @returns {import("./map_canvas.js").Picture} */
  picture() {
    const nLayers = this.lane.memory?.layers ?? 10;
    const rowsHeight = Math.min(Math.max(nLayers * this.rowPixels, LEAST_ROWS_HEIGHT), MOST_ROWS_HEIGHT);
    const scale = scaleOf(spanOf(this.lane.session.time_s, this.lastSeconds), Math.max(this.surface.clientWidth, 1));
    const heights = { marksHeight: MARKS_HEIGHT, rowsHeight, axisHeight: AXIS_HEIGHT };
    return { lane: this.lane, laneIndex: this.laneIndex, scale, heights, stepSeconds: stepSeconds(this.lane) };
  }

  draw() {
    if (!this.element.isConnected) return;
    const picture = this.picture();
    const height = MARKS_HEIGHT + picture.heights.rowsHeight + AXIS_HEIGHT;
    this.surface.style.height = `${height}px`;
    drawMap(contextOf(this.canvas, picture.scale.width, height), picture);
    this.#drawMoving(picture);
    this.strip.update(picture.scale);
    this.#label(picture);
  }

  redrawMoving() {
    this.#drawMoving();
  }

  /** Frame after frame, as long as something glows. */
  #move() {
    if (this.#isMoving) return;
    this.#isMoving = true;
    const next = () => {
      this.#isMoving = this.element.isConnected && this.#evictions.glowing(performance.now()).length > 0;
      this.#drawMoving();
      if (this.#isMoving) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  #drawMoving(picture = this.picture()) {
    const height = MARKS_HEIGHT + picture.heights.rowsHeight + AXIS_HEIGHT;
    const { scale, stepSeconds } = picture;
    const fading = this.#evictions.glowing(performance.now()).map(({ timeSeconds, layer, glow }) => {
      const left = scale.x(timeSeconds);
      return { left, right: Math.max(scale.x(timeSeconds + stepSeconds), left + 1), layer, glow };
    });
    const context = contextOf(this.moving, scale.width, height);
    drawMoving(context, picture, { fading, cross: this.reader.cross, pinSeconds: this.#pinSeconds });
  }

  /** @param {import("./map_canvas.js").Picture} picture */
  #label({ heights }) {
    const { session, memory } = this.lane;
    setText(this.title, session.memory);
    setText(this.numbers, numbersOf(session, memory));
    this.surface.setAttribute("aria-label", `Memory map of ${session.memory}. ${this.table.summary()} Arrow keys move.`);
    if (!memory) return;
    const wanted = JSON.stringify([memory.groups, memory.summarised_tokens, heights]);
    if (this.groups.dataset.shown === wanted) return;
    this.groups.dataset.shown = wanted;
    this.groups.replaceChildren(...Object.entries(memory.groups).map((group) => label(group, memory, heights)));
  }
}

/**
 * @param {[string, [number, number]]} group @param {import("./lane.js").Memory} memory
 * @param {import("./map_canvas.js").Heights} heights
 */
function label([name, [start, stop]], memory, { marksHeight, rowsHeight }) {
  const nSummarised = Math.max(...memory.summarised_tokens.slice(start, stop), 0);
  const layers = stop - start === 1 ? `layer ${start}` : `${start}–${stop - 1}`;
  const nLines = Math.floor(((stop - start) * rowsHeight) / memory.layers / LINE_PIXELS);
  const isLow = nLines < 2;
  const box = h("div", { class: `group${isLow ? " low" : ""}` }, h("b", {}, name), h("span", {}, isLow ? String(start) : layers));
  if (nSummarised && nLines > 2) box.append(h("span", { class: "summary", title: "tokens that summaries stand for" }, `+ ${count(nSummarised)} Σ`));
  box.style.top = `${marksHeight + (start * rowsHeight) / memory.layers}px`;
  box.style.height = `${((stop - start) * rowsHeight) / memory.layers}px`;
  return box;
}

/** @param {any} session @param {import("./lane.js").Memory | null} memory */
function numbersOf(session, memory) {
  const held = session.held_tokens ?? [];
  const [least, most] = [Math.min(...held), Math.max(...held, 0)];
  const range = least < most ? `${count(least)}–${count(most)}` : count(most);
  const parts = [`${range} of ${count(session.tokens_seen)} tokens a layer`, bytes(session.memory_bytes)];
  const archived = Math.max(...(memory?.archived_tokens ?? []), 0);
  if (archived) parts.push(`${count(archived)} archived`);
  if (memory?.waiting_tokens) parts.push(`${count(memory.waiting_tokens)} held as features`);
  parts.push(`seen until ${clock(session.time_s)}`);
  return parts.join(" · ");
}
