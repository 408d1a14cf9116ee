// The server's API: JSON, pictures, streams of events, sockets. The key never stands in an address.

import { readEvents } from "./sse.js";

const KEY = "hermes-stream.key";

export class ApiError extends Error {
  /**
   * @param {number} status  of HTTP; 0 where the server could not be reached
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @type {(isRefused: boolean) => Promise<string | null>} */
let askForKey = async () => null;
/** @type {Promise<string | null> | null} */
let asking = null;
// Nobody is asked again and again who has said no.
let isDeclined = false;

/**
 * What to do when the server wants a key: ask a person, once for everything that waits.
 * @param {(isRefused: boolean) => Promise<string | null>} ask  isRefused: one was given already
 */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Ask for a key all the same. */
export async function askAgain() {
  isDeclined = false;
  await newKey(storedKey());
}

function storedKey() {
  return sessionStorage.getItem(KEY);
}

/**
 * A response that went well. Raises ApiError with the server's own line for one that did not.
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  const key = storedKey();
  const response = await send(path, options, key);
  if (response.status === 401 && (await newKey(key))) return request(path, options);
  if (!response.ok) throw new ApiError(response.status, await told(response));
  return response;
}

/**
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} options
 * @param {string | null} key
 */
async function send(path, { method = "GET", body, signal }, key) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    return await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "the server cannot be reached; it may be starting again");
  }
}

/**
 * A key other than the one that was refused; null where nobody gives one.
 * @param {string | null} refused
 */
async function newKey(refused) {
  if (storedKey() !== refused) return storedKey();
  if (isDeclined) return null;
  asking ??= askForKey(refused !== null).finally(() => (asking = null));
  const key = await asking;
  if (key) sessionStorage.setItem(KEY, key);
  else isDeclined = true;
  return key;
}

/** @param {Response} response */
async function told(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered ${response.status}`;
  }
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export const getJson = async (path, signal) => (await request(path, { signal })).json();

/** @param {string} path @param {unknown} [body] @returns {Promise<any>} */
export const postJson = async (path, body = {}) => (await request(path, { method: "POST", body })).json();

/** @param {string} path @returns {Promise<void>} */
export async function remove(path) {
  await request(path, { method: "DELETE" });
}

/**
 * A picture as an object URL, which whoever asked revokes, with its time in the stream.
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<{url: string, timeSeconds: number}>}
 */
export async function getPicture(path, signal) {
  const response = await request(path, { signal });
  const url = URL.createObjectURL(await response.blob());
  return { url, timeSeconds: Number(response.headers.get("x-time-s")) };
}

/**
 * The events of a path, as they come, each with its JSON.
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* events(path, options = {}) {
  for await (const { event, data } of readEvents(await request(path, options))) yield { event, data: JSON.parse(data) };
}

/** @param {string} path @returns {WebSocket} */
export function openSocket(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const key = storedKey();
  const protocols = key ? ["realtime", `openai-insecure-api-key.${key}`] : [];
  const socket = new WebSocket(address, protocols);
  socket.binaryType = "arraybuffer";
  return socket;
}
