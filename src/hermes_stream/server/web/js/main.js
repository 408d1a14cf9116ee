// The page: two views, the list of sessions, and what leads from one to the other. The address names what is in view.

import { onKeyNeeded, postJson, remove } from "./api.js";
import { askComparison, askKey, confirm, prepareDialogs } from "./dialogs.js";
import { announce, byId, setText, toast } from "./dom.js";
import { cameraFeed, fileFeed } from "./feed.js";
import { isDemo, titleOf } from "./hints.js";
import { openAll, sourceOf } from "./opening.js";
import { switchTheme } from "./palette.js";
import { SessionList } from "./session_list.js";
import { MemoryChoice } from "./settings_form.js";
import { listenForShortcuts } from "./shortcuts.js";
import { Start } from "./start.js";
import { Watch, findSessions } from "./watch.js";

/** @typedef {import("./feed.js").Feed} Feed */

/** @type {Watch | null} */
let watch = null;
/** @type {Set<Feed>} */
const feeds = new Set();
const other = new MemoryChoice("other");
const start = new Start(open);
onKeyNeeded(askKey);
prepareDialogs();
const list = new SessionList((session) => guarded(() => deleteAll([session]))());

/** @param {string[]} ids */
function addressOf(ids) {
  return ids.length ? `#/s/${ids.map(encodeURIComponent).join("/")}` : "#/";
}

function idsInAddress() {
  return location.hash.startsWith("#/s/") ? location.hash.slice(4).split("/").filter(Boolean).map(decodeURIComponent).slice(0, 2) : [];
}

/** @param {any[]} sessions @param {Feed | null} feed */
function open(sessions, feed) {
  if (feed) keep(feed);
  location.hash = addressOf(sessions.map(({ id }) => id));
}

/** @param {Feed} feed  goes on whatever is in view */
function keep(feed) {
  feeds.add(feed);
  byId("feeds").append(feed.video);
  feed.addEventListener("note", (event) => toast(/** @type {CustomEvent} */ (event).detail, "error"));
  feed.addEventListener("back", () => toast("Connected again; the video goes on."));
  feed.addEventListener("over", (event) => {
    feeds.delete(feed);
    const text = /** @type {CustomEvent} */ (event).detail;
    if (text) toast(text, "error");
    showFeed();
  });
  feed.video.play().then(
    () => feed.start(),
    () => feed.stop("the browser did not let the video play; start it once more"),
  );
}

function showFeed() {
  if (!watch) return;
  const [{ id }] = watch.lanes;
  watch.showFeed([...feeds].find((feed) => feed.feeds(id)) ?? null);
}

/** Bring into view what the address names. */
async function route() {
  const ids = idsInAddress();
  leave();
  list.mark(ids);
  openRail(false);
  if (!ids.length) return showStart();
  try {
    const sessions = await findSessions(ids);
    if (String(idsInAddress()) !== String(ids)) return undefined;
    byId("start").hidden = true;
    byId("watch").hidden = false;
    watch = new Watch(sessions, gone);
    document.title = `${titleOf(sessions[0])} · hermes-stream`;
    setText(byId("compare-label"), sessions.length > 1 ? "Stop comparing" : "Compare");
    showFeed();
  } catch (error) {
    toast(/** @type {Error} */ (error).message, "error");
    location.hash = addressOf([]);
  }
  return undefined;
}

function leave() {
  watch?.leave();
  watch = null;
}

/** The list of sessions, where there is no room to show it always. @param {boolean} isOpen */
function openRail(isOpen) {
  document.body.classList.toggle("rail-open", isOpen);
  byId("menu").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) /** @type {HTMLElement} */ (document.querySelector("#rail a")).focus();
}

function showStart() {
  byId("watch").hidden = true;
  byId("start").hidden = false;
  document.title = "hermes-stream";
  return start.show();
}

function gone() {
  announce("The session is gone.");
  location.hash = addressOf([]);
}

