// Four small charts of the last minutes: time to the first word, lag, bytes, tokens.

import { h, setText } from "./dom.js";
import { contextOf } from "./map_canvas.js";
import { onLookChange, palette } from "./palette.js";
import { bytes, count, milliseconds } from "./times.js";

/** @typedef {import("./lane.js").Lane} Lane */
/** @typedef {[number, number]} Point  x from 0 to 1, and a value */
/** @typedef {{title: string, hint: string, say: (value: number) => string, points: (lane: Lane) => Point[], isBars?: boolean}} Kind */

const WINDOW_MS = 180_000;
const MOST_BARS = 24;
const HEAD_ROOM = 1.15;

const seconds = (/** @type {number} */ value) => `${value.toFixed(value < 9.95 ? 1 : 0)} s`;

/** @type {Kind[]} */
const KINDS = [
  { title: "First word", hint: "after each question", say: milliseconds, points: bars, isBars: true },
  { title: "Lag", hint: "behind the stream", say: seconds, points: (lane) => line(lane, "lag") },
  { title: "Memory", hint: "bytes", say: bytes, points: (lane) => line(lane, "bytes") },
  { title: "Held", hint: "tokens a layer", say: count, points: (lane) => line(lane, "held") },
];

/** @param {Lane} lane @returns {Point[]} */
function bars(lane) {
  const newest = lane.firstWords.slice(-MOST_BARS);
  return newest.map(({ ms }, index) => [(MOST_BARS - newest.length + index + 0.5) / MOST_BARS, ms]);
}

/** @param {Lane} lane @param {"lag" | "bytes" | "held"} name @returns {Point[]} */
function line(lane, name) {
  const start = Date.now() - WINDOW_MS;
  return lane.samples
    .filter((sample) => sample.wallMs >= start)
    .map((sample) => [(sample.wallMs - start) / WINDOW_MS, sample[name]]);
}

export class Charts {
  /** @param {Lane[]} lanes */
  constructor(lanes) {
    this.tiles = KINDS.map((kind) => new Tile(kind, lanes));
    this.element = h("section", { class: "charts", "aria-label": "Last minutes" }, ...this.tiles.map(({ element }) => element));
    const draw = () => this.element.isConnected && this.tiles.forEach((tile) => tile.draw());
    for (const lane of lanes) for (const kind of ["stats", "answer", "session"]) lane.addEventListener(kind, draw);
    onLookChange(this.element, lanes[0].signal, draw);
  }
}

class Tile {
  /** @param {Kind} kind @param {Lane[]} lanes */
  constructor(kind, lanes) {
    this.kind = kind;
    this.lanes = lanes;
    this.values = lanes.map((_, index) => h("span", { class: `lane-${"ab"[index]}` }, "–"));
    this.most = h("span", { class: "most", "aria-hidden": "true" });
    this.canvas = h("canvas", { role: "img" });
    const title = h("figcaption", {}, h("span", { title: kind.hint }, kind.title), h("b", {}, ...this.values));
    this.element = h("figure", { class: "tile" }, title, h("div", { class: "plot" }, this.canvas, this.most));
  }

  draw() {
    const { kind, lanes } = this;
    const series = lanes.map((lane) => kind.points(lane));
    const most = Math.max(...series.flat().map(([, value]) => value), 0);
    series.forEach((points, index) => setText(this.values[index], points.length ? kind.say(points[points.length - 1][1]) : "–"));
    setText(this.most, most ? kind.say(most) : "");
    const newest = this.values.map((value) => value.textContent).join(" and ");
    this.canvas.setAttribute("aria-label", `${kind.title}, ${kind.hint}: ${newest}; at most ${kind.say(most)}.`);
    const box = this.canvas.parentElement.getBoundingClientRect();
    const context = contextOf(this.canvas, box.width, box.height);
    const place = { width: box.width, height: box.height, most: (most || 1) * HEAD_ROOM, n: lanes.length };
    context.fillStyle = palette().hairline;
    context.fillRect(0, box.height - 1, box.width, 1);
    series.forEach((points, index) => (kind.isBars ? drawBars : drawLine)(context, points, place, index));
  }
}

/** @typedef {{width: number, height: number, most: number, n: number}} Place */

/** @param {CanvasRenderingContext2D} context @param {Point[]} points @param {Place} place @param {number} index */
function drawBars(context, points, { width, height, most, n }, index) {
  const slot = width / MOST_BARS;
  const wide = Math.max((slot - 2) / n, 1);
  context.fillStyle = palette().lanes[index].line;
  for (const [x, value] of points) {
    const high = Math.max((value / most) * (height - 2), 1.5);
    context.fillRect(x * width - slot / 2 + 1 + index * wide, height - 1 - high, wide, high);
  }
}

/** @param {CanvasRenderingContext2D} context @param {Point[]} points @param {Place} place @param {number} index */
function drawLine(context, points, { width, height, most, n }, index) {
  if (!points.length) return;
  const at = (/** @type {Point} */ [x, value]) => /** @type {const} */ ([x * width, height - 2 - (value / most) * (height - 4)]);
  context.beginPath();
  for (const point of points) context.lineTo(...at(point));
  context.strokeStyle = palette().lanes[index].line;
  // Two that are the same must both be seen.
  context.lineWidth = n > 1 && index === 0 ? 3.5 : 1.5;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(points[points.length - 1][0] * width, height);
  context.lineTo(points[0][0] * width, height);
  context.globalAlpha = 0.12;
  context.fillStyle = palette().lanes[index].line;
  context.fill();
  context.globalAlpha = 1;
}
