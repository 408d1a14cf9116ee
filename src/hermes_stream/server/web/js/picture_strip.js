// Small pictures of the stream above its memory map; those of which nothing is left are pale.

import { h } from "./dom.js";
import { clock } from "./times.js";
import { slotsOf } from "./timeline.js";

/** @typedef {import("./lane.js").Lane} Lane */
/** @typedef {{seconds: number, button: HTMLButtonElement, image: HTMLImageElement, isAsked: boolean}} Slot */

const SLOT_PIXELS = 76;

export class PictureStrip {
  /** @type {Slot[]} */
  #slots = [];
  #shown = "";

  /**
   * @param {Lane} lane
   * @param {(timeSeconds: number) => void} onOpen
   */
  constructor(lane, onOpen) {
    this.lane = lane;
    this.onOpen = onOpen;
    this.element = h("div", { class: "strip" });
  }

  /**
   * Show a span of time.
   * @param {import("./timeline.js").Scale} scale
   */
  update(scale) {
    const nSlots = Math.max(Math.round(scale.width / SLOT_PIXELS), 1);
    const shown = `${scale.startSeconds} ${scale.endSeconds} ${nSlots}`;
    if (shown !== this.#shown) this.#build(scale, nSlots);
    this.#shown = shown;
    const halfSeconds = (scale.endSeconds - scale.startSeconds) / nSlots / 2;
    for (const slot of this.#slots) {
      const isGap = this.#isGap(slot.seconds);
      slot.button.classList.toggle("gap", isGap);
      if (!isGap) this.#load(slot);
      slot.button.classList.toggle("forgotten", slot.isAsked && !this.#isHeld(slot.seconds, halfSeconds));
    }
  }

  /** @param {import("./timeline.js").Scale} scale @param {number} nSlots */
  #build(scale, nSlots) {
    this.#slots = slotsOf(scale, nSlots).map((seconds) => {
      const image = h("img", { alt: "", hidden: true });
      const open = () => this.onOpen(seconds);
      // The map itself is the way for keys; twelve more stops before it would only be in the way.
      const button = h("button", { type: "button", class: "slot", tabindex: -1, disabled: true, onclick: open }, image);
      button.setAttribute("aria-label", `Picture at ${clock(seconds)}`);
      return { seconds, button, image, isAsked: false };
    });
    this.element.replaceChildren(...this.#slots.map(({ button }) => button));
  }

  /** @param {Slot} slot  its picture is fetched once its time has come */
  #load(slot) {
    if (slot.isAsked || this.lane.session.time_s < slot.seconds || !this.lane.session.frames_seen) return;
    slot.isAsked = true;
    this.lane.picture(slot.seconds).then(
      (url) => {
        slot.image.src = url;
        slot.image.hidden = slot.button.disabled = false;
      },
      () => (slot.isAsked = false),
    );
  }

  /** @param {number} seconds */
  #isGap(seconds) {
    return (this.lane.session.gaps ?? []).some((/** @type {any} */ gap) => seconds > gap.start_s && seconds < gap.end_s);
  }

  /** @param {number} seconds @param {number} halfSeconds */
  #isHeld(seconds, halfSeconds) {
    return this.lane.memory?.times_s.some((time) => Math.abs(time - seconds) <= halfSeconds) ?? true;
  }
}
