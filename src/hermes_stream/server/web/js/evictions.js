// Which cells of a map lost tokens a moment ago: they glow and go.

/** @typedef {import("./lane.js").Memory} Memory */
/** @typedef {{timeSeconds: number, layer: number, lost: number, startMs: number}} Loss */

const GLOW_MS = 900;
const MOST = 4000;

export class Evictions {
  /** @type {Loss[]} */
  #losses = [];

  /**
   * Take down what a newer map holds less of.
   * @param {Memory | null} before @param {Memory} after @param {number} nowMs
   */
  note(before, after, nowMs) {
    if (!before || before.layers !== after.layers) return;
    this.#losses = this.#losses.filter(({ startMs }) => nowMs - startMs < GLOW_MS);
    for (const loss of lossesBetween(before, after)) {
      if (this.#losses.length >= MOST) return;
      this.#losses.push({ ...loss, startMs: nowMs });
    }
  }

  /** Cells that still glow, each with how much, 0 to 1. @param {number} nowMs */
  glowing(nowMs) {
    return this.#losses
      .map((loss) => ({ ...loss, glow: loss.lost * Math.max(1 - (nowMs - loss.startMs) / GLOW_MS, 0) }))
      .filter(({ glow }) => glow > 0.01);
  }
}

/**
 * @param {Memory} before @param {Memory} after
 * @returns {{timeSeconds: number, layer: number, lost: number}[]}
 */
export function lossesBetween(before, after) {
  const places = new Map(after.frames.map((frame, index) => [frame, index]));
  const losses = [];
  before.frames.forEach((frame, index) => {
    const place = places.get(frame);
    for (let layer = 0; layer < before.layers; layer += 1) {
      const had = before.shares[layer][index];
      const lost = had - (place === undefined ? 0 : after.shares[layer][place]);
      if (lost > 0.01) losses.push({ timeSeconds: before.times_s[index], layer, lost });
    }
  });
  return losses;
}
