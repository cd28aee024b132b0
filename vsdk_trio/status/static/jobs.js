// What the worker's page and the page of one job both draw of a job: its state, its stages, its log.

import { age, clock, make, now, seconds, state } from "./live.js";

// From left to right: in the order in which a job comes through them.
const STAGES = [
  ["offer_to_answer", "offer", "until its offer was answered"],
  ["assignment_to_process", "process", "until it had a process"],
  ["process_to_entrypoint", "start", "until its entrypoint began"],
  ["entrypoint_to_running", "join", "until it was running"],
  ["", "run", "running"],
  ["end_to_proven", "told", "until the registry knew of its end"],
];

export function jobState(job) {
  return job.blocked_since ? state("blocked") : state(job.state);
}

/** What a person should know of it besides its state; texts of many lines keep their lines. */
export function why(job) {
  const blocked = job.blocked_since
    ? `its event loop has been blocked since ${clock(job.blocked_since)}; the log has the stack` : "";
  const texts = [blocked, job.error ?? job.stopping_because ?? ""].filter(Boolean);
  return texts.length ? [make("span", { class: "why" }, texts.join("\n"))] : [];
}

function parts(job) {
  const began = job.moves.find(([word]) => word === "running")?.[1];
  const until = job.is_live ? now() : job.moves.at(-1)[1];
  const ran = began === undefined ? undefined : until - began;
  return STAGES
    .map(([name, word, says]) => ({ word, says, length: name ? job.stages[name] : ran }))
    .filter(({ length }) => length !== undefined && length >= 0.00005);
}

/** The stages in words, and as a bar; what runs still is hatched, what is to come is empty. */
export function stages(job) {
  const known = parts(job);
  if (!known.length) return [make("span", { class: "soft" }, "–")];
  const isOpen = ({ word }) => word === "run" && job.is_live;
  const pieces = known.map((part) => {
    const piece = make("i", { class: `stage ${part.word}${isOpen(part) ? " open" : ""}` });
    // Logarithmic: what takes a millisecond is to be seen beside what takes a second.
    piece.style.flexGrow = String(Math.max(0.2, Math.log10(part.length * 1e4 + 1)).toFixed(1));
    return piece;
  });
  if (job.is_live) pieces.push(make("i", { class: "stage to-come" }));
  const words = known.filter((part) => !isOpen(part))
    .map((part) => `${part.word}\u00a0${seconds(part.length)}`).join(" · ");
  return [
    make("span", { class: "soft times" }, words),
    make("div", { class: "bar", "aria-hidden": "true" }, ...pieces),
  ];
}

export function legend(element) {
  element.replaceChildren(...STAGES.map(([, word, says]) =>
    make("li", {}, make("i", { class: `stage ${word}`, "aria-hidden": "true" }), make("b", {}, word), ` ${says}`)));
}

export function lasts(job) {
  const began = job.moves[0][1];
  return job.is_live ? age(now() - began) : seconds(job.moves.at(-1)[1] - began);
}

/** A line of the log; `source` is what stands behind it. */
export function logLine(line, source) {
  return make("li", { class: line.level },
    make("span", { class: "at" }, clock(line.at)),
    make("span", { class: "level" }, line.level.toLowerCase()),
    make("span", { class: "text" }, line.message, " ", make("span", { class: "source" }, source)));
}

export function sourceOf(line) {
  return line.logger.replace(/^vsdk_trio\./, "");
}
