// One standing question: its probability now and lately, and its hits.

import { h, icon, setText } from "./dom.js";
import { contextOf } from "./map_canvas.js";
import { palette } from "./palette.js";
import { clock, percent, wallClock } from "./times.js";

/** @typedef {{time_s: number, probability: number}} Look */
/** @typedef {{onDelete: () => void, onOpen: (hit: any) => void}} Handlers */

const MOST_HITS = 24;

export class AlertRow {
  /** @type {Look[]} */
  #looks = [];
  #hits = new Set();
  #nLooks = -1;

  /** @param {any} alert @param {import("./lane.js").Lane} lane @param {Handlers} handlers */
  constructor(alert, lane, { onDelete, onOpen }) {
    this.id = alert.id;
    this.alert = alert;
    this.lane = lane;
    this.onOpen = onOpen;
    this.probability = h("output", { class: "probability" }, "–");
    this.canvas = h("canvas", { role: "img" });
    this.hits = h("ul", { class: "hits", "aria-label": "Hits" });
    this.error = h("p", { class: "error" });
    const label = `Delete the standing question ${alert.question}`;
    this.element = h(
      "li",
      { class: "alert" },
      h("header", {}, h("h3", {}, alert.name || alert.question), this.probability),
      h("div", { class: "spark" }, this.canvas),
      h("button", { type: "button", class: "quiet square", "aria-label": label, title: "Delete", onclick: onDelete }, icon("close")),
      this.error,
      this.hits,
    );
    this.#draw();
  }

  /** Whether there were looks since it was shown last. */
  get isStale() {
    return this.alert.n_looks !== this.#nLooks;
  }

  /** @param {any} alert  as the list has it */
  update(alert) {
    this.alert = alert;
    setText(this.probability, typeof alert.probability === "number" ? percent(alert.probability) : "–");
    this.element.classList.toggle("hot", alert.probability >= alert.threshold);
    setText(this.error, alert.error ?? "");
  }

  /** @param {any} alert  with its newest looks and hits */
  show(alert) {
    this.update(alert);
    this.#nLooks = alert.n_looks;
    this.#looks = alert.looks;
    for (const hit of alert.hits) this.hit(hit);
    this.#draw();
  }

  /** @param {any} hit */
  hit(hit) {
    if (this.#hits.has(hit.hit)) return;
    this.#hits.add(hit.hit);
    const wall = wallClock(this.lane.session.origin_s, hit.time_s);
    const name = `${noteOf(hit)}, at ${clock(hit.time_s, 1)}${wall && `, ${wall}`}`;
    const image = h("img", { alt: "" });
    this.lane.picture(hit.time_s).then((url) => (image.src = url), () => {});
    const label = h("span", { class: "time" }, clock(hit.time_s));
    const open = () => this.onOpen(hit);
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

/** What a hit is, in words. @param {any} hit */
export function noteOf(hit) {
  return `${hit.question} ${percent(hit.probability)}`;
}
