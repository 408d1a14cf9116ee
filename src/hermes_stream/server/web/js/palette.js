// Colours of the style sheet for canvases, and the switch between light and dark.

const KEY = "hermes-stream.theme";
const N_STEPS = 32;

/** @typedef {{ramp: string[], line: string}} LaneColours */
/** @typedef {{ink: string, quiet: string, hairline: string, panel: string, forgotten: string, gap: string, alert: string,
 *   evicted: string, question: string, lanes: LaneColours[]}} Palette */

/** @type {Palette | null} */
let known = null;

/** @returns {Palette} */
export function palette() {
  known ??= read();
  return known;
}

/** Light to dark or back; remembered on this machine. */
export function switchTheme() {
  const root = document.documentElement;
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (isDark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, root.dataset.theme);
  changed();
}

/**
 * Draw again when colours or room change, for as long as the lane is followed.
 * @param {Element} element  whose size counts
 * @param {AbortSignal} signal
 * @param {() => void} redraw
 */
export function onLookChange(element, signal, redraw) {
  const observer = new ResizeObserver(redraw);
  observer.observe(element);
  document.addEventListener("themechange", redraw, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);

function changed() {
  known = null;
  document.dispatchEvent(new Event("themechange"));
}

/** @returns {Palette} */
function read() {
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  // Only a used colour is resolved for the theme; a custom property alone is still its text.
  const colour = (/** @type {string} */ name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const lane = (/** @type {string} */ letter) => ({
    ramp: ramp(["low", "middle", "high"].map((stop) => channels(colour(`map-${letter}-${stop}`)))),
    line: colour(`lane-${letter}`),
  });
  const names = ["ink", "quiet", "hairline", "panel", "forgotten", "gap", "alert", "evicted", "question"];
  const plain = Object.fromEntries(names.map((name) => [name, colour(name)]));
  const lanes = [lane("a"), lane("b")];
  probe.remove();
  return /** @type {any} */ ({ ...plain, lanes });
}

/** @param {string} colour  as a browser writes used colours: rgb(1, 2, 3) */
function channels(colour) {
  return (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
}

/** @param {number[][]} stops  three colours, for shares near 0, in the middle and 1 */
function ramp(stops) {
  return Array.from({ length: N_STEPS }, (_, index) => {
    const place = (index / (N_STEPS - 1)) * (stops.length - 1);
    const first = Math.min(Math.floor(place), stops.length - 2);
    const mixed = stops[first].map((value, channel) => value + (stops[first + 1][channel] - value) * (place - first));
    return `rgb(${mixed.map(Math.round).join(" ")})`;
  });
}

/**
 * The colour of a share of a frame that is held.
 * @param {LaneColours} lane
 * @param {number} share  above 0, up to 1
 */
export function shareColour(lane, share) {
  return lane.ramp[Math.min(Math.floor(share * N_STEPS), N_STEPS - 1)];
}
