// Times, sizes and shares as people read them. Nothing here touches the page.

const MINUTE = 60;
const HOUR = 3600;

/**
 * A time of the stream: 0:42, 12:05, 1:02:03; with a digit after the point where asked for.
 * @param {number} seconds
 * @param {number} [nDigits]
 */
export function clock(seconds, nDigits = 0) {
  const unit = 10 ** nDigits;
  // Rounded as a whole, so that 59.99 is 1:00.0 and never 0:60.0.
  const n = Math.floor(Math.max(seconds, 0) * unit + 1e-6);
  const whole = Math.floor(n / unit);
  const rest = nDigits ? `.${String(n % unit).padStart(nDigits, "0")}` : "";
  const hours = Math.floor(whole / HOUR);
  const minutes = Math.floor((whole % HOUR) / MINUTE);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const head = hours ? `${hours}:${two(minutes)}` : String(minutes);
  return `${head}:${two(whole % MINUTE)}${rest}`;
}

/**
 * The moment of a stream's time on this machine's wall, as in 14:03:22; "" where the stream has no beginning yet.
 * @param {number | null | undefined} originSeconds  of the stream's time 0, since 1970
 * @param {number} timeSeconds
 */
export function wallClock(originSeconds, timeSeconds) {
  if (originSeconds === null || originSeconds === undefined) return "";
  return new Date((originSeconds + timeSeconds) * 1000).toLocaleTimeString("en-GB");
}

/**
 * Milliseconds as 8.4 ms, 38 ms, 1.24 s.
 * @param {number} ms
 */
export function milliseconds(ms) {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(2)} s`;
}

/**
 * Bytes as 512 B, 1.5 KiB, 24 MiB.
 * @param {number} n
 */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (n >= 1023.5 && power < units.length - 1) {
    n /= 1024;
    power += 1;
  }
  return `${power && n < 9.95 ? n.toFixed(1) : Math.round(n)} ${units[power]}`;
}

/**
 * A number with its thousands apart.
 * @param {number} n
 */
export function count(n) {
  return Math.round(n).toLocaleString("en-US");
}

/**
 * A share of one as per cent.
 * @param {number} value
 */
export function percent(value) {
  return `${Math.round(value * 100)} %`;
}
