// One question with its answers: one for each session in view, side by side.

import { h, setText } from "./dom.js";
import { clock, milliseconds, percent, wallClock } from "./times.js";

/** @typedef {import("./questions.js").Question} Question */
/** @typedef {import("./questions.js").Answer} Answer */
/** @typedef {import("./lane.js").Lane} Lane */
/** @typedef {{onCancel: (question: Question) => void, onOpen: (lane: Lane, timeSeconds: number, note: string) => void}} Handlers */

export class AnswerCard {
  /** @param {Question} question @param {Lane[]} lanes @param {Handlers} handlers */
  constructor(question, lanes, { onCancel, onOpen }) {
    this.question = question;
    this.cancel = h("button", { type: "button", class: "quiet", onclick: () => onCancel(question) }, "Cancel");
    this.columns = lanes.map((lane, index) => new AnswerColumn(lane, index, onOpen));
    const mark = h("span", { class: "mark", "aria-hidden": "true" }, question.follows ? "↳" : "");
    this.element = h(
      "li",
      { class: `card${question.follows ? " follows" : ""}` },
      h("header", {}, mark, h("h3", {}, question.text), this.cancel),
      h("div", { class: "columns" }, ...this.columns.map(({ element }) => element)),
    );
    this.update();
  }

  update() {
    const { answers, isOurs } = this.question;
    this.cancel.hidden = !isOurs || !answers.some((answer) => answer && ["waiting", "writing"].includes(answer.state));
    answers.forEach((answer, index) => this.columns[index].update(answer));
  }
}

class AnswerColumn {
  #nEvidence = -1;

  /** @param {Lane} lane @param {number} index @param {Handlers["onOpen"]} onOpen */
  constructor(lane, index, onOpen) {
    this.lane = lane;
    this.onOpen = onOpen;
    this.text = h("p", { class: "answer" });
    this.meta = h("p", { class: "meta" });
    this.evidence = h("ul", { class: "evidence", "aria-label": "Frames that the answer attended to most" });
    const badge = h("span", { class: "badge", title: lane.session.memory }, "AB"[index]);
    this.element = h("div", { class: `column lane-${"ab"[index]}` }, badge, this.text, this.meta, this.evidence);
  }

  /** @param {Answer | null} answer */
  update(answer) {
    this.element.dataset.state = answer?.state ?? "none";
    if (!answer) return;
    setText(this.text, answer.state === "failed" ? answer.error : answer.text || (answer.state === "done" ? "(no words)" : ""));
    setText(this.meta, this.#meta(answer));
    if (answer.evidence.length === this.#nEvidence) return;
    this.#nEvidence = answer.evidence.length;
    const rows = [...answer.evidence].sort((a, b) => a.time_s - b.time_s);
    this.evidence.replaceChildren(...rows.map((row) => h("li", {}, this.#picture(row))));
  }

  /** @param {Answer} answer */
  #meta({ state, timeSeconds, ttftMs, totalMs }) {
    const parts = [];
    if (timeSeconds !== null) parts.push(`at ${clock(timeSeconds, 1)}`, wallClock(this.lane.session.origin_s, timeSeconds));
    if (ttftMs !== null) parts.push(`first word ${milliseconds(ttftMs)}`);
    if (totalMs !== null) parts.push(`all ${milliseconds(totalMs)}`);
    if (state === "cancelled") parts.push("cancelled");
    // Each part stays whole where the line breaks.
    return parts.filter(Boolean).map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
  }

  /** @param {Answer["evidence"][number]} row */
  #picture({ time_s, weight }) {
    const image = h("img", { alt: "" });
    this.lane.picture(time_s).then((url) => (image.src = url), () => {});
    const bar = h("span", { class: "weight", "aria-hidden": "true" });
    bar.style.inlineSize = percent(weight).replace(" ", "");
    const note = `${percent(weight)} of the answer's attention to frames`;
    const open = () => this.onOpen(this.lane, time_s, note);
    const name = `Frame at ${clock(time_s, 1)}, ${note}`;
    const label = h("span", { class: "time" }, clock(time_s));
    return h("button", { type: "button", class: "thumb", title: name, "aria-label": name, onclick: open }, image, bar, label);
  }
}

/** One line about an answer for people who hear the page. @param {Question} question @param {Lane[]} lanes */
export function spoken(question, lanes) {
  const told = question.answers.map((answer, index) => {
    const who = lanes.length > 1 ? `${"AB"[index]}: ` : "";
    return answer ? `${who}${answer.state === "failed" ? `failed, ${answer.error}` : answer.text}` : "";
  });
  return `${question.text} ${told.filter(Boolean).join("; ")}`;
}
