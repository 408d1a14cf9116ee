// Where things stand on the memory map: spans of time, ticks, columns of frames. Nothing here touches the page.

/** @typedef {{startSeconds: number, endSeconds: number}} Span */
/** @typedef {{startSeconds: number, endSeconds: number, width: number, x: (t: number) => number, time: (x: number) => number}} Scale */

const MINUTE = 60;
const HOUR = 3600;
const SPANS = [15, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2700, HOUR, 5400, 7200];
const STEPS = [1, 2, 5, 10, 15, 30, MINUTE, 120, 300, 600, 900, 1800, HOUR, 7200, 3 * HOUR, 6 * HOUR, 12 * HOUR];

/**
 * The time that a map shows. It grows in steps, so that a stream fills it instead of squeezing it every second.
 * @param {number} nowSeconds
 * @param {number | null} lastSeconds  only so much before now; null: everything
 * @returns {Span}
 */
export function spanOf(nowSeconds, lastSeconds = null) {
  if (lastSeconds === null || nowSeconds <= lastSeconds) {
    const end = lastSeconds !== null ? lastSeconds : wholeSpan(nowSeconds);
    return { startSeconds: 0, endSeconds: end };
  }
  const step = lastSeconds / 6;
  const end = Math.ceil(nowSeconds / step) * step;
  return { startSeconds: end - lastSeconds, endSeconds: end };
}

/** @param {number} nowSeconds */
function wholeSpan(nowSeconds) {
  const found = SPANS.find((span) => span >= nowSeconds);
  if (found !== undefined) return found;
  let span = SPANS[SPANS.length - 1];
  while (span < nowSeconds) span *= 1.5;
  return Math.ceil(span / HOUR) * HOUR;
}

/**
 * @param {Span} span
 * @param {number} width  pixels
 * @returns {Scale}
 */
export function scaleOf(span, width) {
  const perSecond = width / (span.endSeconds - span.startSeconds);
  return {
    ...span,
    width,
    x: (t) => (t - span.startSeconds) * perSecond,
    time: (x) => span.startSeconds + x / perSecond,
  };
}

/**
 * Round times, at most so many, that lie in the span.
 * @param {Span} span
 * @param {number} nMost
 * @returns {number[]}
 */
export function ticksOf(span, nMost) {
  const length = span.endSeconds - span.startSeconds;
  const step = STEPS.find((each) => length / each <= nMost) ?? Math.ceil(length / nMost / (24 * HOUR)) * 24 * HOUR;
  const ticks = [];
  for (let i = Math.ceil(span.startSeconds / step - 1e-9); i * step <= span.endSeconds + 1e-9; i += 1) ticks.push(i * step);
  return ticks;
}

/**
 * Seconds from one frame to the next, as far as those that are held tell.
 * @param {number[]} frames  their numbers, rising
 * @param {number[]} timesSeconds
 * @param {number} fallbackSeconds
 */
export function stepOf(frames, timesSeconds, fallbackSeconds) {
  const steps = [];
  for (let i = 1; i < frames.length; i += 1) steps.push((timesSeconds[i] - timesSeconds[i - 1]) / (frames[i] - frames[i - 1]));
  if (!steps.length) return fallbackSeconds;
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)];
}

/**
 * Where each frame is drawn, as [left, right] in whole pixels: from its time to the next frame's, never thinner than one
 * pixel; null outside of the scale. Neighbours share their border.
 * @param {number[]} timesSeconds
 * @param {number} stepSeconds
 * @param {Scale} scale
 * @returns {([number, number] | null)[]}
 */
export function columnsOf(timesSeconds, stepSeconds, scale) {
  return timesSeconds.map((time, index) => {
    const next = timesSeconds[index + 1];
    // Two frames a step apart touch, whatever their clocks' last digits say.
    const end = next !== undefined && next < time + 1.5 * stepSeconds ? next : time + stepSeconds;
    if (end <= scale.startSeconds || time >= scale.endSeconds) return null;
    const left = Math.max(Math.round(scale.x(time)), 0);
    const right = Math.min(Math.max(Math.round(scale.x(end)), left + 1), Math.max(scale.width, left + 1));
    return [left, right];
  });
}

/**
 * The frame under a time: that whose column holds it, else the nearest one within reach, of two the later; -1 for none.
 * @param {number[]} timesSeconds  rising
 * @param {number} stepSeconds
 * @param {number} timeSeconds
 * @param {number} reachSeconds
 */
export function frameAt(timesSeconds, stepSeconds, timeSeconds, reachSeconds) {
  let found = -1;
  let best = reachSeconds;
  for (let i = 0; i < timesSeconds.length; i += 1) {
    const before = timesSeconds[i] - timeSeconds;
    const after = timeSeconds - (timesSeconds[i] + stepSeconds);
    const distance = Math.max(before, after, 0);
    if (distance <= best) {
      best = distance;
      found = i;
    }
  }
  return found;
}

/**
 * Middles of the slots of the strip of pictures above the map.
 * @param {Span} span
 * @param {number} nSlots
 * @returns {number[]}
 */
export function slotsOf(span, nSlots) {
  const length = (span.endSeconds - span.startSeconds) / nSlots;
  return Array.from({ length: nSlots }, (_, index) => span.startSeconds + (index + 0.5) * length);
}
