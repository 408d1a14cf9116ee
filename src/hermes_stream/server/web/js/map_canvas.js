// Draws a memory map: a column for each frame of which something is held, a row for each layer.

import { palette, shareColour } from "./palette.js";
import { clock } from "./times.js";
import { columnsOf, stepOf, ticksOf } from "./timeline.js";

/** @typedef {import("./lane.js").Lane} Lane */
/** @typedef {import("./timeline.js").Scale} Scale */
/** @typedef {{marksHeight: number, rowsHeight: number, axisHeight: number}} Heights */
/**
 * @typedef {{lane: Lane, laneIndex: number, scale: Scale, heights: Heights, stepSeconds: number}} Picture
 */

const MARK_PIXELS = 5;
const TICK_PIXELS = 78;
const HATCH_PIXELS = 7;

/**
 * A canvas's context in CSS pixels, emptied, at the screen's own resolution.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height
 */
export function contextOf(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** @param {Lane} lane */
export function stepSeconds(lane) {
  const { frames = [], times_s = [] } = lane.memory ?? {};
  return stepOf(frames, times_s, 1 / (lane.session.fps || 1));
}

/**
 * All that changes once a second at most.
 * @param {CanvasRenderingContext2D} context @param {Picture} picture
 */
export function drawMap(context, picture) {
  drawSeen(context, picture);
  drawFrames(context, picture);
  drawGaps(context, picture);
  drawGroups(context, picture);
  drawAxis(context, picture);
  drawMarks(context, picture);
}

/** What was seen: where nothing is drawn over it, nothing of it is left. */
function drawSeen(context, { lane, scale, heights, stepSeconds }) {
  if (!lane.session.frames_seen) return;
  const right = Math.min(Math.max(scale.x(lane.session.time_s + stepSeconds), 0), scale.width);
  context.fillStyle = palette().forgotten;
  context.fillRect(0, heights.marksHeight, right, heights.rowsHeight);
}

/** @param {CanvasRenderingContext2D} context @param {Picture} picture */
function drawFrames(context, { lane, laneIndex, scale, heights, stepSeconds }) {
  const memory = lane.memory;
  if (!memory) return;
  const colours = palette().lanes[laneIndex];
  const columns = columnsOf(memory.times_s, stepSeconds, scale);
  // A hair between frames and between layers, where there is room for it.
  const hair = columns.some((column) => column && column[1] - column[0] < 4) ? 0 : 1;
  memory.shares.forEach((row, layer) => {
    const [top, bottom] = rowEdges(layer, memory.layers, heights);
    const height = bottom - top - (bottom - top > 5 ? 1 : 0);
    row.forEach((share, index) => {
      const column = columns[index];
      if (!column || share <= 0) return;
      context.fillStyle = shareColour(colours, share);
      context.fillRect(column[0], top, column[1] - column[0] - hair, height);
    });
  });
}

/**
 * Top and bottom of a layer's row, in whole pixels.
 * @param {number} layer @param {number} nLayers @param {Heights} heights
 */
export function rowEdges(layer, nLayers, { marksHeight, rowsHeight }) {
  const edge = (/** @type {number} */ index) => marksHeight + Math.round((index * rowsHeight) / nLayers);
  return [edge(layer), edge(layer + 1)];
}

function drawGaps(context, { lane, scale, heights }) {
  const { marksHeight, rowsHeight } = heights;
  const now = lane.session.time_s;
  for (const { start_s, end_s } of lane.session.gaps ?? []) {
    const left = Math.max(scale.x(start_s), 0);
    const right = Math.min(scale.x(end_s ?? now), scale.width);
    if (right > left) hatch(context, left, marksHeight, right - left, rowsHeight);
  }
}

function hatch(context, left, top, width, height) {
  context.save();
  context.beginPath();
  context.rect(left, top, Math.max(width, 2), height);
  context.clip();
  context.fillStyle = palette().panel;
  context.fillRect(left, top, width, height);
  context.strokeStyle = palette().gap;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let x = left - height; x < left + width; x += HATCH_PIXELS) {
    context.moveTo(x, top + height);
    context.lineTo(x + height, top);
  }
  context.stroke();
  context.restore();
}

