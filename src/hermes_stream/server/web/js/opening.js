// Sessions are opened here, alone or two at a time, and their addresses are known as they were typed.

import { postJson, remove } from "./api.js";

/** By session; the server tells an address without its secrets. @type {Map<string, string>} */
const typedSources = new Map();

/**
 * The address of a session's stream. Raises Error where it holds a secret that the server does not tell.
 * @param {any} session
 * @returns {string | undefined}
 */
export function sourceOf({ id, source }) {
  const given = typedSources.get(id);
  if (!given && source?.includes("***")) throw new Error("the address holds a secret that the server does not tell; open both from the first page");
  return given ?? source ?? undefined;
}

/**
 * Open them at the same moment; if one is refused none stays.
 * @param {any[]} specs
 */
export async function openAll(specs) {
  const done = await Promise.allSettled(specs.map((spec) => postJson("/v1/sessions", spec)));
  const opened = done.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  const failed = done.find((each) => each.status === "rejected");
  if (!failed) {
    opened.forEach(({ id }, index) => specs[index].source && typedSources.set(id, specs[index].source));
    return opened;
  }
  await Promise.all(opened.map(({ id }) => remove(`/v1/sessions/${id}`).catch(() => {})));
  throw /** @type {PromiseRejectedResult} */ (failed).reason;
}
