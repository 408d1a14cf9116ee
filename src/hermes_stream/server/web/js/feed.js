// Frames that this page itself brings: of a video file or the camera, as JPEG over one WebSocket to each session.

import { openSocket } from "./api.js";
import { h } from "./dom.js";
import { encodeFrame } from "./frame.js";

const WIDEST_PIXELS = 720;
const QUALITY = 0.86;
// The server chooses by time; a timer that is a little early must not cost a frame.
const OVERSAMPLING = 2;
const MOST_BUFFERED_BYTES = 2 ** 20;
// Ends after which the session goes on, here or at another server: it moves, the server ends, the line breaks.
const RESUMABLE_CODES = new Set([4411, 1001, 1006, 1011, 1012]);
const [RETRY_MS, PATIENCE_MS] = [1_000, 60_000];

/** Tells of: `over` with a message or "" , `note` with a message, `back` once it is connected again. */
export class Feed extends EventTarget {
  #canvas = document.createElement("canvas");
  /** @type {Map<string, WebSocket>} */
  #sockets = new Map();
  /** @type {Set<string>} sessions whose connection is being made again */
  #returning = new Set();
  #timer = 0;
  #fps = 0;
  #isBusy = false;
  #startMs = 0;
  #lastSeconds = -1;
  isOver = false;
  nLeftOut = 0;

  /**
   * @param {HTMLVideoElement} video  plays already, or will
   * @param {"file" | "camera"} kind
   */
  constructor(video, kind) {
    super();
    this.video = video;
    this.kind = kind;
    video.addEventListener("ended", () => this.#finish());
  }

  /** @param {string} sessionId */
  feeds(sessionId) {
    return (this.#sockets.has(sessionId) || this.#returning.has(sessionId)) && !this.isOver;
  }

  /**
   * Push to a session too. resumes: its times go on where it stands.
   * @param {any} session @param {boolean} [resumes]
   */
  async add(session, resumes = false) {
    const socket = openSocket(`/v1/sessions/${encodeURIComponent(session.id)}/stream`);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = (event) => reject(new Error(event.reason || "the server did not take the stream"));
    });
    if (resumes) socket.send(JSON.stringify({ type: "session.config", resume: true }));
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    socket.onclose = (event) => this.#lost(session, event);
    this.#sockets.set(session.id, socket);
    this.#fps = Math.max(this.#fps, session.fps);
  }

  /** The video plays: send what it shows. */
  start() {
    this.#timer = setInterval(() => this.#capture(), 1000 / (OVERSAMPLING * this.#fps));
  }

  /** No more frames; the sessions keep what they have seen. */
  stop(message = "") {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.#timer);
    for (const socket of this.#sockets.values()) socket.close(1000);
    const stream = /** @type {MediaStream | null} */ (this.video.srcObject);
    for (const track of stream?.getTracks() ?? []) track.stop();
    if (this.video.src) URL.revokeObjectURL(this.video.src);
    this.dispatchEvent(new CustomEvent("over", { detail: message }));
  }

  #now() {
    if (this.kind === "file") return this.video.currentTime;
    this.#startMs ||= performance.now();
    return (performance.now() - this.#startMs) / 1000;
  }

  async #capture() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width || this.#isBusy || this.isOver) return;
    const timeSeconds = this.#now();
    if (timeSeconds <= this.#lastSeconds) return;
    this.#isBusy = true;
    this.#lastSeconds = timeSeconds;
    const factor = Math.min(WIDEST_PIXELS / Math.max(width, height), 1);
    [this.#canvas.width, this.#canvas.height] = [Math.round(width * factor), Math.round(height * factor)];
    this.#canvas.getContext("2d")?.drawImage(this.video, 0, 0, this.#canvas.width, this.#canvas.height);
    const blob = await new Promise((resolve) => this.#canvas.toBlob(resolve, "image/jpeg", QUALITY));
    if (blob) this.#send(encodeFrame(timeSeconds, await blob.arrayBuffer()));
    this.#isBusy = false;
  }

  /** @param {ArrayBuffer} message */
  #send(message) {
    for (const socket of this.#sockets.values()) {
      // A way that is too narrow must not become a queue.
      if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MOST_BUFFERED_BYTES) this.nLeftOut += 1;
      else socket.send(message);
    }
  }

  #finish() {
    for (const socket of this.#sockets.values()) socket.send(JSON.stringify({ type: "video.done" }));
    clearInterval(this.#timer);
  }

  /** @param {any} message */
  #heard(message) {
    if (message.type === "session.done") this.stop();
    if (message.type === "frame.refused" || message.type === "error") {
      this.#note(message.message ?? message.error?.message ?? "a frame was refused");
    }
  }

  /** @param {any} session @param {CloseEvent} event */
  async #lost(session, event) {
    if (this.isOver) return;
    this.#sockets.delete(session.id);
    const text = event.reason || "the connection that pushed the video is lost";
    if (RESUMABLE_CODES.has(event.code) && (await this.#comesBack(session, text))) return;
    if (this.#sockets.size || this.#returning.size) this.#note(text);
    else this.stop(text);
  }

  /**
   * Connect again, until it is taken or patience ends; frames meanwhile are a gap of the session.
   * @param {any} session @param {string} text  why the connection ended
   */
  async #comesBack(session, text) {
    this.#returning.add(session.id);
    this.#note(`${text}; connecting again`);
    const deadline = performance.now() + PATIENCE_MS;
    let isBack = false;
    while (!isBack && !this.isOver && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      isBack = await this.add(session, true).then(
        () => true,
        () => false,
      );
    }
    this.#returning.delete(session.id);
    if (this.isOver) this.#sockets.get(session.id)?.close(1000);
    else if (isBack) {
      if (this.video.ended) this.#finish();
      this.dispatchEvent(new Event("back"));
    }
    return isBack || this.isOver;
  }

  /** @param {string} text */
  #note(text) {
    this.dispatchEvent(new CustomEvent("note", { detail: text }));
  }
}

function newVideo() {
  const video = h("video", { muted: true, playsinline: true, class: "feed" });
  video.muted = true;
  return video;
}

/**
 * A video file of this machine; it plays at its own pace.
 * @param {File} file @param {number} [fromSeconds]
 */
export async function fileFeed(file, fromSeconds = 0) {
  const video = newVideo();
  video.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    video.onloadedmetadata = resolve;
    video.onerror = () => reject(new Error(`this browser cannot play ${file.name}; give the server its address instead`));
  });
  if (fromSeconds > 0 && fromSeconds < video.duration - 1) video.currentTime = fromSeconds;
  return new Feed(video, "file");
}

export async function cameraFeed() {
  if (!navigator.mediaDevices) throw new Error("browsers give a camera to https and localhost pages only; open this page by one of these");
  const video = newVideo();
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: "environment" } }, audio: false });
  return new Feed(video, "camera");
}
