// The memory map in words and as a table, for who does not see a canvas.

import { h } from "./dom.js";
import { clock, count } from "./times.js";

const COLUMNS = ["Layer", "Group", "Frames held", "Oldest", "Newest", "Tokens held"];

export class MapTable {
  /** @param {import("./lane.js").Lane} lane */
  constructor(lane) {
    this.lane = lane;
    this.body = h("tbody", {});
    const head = h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col" }, name)));
    this.element = h(
      "details",
      { class: "as-table", ontoggle: () => this.update() },
      h("summary", {}, "As a table"),
      h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), this.body)),
    );
  }

  /** Where it is open, what it says now. */
  update() {
    const memory = this.lane.memory;
    if (!memory || !this.element.open) return;
    this.body.replaceChildren(...memory.shares.map((_, layer) => this.#row(layer)));
  }

  /** One sentence for the whole map. */
  summary() {
    const memory = this.lane.memory;
    if (!memory || !memory.frames.length) return "Nothing is held yet.";
    const groups = Object.entries(memory.groups).map(([name, [start]]) => {
      const { n, oldest } = heldOf(memory, start);
      return n ? `${name}: ${n} ${n === 1 ? "frame" : "frames"} since ${clock(oldest)}` : `${name}: nothing`;
    });
    return `${memory.layers} layers. ${groups.join("; ")}.`;
  }

  /** @param {number} layer */
  #row(layer) {
    const memory = /** @type {import("./lane.js").Memory} */ (this.lane.memory);
    const group = Object.entries(memory.groups).find(([, [start, stop]]) => layer >= start && layer < stop);
    const { n, oldest, newest } = heldOf(memory, layer);
    const times = n ? [clock(oldest, 1), clock(newest, 1)] : ["–", "–"];
    const cells = [group?.[0] ?? "", String(n), ...times, count(this.lane.session.held_tokens[layer] ?? 0)];
    return h("tr", {}, h("th", { scope: "row" }, String(layer)), ...cells.map((text) => h("td", {}, text)));
  }
}

/** @param {import("./lane.js").Memory} memory @param {number} layer */
function heldOf(memory, layer) {
  const times = memory.times_s.filter((_, index) => memory.shares[layer][index] > 0);
  return { n: times.length, oldest: times[0], newest: times[times.length - 1] };
}
