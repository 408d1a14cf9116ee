// One session as the page follows it: where it stands, what its memory holds, what happened in it.

import { ApiError, events, getJson, getPicture } from "./api.js";

/**
 * @typedef {{time_s: number, layers: number, groups: Record<string, [number, number]>, frames: number[], times_s: number[],
 *   shares: number[][], summarised_tokens: number[], archived_tokens: number[], waiting_tokens: number}} Memory
 * @typedef {{kind: "question" | "alert", timeSeconds: number, text: string}} Mark
 * @typedef {{wallMs: number, lag: number, bytes: number, held: number}} Sample
 */

const MOST_SAMPLES = 900;
const MOST_MARKS = 500;
const MOST_PICTURES = 240;
const MEMORY_PAUSE_MS = 900;
const UNSEEN_MS = 15_000;
const RETRY_MS = [500, 1000, 2000, 4000];

/** Tells of: session, memory, stats, marks, question, answer, alert, gone. */
export class Lane extends EventTarget {
  #stop = new AbortController();
  #isMemoryDue = false;
  #isFetchingMemory = false;
  /** @type {Map<string, Promise<string>>} */
  #pictures = new Map();

  /** @param {any} session  as the server gives it */
  constructor(session) {
    super();
    this.id = session.id;
    this.path = `/v1/sessions/${encodeURIComponent(session.id)}`;
    this.session = session;
    /** @type {Memory | null} */
    this.memory = null;
    /** @type {Mark[]} */
    this.marks = [];
    /** @type {Sample[]} */
    this.samples = [];
    /** @type {{timeSeconds: number, ms: number}[]} */
    this.firstWords = [];
    /** @type {number[]} */
    this.compressions = [];
    // Of the newest journal entry that is known.
    this.number = 0;
  }

  /** Follow it until `stop`. */
  start() {
    this.#follow();
    this.refreshMemory();
  }

  stop() {
    this.#stop.abort();
    for (const picture of this.#pictures.values()) picture.then((url) => URL.revokeObjectURL(url)).catch(() => {});
  }

  /** Aborted with `stop`. */
  get signal() {
    return this.#stop.signal;
  }

  get isStopped() {
    return this.#stop.signal.aborted;
  }

  /** The map anew, soon; asking often costs no more than asking once. */
  async refreshMemory() {
    this.#isMemoryDue = true;
    if (this.#isFetchingMemory) return;
    this.#isFetchingMemory = true;
    while (this.#isMemoryDue && !this.isStopped) {
      this.#isMemoryDue = false;
      const began = performance.now();
      await this.#fetch();
      // Where a map is large and the way is long, less often.
      await pause(Math.max(MEMORY_PAUSE_MS, 3 * (performance.now() - began)));
    }
    this.#isFetchingMemory = false;
  }

  /**
   * A small picture nearest to a time, as an object URL that this lane keeps.
   * @param {number} timeSeconds
   */
  picture(timeSeconds) {
    const name = timeSeconds.toFixed(2);
    let found = this.#pictures.get(name);
    if (!found) {
      found = getPicture(`${this.path}/thumbnail?time_s=${timeSeconds}`, this.#stop.signal).then(({ url }) => url);
      found.catch(() => this.#pictures.delete(name));
      this.#pictures.set(name, found);
      this.#dropOldest();
    }
    return found;
  }

  async #fetch() {
    try {
      const signal = this.#stop.signal;
      const [session, memory] = await Promise.all([getJson(this.path, signal), getJson(`${this.path}/memory`, signal)]);
      Object.assign(this.session, session);
      this.memory = memory;
      this.#tell("memory");
    } catch (error) {
      this.#failed(error);
    }
  }

  async #follow() {
    for (let nFailed = 0; !this.isStopped; nFailed += 1) {
      await whenSeen();
      const signal = AbortSignal.any([this.#stop.signal, whenUnseen()]);
      try {
        for await (const { event, data } of events(`${this.path}/events`, { signal })) {
          if (event === "session") await this.#catchUp();
          this.#take(event, data);
          nFailed = 0;
        }
      } catch (error) {
        this.#failed(error);
      }
      if (!this.isStopped) await pause(RETRY_MS[Math.min(nFailed, RETRY_MS.length - 1)]);
    }
  }

  /** What happened while nobody listened. */
  async #catchUp() {
    const kinds = ["question", "answer", "alert"].map((kind) => `kind=${kind}`).join("&");
    const { data } = await getJson(`${this.path}/journal?limit=300&after=${this.number}&${kinds}`, this.#stop.signal);
    for (const entry of data) this.#take(entry.kind, entry, true);
  }

  /** @param {string} kind @param {any} data @param {boolean} [isPast] */
  #take(kind, data, isPast = false) {
    if (data.number !== undefined) {
      if (data.number <= this.number) return;
      this.number = data.number;
    }
    if (kind === "session" || kind === "state") Object.assign(this.session, data);
    if (kind === "stats") this.#sample(data);
    if (kind === "compressed") this.#keep(this.compressions, data.time_s);
    if (kind === "question") this.#mark({ kind, timeSeconds: data.time_s, text: data.question });
    if (kind === "alert") this.#mark({ kind, timeSeconds: data.time_s, text: data.question });
    if (kind === "answer") this.#keep(this.firstWords, { timeSeconds: data.time_s, ms: data.ttft_ms });
    if (["session", "stats", "compressed", "gap", "deleted"].includes(kind)) this.refreshMemory();
    this.#tell(kind === "state" || kind === "gap" ? "session" : kind, { ...data, isPast });
  }

  /** @param {any} stats  its held_tokens are those of the layer that holds most */
  #sample({ held_tokens: held, ...stats }) {
    Object.assign(this.session, stats);
    this.#keep(this.samples, { wallMs: Date.now(), lag: stats.lag_s, bytes: stats.memory_bytes, held }, MOST_SAMPLES);
  }

  /** @param {Mark} mark */
  #mark(mark) {
    this.#keep(this.marks, mark);
    this.#tell("marks");
  }

  /** @template T @param {T[]} list @param {T} value @param {number} [most] */
  #keep(list, value, most = MOST_MARKS) {
    list.push(value);
    if (list.length > most) list.splice(0, list.length - most);
  }

  #dropOldest() {
    for (const [name, picture] of this.#pictures) {
      if (this.#pictures.size <= MOST_PICTURES) return;
      this.#pictures.delete(name);
      picture.then((url) => URL.revokeObjectURL(url)).catch(() => {});
    }
  }

  /** @param {unknown} error */
  #failed(error) {
    if (this.isStopped || !(error instanceof ApiError) || error.status !== 404) return;
    this.stop();
    this.#tell("gone");
  }

  /** @param {string} kind @param {unknown} [detail] */
  #tell(kind, detail = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

/** Until somebody looks at the page. */
function whenSeen() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/**
 * Aborted once nobody has looked at the page for a while. A browser has six connections to a server, over all its pages:
 * those that nobody sees must not hold any.
 * @returns {AbortSignal}
 */
function whenUnseen() {
  const controller = new AbortController();
  let timer = 0;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => controller.abort(), UNSEEN_MS);
  };
  document.addEventListener("visibilitychange", look, { signal: controller.signal });
  return controller.signal;
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
