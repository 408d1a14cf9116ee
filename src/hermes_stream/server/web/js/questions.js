// Questions of the sessions in view: asked here, asked by others, asked before the page was loaded.

import { ApiError, events } from "./api.js";

/** @typedef {import("./lane.js").Lane} Lane */
/**
 * @typedef {{state: "waiting" | "writing" | "done" | "failed" | "cancelled", text: string, timeSeconds: number | null,
 *   ttftMs: number | null, totalMs: number | null, error: string,
 *   evidence: {time_s: number, weight: number, thumbnail: string}[]}} Answer
 * @typedef {{id: string, text: string, follows: boolean, isOurs: boolean, answers: (Answer | null)[]}} Question
 */

/** Tells of: `new` and `changed`, each with the question. */
export class Questions extends EventTarget {
  /** @type {Map<string, Question>} */
  #questions = new Map();
  /** @type {Map<string, AbortController>} */
  #open = new Map();
  #dialogue = "";

  /** @param {Lane[]} lanes */
  constructor(lanes) {
    super();
    this.lanes = lanes;
    lanes.forEach((lane, index) => {
      lane.addEventListener("question", (event) => this.#heard(index, /** @type {CustomEvent} */ (event).detail));
      lane.addEventListener("answer", (event) => this.#answered(index, /** @type {CustomEvent} */ (event).detail));
    });
  }

  /** Whether there is something that a question could follow up. */
  get canFollow() {
    return this.#dialogue !== "";
  }

  /**
   * Ask all sessions in view at once.
   * @param {string} text
   * @param {{follows: boolean, remember: boolean}} how
   * @returns {Question}
   */
  ask(text, { follows, remember }) {
    const id = newName();
    if (!follows || !this.canFollow) this.#dialogue = newName();
    const stop = new AbortController();
    this.#open.set(id, stop);
    const question = { id, text, follows, isOurs: true, answers: this.lanes.map(() => newAnswer("waiting")) };
    this.#questions.set(id, question);
    this.#tell("new", question);
    const body = { question: text, id, dialogue: this.#dialogue, remember, stream: true };
    const all = this.lanes.map((lane, index) => this.#follow(lane, question, index, body, stop.signal));
    Promise.all(all).finally(() => this.#open.delete(id));
    return question;
  }

  /** @param {Question} question */
  cancel(question) {
    this.#open.get(question.id)?.abort();
  }

  /** @param {Lane} lane @param {Question} question @param {number} index @param {unknown} body @param {AbortSignal} signal */
  async #follow(lane, question, index, body, signal) {
    const answer = /** @type {Answer} */ (question.answers[index]);
    try {
      for await (const { event, data } of events(`${lane.path}/ask`, { method: "POST", body, signal })) {
        if (event === "error") throw new ApiError(500, data.error.message);
        hear(answer, event, data);
        this.#tell("changed", question);
      }
      if (answer.state !== "done") throw new ApiError(0, "the connection ended before the answer did");
    } catch (error) {
      answer.state = signal.aborted ? "cancelled" : "failed";
      answer.error = signal.aborted ? "" : /** @type {Error} */ (error).message;
      this.#tell("changed", question);
    }
  }

  /** A question that somebody else asked, or that was asked before. @param {number} index @param {any} data */
  #heard(index, data) {
    const known = this.#questions.get(data.id);
    if (known?.isOurs) return;
    const question = known ?? { id: data.id, text: data.question, follows: false, isOurs: false, answers: this.lanes.map(() => null) };
    // Of the past only the answers are worth a place: a question without one was cancelled.
    question.answers[index] ??= newAnswer("waiting");
    this.#questions.set(data.id, question);
    if (!known && !data.isPast) this.#tell("new", question);
  }

  /** @param {number} index @param {any} data */
  #answered(index, data) {
    const question = this.#questions.get(data.id);
    if (!question || question.isOurs) return;
    const answer = (question.answers[index] ??= newAnswer("waiting"));
    hear(answer, "response.text.done", { ...data, text: data.answer });
    this.#tell("new", question);
    this.#tell("changed", question);
  }

  /** @param {string} kind @param {Question} question */
  #tell(kind, question) {
    this.dispatchEvent(new CustomEvent(kind, { detail: question }));
  }
}

/** @param {Answer["state"]} state @returns {Answer} */
function newAnswer(state) {
  return { state, text: "", timeSeconds: null, ttftMs: null, totalMs: null, evidence: [], error: "" };
}

/** @param {Answer} answer @param {string} event @param {any} data */
function hear(answer, event, data) {
  if (event === "response.start") [answer.state, answer.timeSeconds] = ["writing", data.time_s];
  if (event === "response.text.delta") answer.text += data.delta;
  if (event !== "response.text.done") return;
  Object.assign(answer, { state: "done", text: data.text, timeSeconds: data.time_s, evidence: data.evidence ?? [] });
  Object.assign(answer, { ttftMs: data.ttft_ms, totalMs: data.total_ms });
}

function newName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
