// What the registry's page and the page of one job both draw of a job: its state, its length, its end.

import { age, ask, make, now, seconds, set, state } from "./live.js";

const $ = (id) => document.getElementById(id);
let asked = null;

export function jobState(job) {
  return job.is_open && job.terminating !== null ? state("stopping", "terminating") : state(job.state);
}

export function notes(job) {
  return [
    job.error ?? job.terminating ?? "",
    job.presumed ? "concluded from a silence" : "",
    job.adopted ? "announced by its worker" : "",
  ].filter(Boolean);
}

export function lasts(job) {
  const { dispatched, ended } = job.moments;
  return ended === undefined ? age(now() - dispatched) : seconds(ended - dispatched);
}

// Terminating

export function terminateButton(job) {
  const button = make("button", { type: "button", class: "danger terminate", "aria-label": `Terminate job ${job.job_id}` }, "Terminate…");
  button.addEventListener("click", () => {
    asked = job.job_id;
    set($("terminate-which"), job.job_id);
    set($("terminate-said"), "");
    $("reason").value = "";
    $("terminate").showModal();
    $("terminate-yes").focus();
  });
  return button;
}

$("terminate-no").addEventListener("click", () => $("terminate").close());
$("terminate-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { reason: $("reason").value.trim() || $("reason").placeholder };
  const answer = await send(`/v2/agent/jobs/${encodeURIComponent(asked)}/terminate`, body);
  if (answer.status === 202) $("terminate").close();
  else set($("terminate-said"), `Not terminated: ${answer.body.message ?? answer.status}`);
});

export async function send(path, body) {
  try {
    return await ask(path, { method: "POST", body });
  } catch (error) {
    return { status: 0, body: { message: `the registry was not reached (${error.message})` } };
  }
}
