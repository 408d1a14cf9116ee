// The first view: what to watch, and how to remember it.

import { byId, toast } from "./dom.js";
import { cameraFeed, fileFeed } from "./feed.js";
import { DEMO_SOURCE } from "./hints.js";
import { openAll } from "./opening.js";
import { MemoryChoice, loadModels } from "./settings_form.js";

/** @typedef {import("./feed.js").Feed} Feed */
/** @typedef {(sessions: any[], feed: Feed | null) => void} OnOpen */

export class Start {
  /** @param {OnOpen} onOpen */
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.first = new MemoryChoice("first");
    this.second = new MemoryChoice("second", "nothing");
    byId("start-demo").onclick = () => this.#run(() => this.#pull(DEMO_SOURCE));
    byId("start-camera").onclick = () => this.#run(async () => this.#push(await cameraFeed(), "Camera"));
    byId("start-file").onclick = () => byId("file").click();
    byId("file").onchange = () => this.#run(() => this.#pushFile());
    byId("address-form").onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const address = byId("address").value.trim();
      if (address) this.#run(() => this.#pull(address));
      else byId("address").focus();
    };
  }

  /** Ask the server what can be chosen. */
  async show() {
    try {
      await Promise.all([this.first.load(), this.second.load(), loadModels(byId("model"))]);
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
    }
  }

  /** @param {() => Promise<void>} open */
  async #run(open) {
    const view = byId("start");
    if (view.ariaBusy === "true") return;
    view.ariaBusy = "true";
    try {
      await open();
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
    } finally {
      view.ariaBusy = "false";
    }
  }

  /** @param {string} source */
  async #pull(source) {
    this.onOpen(await openAll(this.#specs({ source })), null);
  }

  async #pushFile() {
    const [file] = byId("file").files;
    byId("file").value = "";
    if (file) await this.#push(await fileFeed(file), file.name);
  }

  /** @param {Feed} feed @param {string} name */
  async #push(feed, name) {
    try {
      const sessions = await openAll(this.#specs({ name }));
      for (const session of sessions) await feed.add(session);
      this.onOpen(sessions, feed);
    } catch (error) {
      feed.stop();
      throw error;
    }
  }

  /** What the sessions are opened with: one, or two to compare. @param {{source?: string, name?: string}} what */
  #specs(what) {
    const fps = Number(byId("fps").value) || undefined;
    const name = byId("name").value.trim() || what.name;
    const common = { ...what, name, fps, model: byId("model").value || undefined };
    const memories = [this.first.value, this.second.value].filter((memory) => memory !== null);
    return memories.map((memory) => ({ ...common, ...memory }));
  }
}
