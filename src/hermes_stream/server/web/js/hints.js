// What a source is called, and what may be asked of it: the bundled models know the words of their synthetic world only.

const SHAPESTREAM = "shapestream:";
export const DEMO_SOURCE = `${SHAPESTREAM}900001`;

const SHAPESTREAM_QUESTIONS = [
  "What object is visible now?",
  "Which room is this?",
  "What came before the current object?",
  "Was there ever a red ring?",
  "What were the last three objects?",
  "How many different objects appeared in the last minute?",
];
const SHAPESTREAM_ALERTS = ["Is the object a cross?", "Is a purple circle visible now?", "Is a red circle visible now?"];

/**
 * @param {any} session
 * @returns {{questions: string[], alerts: string[]}}
 */
export function hintsFor(session) {
  if (!session.source?.startsWith(SHAPESTREAM)) return { questions: [], alerts: [] };
  return { questions: SHAPESTREAM_QUESTIONS, alerts: SHAPESTREAM_ALERTS };
}

/** @param {any} session */
export function isDemo(session) {
  return Boolean(session.source?.startsWith(SHAPESTREAM));
}

/**
 * What people call a session.
 * @param {any} session
 */
export function titleOf(session) {
  return session.name || titleOfSource(session.source) || `Session ${session.id.slice(0, 6)}`;
}

/** @param {string | null} source */
function titleOfSource(source) {
  if (!source) return "";
  if (source.startsWith(SHAPESTREAM)) return `ShapeStream ${source.slice(SHAPESTREAM.length)}`;
  const [, host = "", path = ""] = source.match(/^\w+:\/\/([^/]+)(.*)$/) ?? [];
  const last = (path || source).split(/[?#]/)[0].split("/").filter(Boolean).pop();
  return host && last ? `${last} · ${host}` : host || last || source;
}

/** @param {any} session */
export function stateOf({ state, reason }) {
  const names = { live: "Live", gap: "Nothing arrives", ended: "Ended" };
  return { name: names[/** @type {"live" | "gap" | "ended"} */ (state)] ?? state, reason: reason ?? "" };
}
