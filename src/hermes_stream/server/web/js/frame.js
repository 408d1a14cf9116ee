// A pushed frame as the server's WebSocket takes it. Nothing here touches the page.

const HEADER_BYTES = 8;

/**
 * Eight bytes of presentation time (seconds, big-endian float64), then the picture.
 * @param {number} ptsSeconds
 * @param {ArrayBuffer} picture
 * @returns {ArrayBuffer}
 */
export function encodeFrame(ptsSeconds, picture) {
  const message = new ArrayBuffer(HEADER_BYTES + picture.byteLength);
  new DataView(message).setFloat64(0, ptsSeconds, false);
  new Uint8Array(message, HEADER_BYTES).set(new Uint8Array(picture));
  return message;
}
