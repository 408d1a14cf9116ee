// One standing question: its probability now and lately, and its hits.

import { h, icon, setText } from "./dom.js";
import { contextOf } from "./map_canvas.js";
import { palette } from "./palette.js";
import { clock, percent, wallClock } from "./times.js";

/** @typedef {{time_s: number, probability: number}} Look */
/** @typedef {{onDelete: () => void, onOpen: (timeSeconds: number, note: string) => void}} Handlers */

const MOST_HITS = 24;

export class AlertRow {
  /** @type {Look[]} */
  #looks = [];
  #hits = new Set();

  /** @param {any} alert @param {import("./lane.js").Lane} lane @param {Handlers} handlers */
  constructor(alert, lane, { onDelete, onOpen }) {
    this.id = alert.id;
    this.alert = alert;
    this.lane = lane;
    this.onOpen = onOpen;
    this.probability = h("output", { class: "probability" }, "–");
    this.canvas = h("canvas", { role: "img" });
    this.hits = h("ul", { class: "hits", "aria-label": "Hits" });
    const label = `Delete the standing question ${alert.question}`;
    this.element = h(
      "li",
      { class: "alert" },
      h("header", {}, h("h3", {}, alert.name || alert.question), this.probability),
      h("div", { class: "spark" }, this.canvas),
      h("button", { type: "button", class: "quiet square", "aria-label": label, title: "Delete", onclick: onDelete }, icon("close")),
      this.hits,
    );
  }

  /** Whether it is worth a look: it stands on the page and not outside of what is scrolled to. */
  get isVisible() {
    return this.element.isConnected && this.element.offsetParent !== null;
  }

  /** @param {any} alert  as the list has it */
  update(alert) {
    this.alert = alert;
  }

  /** @param {any} alert  with its recent looks */
  show(alert) {
    this.alert = alert;
    this.#looks = alert.looks ?? [];
    const last = this.#looks[this.#looks.length - 1];
    setText(this.probability, last ? percent(last.probability) : "–");
    this.element.classList.toggle("hot", Boolean(last) && last.probability >= alert.threshold);
    this.#draw();
  }

  /** @param {any} hit */
  hit(hit) {
    if (this.#hits.has(hit.time_s)) return;
    this.#hits.add(hit.time_s);
    const note = `${hit.question} ${percent(hit.probability)}`;
    const wall = wallClock(this.lane.session.origin_s, hit.time_s);
    const name = `${note}, at ${clock(hit.time_s, 1)}${wall && `, ${wall}`}`;
    const image = h("img", { alt: "" });
    this.lane.picture(hit.time_s).then((url) => (image.src = url), () => {});
    const open = () => this.onOpen(hit.time_s, note);
    const label = h("span", { class: "time" }, clock(hit.time_s));
    const button = h("button", { type: "button", class: "thumb", title: name, "aria-label": name, onclick: open }, image, label);
    this.hits.prepend(h("li", {}, button));
    while (this.hits.children.length > MOST_HITS) this.hits.lastElementChild.remove();
  }

  #draw() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    const { width, height } = box;
    const context = contextOf(this.canvas, width, height);
    const colours = palette();
    const looks = this.#looks;
    const { threshold, question } = this.alert;
    const y = (/** @type {number} */ probability) => height - 2 - probability * (height - 4);
    context.fillStyle = colours.hairline;
    context.fillRect(0, height - 1, width, 1);
    context.strokeStyle = colours.quiet;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(0, y(threshold));
    context.lineTo(width, y(threshold));
    context.stroke();
    context.setLineDash([]);
    const summary = looks.map(({ probability }) => percent(probability)).slice(-5).join(", ");
    this.canvas.setAttribute("aria-label", `${question}: lately ${summary || "not asked yet"}; a hit from ${percent(threshold)}.`);
    if (!looks.length) return;
    const start = looks[0].time_s;
    const length = Math.max(looks[looks.length - 1].time_s - start, 1);
    context.beginPath();
    for (const { time_s, probability } of looks) context.lineTo(((time_s - start) / length) * (width - 2) + 1, y(probability));
    context.strokeStyle = colours.alert;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.stroke();
  }
}