/** @param {() => Promise<void>} act */
function guarded(act) {
  return () => act().catch((error) => toast(error.message, "error"));
}

async function forkSession() {
  if (!watch) return;
  const [{ session, path }] = watch.lanes;
  const twin = await postJson(`${path}/fork`, { name: `${titleOf(session)}, forked`, source: sourceOf(session) });
  toast("Forked: the same past, and a feed of its own.");
  open([twin], null);
}

/** @param {any[]} sessions */
async function deleteAll(sessions) {
  const what = sessions.length > 1 ? "these two sessions" : "this session";
  const text = `Everything that was kept of ${what} is deleted: memory, pictures, questions and answers.`;
  if (!(await confirm(`Delete ${titleOf(sessions[0])}?`, text, "Delete"))) return;
  for (const feed of feeds) if (sessions.some(({ id }) => feed.feeds(id))) feed.stop();
  const isInView = sessions.some(({ id }) => idsInAddress().includes(id));
  // Whoever still follows them would ask for what is gone.
  if (isInView) leave();
  try {
    await Promise.all(sessions.map(({ id }) => remove(`/v1/sessions/${encodeURIComponent(id)}`)));
    await list.refresh();
  } finally {
    if (isInView) location.hash = addressOf([]);
  }
}

async function compare() {
  if (!watch) return;
  if (watch.lanes.length > 1) return void (location.hash = addressOf([watch.lanes[0].id]));
  const [{ session, id }] = watch.lanes;
  const feed = [...feeds].find((each) => each.feeds(id));
  if (!session.source && !feed) throw new Error("another client pushes this stream; only that client can push it to a second session too");
  await other.load();
  other.suggest(session.memory);
  const demo = isDemo(session);
  const begin = demo ? "Both begin the stream anew, at the same moment." : "It begins now, beside this one, and knows nothing of what went before.";
  if (!(await askComparison(`A second session watches the same stream with another memory. ${begin}`))) return;
  const { model, fps } = session;
  const spec = { source: sourceOf(session), model, fps, name: session.name ?? undefined, ...other.value };
  const same = { ...spec, memory: session.memory, budget: session.budget ?? undefined };
  const opened = await openAll(demo ? [same, spec] : [spec]);
  if (feed) await feed.add(opened[0]);
  open(demo ? opened : [session, ...opened], null);
}

async function resumeCamera() {
  await resume(await cameraFeed(), true);
}

async function resumeFile() {
  const [file] = byId("file-again").files;
  byId("file-again").value = "";
  if (file && watch) await resume(await fileFeed(file, watch.lanes[0].session.time_s), false);
}

/** @param {Feed} feed @param {boolean} resumes */
async function resume(feed, resumes) {
  if (!watch) return feed.stop();
  for (const { session } of watch.lanes) await feed.add(session, resumes);
  keep(feed);
  showFeed();
  return undefined;
}

byId("compare").onclick = guarded(compare);
byId("fork").onclick = guarded(forkSession);
byId("delete").onclick = guarded(async () => watch && deleteAll(watch.lanes.map(({ session }) => session)));
byId("again-camera").onclick = guarded(resumeCamera);
byId("again-file").onclick = () => byId("file-again").click();
byId("file-again").onchange = guarded(resumeFile);
byId("menu").onclick = () => openRail(!document.body.classList.contains("rail-open"));
byId("veil").onclick = () => openRail(false);
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !document.body.classList.contains("rail-open")) return;
  openRail(false);
  byId("menu").focus();
});
byId("theme").onclick = switchTheme;
byId("help-button").onclick = () => byId("help").showModal();
listenForShortcuts({
  "/": () => watch && byId("question").focus(),
  a: () => watch && byId("alert-question").focus(),
  m: () => /** @type {HTMLElement | null} */ (document.querySelector(".map .surface"))?.focus(),
  n: () => (location.hash = addressOf([])),
  c: () => watch && byId("compare").click(),
  t: switchTheme,
  "?": () => byId("help").showModal(),
});
addEventListener("hashchange", route);
route();
