// The box to ask in, and the answers below it, the newest first.

import { AnswerCard, spoken } from "./answer_card.js";
import { announce, byId, h, toast } from "./dom.js";
import { hintsFor } from "./hints.js";
import { Questions } from "./questions.js";

/** @typedef {import("./lane.js").Lane} Lane */
/** @typedef {import("./questions.js").Question} Question */

const MOST_CARDS = 100;

export class AskPanel {
  /** @type {Map<string, AnswerCard>} */
  #cards = new Map();

  /** @param {Lane[]} lanes @param {(lane: Lane, timeSeconds: number, note: string) => void} onOpen */
  constructor(lanes, onOpen) {
    this.lanes = lanes;
    this.onOpen = onOpen;
    this.questions = new Questions(lanes);
    this.questions.addEventListener("new", (event) => this.#add(/** @type {CustomEvent} */ (event).detail));
    this.questions.addEventListener("changed", (event) => this.#change(/** @type {CustomEvent} */ (event).detail));
    this.list = byId("answers");
    this.form = byId("ask-form");
    this.box = byId("question");
    this.follows = byId("follow-up");
    this.remember = byId("remember");
    this.#listen();
    this.#showHints();
    this.#showEmpty();
  }

  /** Forget the elements: another view takes them. */
  leave() {
    this.form.onsubmit = this.box.onkeydown = null;
    this.list.replaceChildren();
  }

  #listen() {
    this.follows.checked = false;
    this.follows.disabled = true;
    this.form.onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#ask(this.box.value.trim());
    };
    this.box.onkeydown = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#ask(this.box.value.trim());
    };
  }

  /** @param {string} text */
  #ask(text) {
    if (!text) return this.box.focus();
    this.box.value = "";
    this.questions.ask(text, { follows: this.follows.checked, remember: this.remember.checked });
    this.follows.disabled = false;
    return undefined;
  }

  #showHints() {
    const row = byId("hints");
    const hints = hintsFor(this.lanes[0].session).questions;
    row.replaceChildren(
      ...hints.map((text) => h("button", { type: "button", class: "chip", onclick: () => this.#ask(text) }, text)),
    );
    row.hidden = !hints.length;
  }

  /** @param {Question} question */
  #add(question) {
    if (this.#cards.has(question.id)) return;
    const handlers = { onCancel: () => this.questions.cancel(question), onOpen: this.onOpen };
    const card = new AnswerCard(question, this.lanes, handlers);
    this.#cards.set(question.id, card);
    this.list.prepend(card.element);
    while (this.list.children.length > MOST_CARDS) this.list.lastElementChild.remove();
    this.#showEmpty();
  }

  /** @param {Question} question */
  #change(question) {
    this.#cards.get(question.id)?.update();
    const isOver = question.answers.every((answer) => answer && !["waiting", "writing"].includes(answer.state));
    if (!isOver || !question.isOurs) return;
    announce(spoken(question, this.lanes));
    const failed = question.answers.find((answer) => answer?.state === "failed");
    if (failed) toast(failed.error, "error");
  }

  #showEmpty() {
    byId("no-answers").hidden = this.#cards.size > 0;
  }
}