/** Lines between groups of layers; their names stand beside the canvas. */
function drawGroups(context, { lane, scale, heights }) {
  const memory = lane.memory;
  if (!memory) return;
  context.fillStyle = palette().panel;
  for (const [start] of Object.values(memory.groups)) {
    if (start > 0) context.fillRect(0, rowEdges(start, memory.layers, heights)[0] - 1.5, scale.width, 2);
  }
}

function drawAxis(context, { lane, scale, heights }) {
  const top = heights.marksHeight + heights.rowsHeight;
  const colours = palette();
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "top";
  for (const tick of ticksOf(scale, Math.max(scale.width / TICK_PIXELS, 2))) {
    const x = scale.x(tick);
    context.fillStyle = colours.hairline;
    context.fillRect(Math.min(Math.round(x), scale.width - 1), top, 1, 5);
    context.fillStyle = colours.quiet;
    context.textAlign = x < 16 ? "left" : x > scale.width - 16 ? "right" : "center";
    context.fillText(clock(tick), Math.min(x, scale.width), top + 7);
  }
  context.fillStyle = colours.evicted;
  for (const time of lane.compressions) {
    const x = scale.x(time);
    if (x >= 0 && x <= scale.width) context.fillRect(Math.round(x) - 1, top, 2, 4);
  }
}

/** Triangles for questions, diamonds for alerts, each with a fine line through the map. */
function drawMarks(context, { lane, scale, heights }) {
  const colours = palette();
  const middle = heights.marksHeight / 2;
  for (const { kind, timeSeconds } of lane.marks) {
    const x = scale.x(timeSeconds);
    if (x < 0 || x > scale.width) continue;
    context.fillStyle = kind === "alert" ? colours.alert : colours.question;
    context.globalAlpha = 0.35;
    context.fillRect(Math.round(x), heights.marksHeight, 1, heights.rowsHeight);
    context.globalAlpha = 1;
    context.beginPath();
    if (kind === "alert") polygon(context, x, middle, [[0, -1], [1, 0], [0, 1], [-1, 0]]);
    else polygon(context, x, middle, [[-1, -0.8], [1, -0.8], [0, 1]]);
    context.fill();
  }
}

/** @param {number[][]} corners  in units of a mark */
function polygon(context, x, y, corners) {
  for (const [dx, dy] of corners) context.lineTo(x + dx * MARK_PIXELS, y + dy * MARK_PIXELS);
  context.closePath();
}

/**
 * What moves: cells that were just evicted and glow for a moment, the crosshair, the pin, and now.
 * @param {CanvasRenderingContext2D} context
 * @param {Picture} picture
 * @param {{fading: {left: number, right: number, layer: number, glow: number}[], cross: {timeSeconds: number, layer: number} | null,
 *   pinSeconds: number | null}} moving
 */
export function drawMoving(context, { lane, laneIndex, scale, heights, stepSeconds }, { fading, cross, pinSeconds }) {
  const colours = palette();
  const nLayers = lane.memory?.layers ?? 1;
  context.fillStyle = colours.evicted;
  for (const { left, right, layer, glow } of fading) {
    const [top, bottom] = rowEdges(layer, nLayers, heights);
    context.globalAlpha = glow;
    context.fillRect(left, top, right - left, bottom - top - 1);
  }
  context.globalAlpha = 1;
  const line = (/** @type {number} */ time, /** @type {string} */ colour, /** @type {number} */ width) => {
    const x = scale.x(time);
    if (x < -1 || x > scale.width + 1) return;
    context.fillStyle = colour;
    context.fillRect(Math.round(x - width / 2), heights.marksHeight, width, heights.rowsHeight);
  };
  if (lane.session.frames_seen) line(lane.session.time_s + stepSeconds, colours.lanes[laneIndex].line, 2);
  if (pinSeconds !== null) line(pinSeconds, colours.ink, 2);
  if (!cross) return;
  line(cross.timeSeconds, colours.ink, 1);
  const [top, bottom] = rowEdges(cross.layer, nLayers, heights);
  context.strokeStyle = colours.ink;
  context.globalAlpha = 0.6;
  context.strokeRect(-2, top - 0.5, scale.width + 4, bottom - top);
  context.globalAlpha = 1;
}
