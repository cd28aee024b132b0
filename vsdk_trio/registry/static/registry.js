// The registry's page: draws what `/events` tells, dispatches and terminates through the REST API.

import {
  age, ask, cells, clock, everySecond, follow, list, make, now, percent, seconds, serverSays, set,
  short, state,
} from "./live.js";

const $ = (id) => document.getElementById(id);
const WAITING = new Set(["pending", "offered"]);
let last = null;
let asked = null;

follow("/events", { state: draw });
everySecond(() => last && drawTimes());

function draw(news) {
  serverSays(news.now);
  last = news;
  const { counts, workers, agents } = news;
  const away = workers.filter((worker) => worker.status === "away").length;
  set($("worker-count"), String(news.worker_count - away));
  set($("worker-under"), away ? `${away} away` : agents.length === 1 ? "1 agent" : `${agents.length} agents`);
  set($("waiting"), String((counts.pending ?? 0) + (counts.offered ?? 0)));
  set($("running"), String(counts.running ?? 0));
  set($("assigned"), counts.assigned ? `${counts.assigned} assigned` : "");
  for (const end of ["completed", "failed", "cancelled"]) set($(end), String(counts[end] ?? 0));
  set($("facts"), `${location.origin} · vsdk-trio ${news.version}`);
  list($("agents"), agents, (agent) => agent, (agent) => make("option", { value: agent }), () => {});
  if (agents.length === 1 && !$("agent").value && document.activeElement !== $("agent")) $("agent").value = agents[0];
  drawJobs(news.jobs);
  drawWorkers(workers);
  drawTimes();
}

// Jobs

function drawJobs(jobs) {
  const queue = jobs.filter((job) => WAITING.has(job.state));
  const rest = jobs.filter((job) => !WAITING.has(job.state));
  $("queue").hidden = queue.length === 0;
  list($("queue-body"), queue, (job) => job.job_id, buildWaiting, updateWaiting);
  $("no-jobs").hidden = rest.length > 0;
  $("jobs-table").hidden = rest.length === 0;
  const open = rest.filter((job) => job.is_open).length;
  const ended = rest.length - open;
  set($("jobs-aside"), rest.length ? `${open} live${ended ? `, the last ${ended} that ended` : ""}` : "");
  list($("jobs-body"), rest, (job) => job.job_id, buildJob, updateJob);
}

function buildWaiting(job) {
  return make("tr", {}, make("td"),
    make("td", { class: "mono", title: job.job_id }, short(job.job_id)),
    make("td", { "data-name": "agent" }, job.agent_id),
    make("td", { "data-name": "offers" }),
    make("td", { class: "number", "data-name": "for" }),
    make("td", { class: "number" }, terminateButton(job)));
}

function updateWaiting(row, job) {
  cells(row, [[state(job.state)], row.children[1].textContent, job.agent_id,
    job.offers ? `${job.offers} made` : "nobody could be asked yet"]);
}

function buildJob(job) {
  const history = make("button", { type: "button", "aria-label": `History of job ${job.job_id}` }, "History");
  history.addEventListener("click", () => showHistory(job.job_id));
  return make("tr", {}, make("td"),
    make("td", { class: "mono", title: job.job_id }, short(job.job_id)),
    make("td"),
    make("td", { class: "block" }),
    make("td", { class: "number", "data-name": "for" }),
    make("td", { class: "actions" }, history, " ", terminateButton(job)));
}

function updateJob(row, job) {
  row.classList.toggle("over", !job.is_open);
  row.dataset.state = job.state;
  row.querySelector(".terminate").hidden = !job.is_open;
  const word = job.is_open && job.terminating !== null ? state("stopping", "terminating") : state(job.state);
  const { dispatched, assigned, running, ended } = job.moments;
  const times = [];
  if (assigned !== undefined) times.push(`placed\u00a0${seconds(assigned - dispatched)}`);
  if (running !== undefined) times.push(`started\u00a0${seconds(running - (assigned ?? dispatched))}`);
  if (ended !== undefined && running !== undefined) times.push(`ran\u00a0${seconds(ended - running)}`);
  const notes = [
    job.error ?? job.terminating ?? "",
    job.presumed ? "concluded from a silence" : "",
    job.adopted ? "announced by its worker" : "",
  ].filter(Boolean);
  cells(row, [
    [word],
    row.children[1].textContent,
    [make("span", { class: "clip", title: job.agent_id }, job.agent_id), make("span", { class: "why clip", title: job.room_id }, job.room_id || "room unknown")],
    [make("span", { class: "soft times" }, times.join(" · ") || "–"),
      ...(notes.length ? [make("span", { class: "why" }, notes.join("; "))] : [])],
  ]);
}

function lasted(job) {
  const { dispatched, ended } = job.moments;
  return ended === undefined ? age(now() - dispatched) : seconds(ended - dispatched);
}

function drawTimes() {
  for (const job of last.jobs) {
    const row = document.querySelector(`tbody tr[data-key="${CSS.escape(job.job_id)}"]`);
    if (row) set(row.children[4], lasted(job));
  }
}

// Workers

function drawWorkers(workers) {
  $("no-workers").hidden = workers.length > 0;
  $("workers-table").hidden = workers.length === 0;
  set($("workers-aside"), last.worker_count > workers.length ? `the first ${workers.length} of ${last.worker_count}` : "");
  list($("workers-body"), workers, (worker) => worker.worker_id,
    (worker) => make("tr", {}, make("td"), make("td", { title: worker.worker_id }), make("td", { class: "number" }), make("td", { class: "number" })),
    (row, worker) => cells(row, [
      [state(tone(worker), worker.status), ...(worker.is_silent ? [make("span", { class: "why" }, "did not answer its last offer")] : [])],
      [worker.agent_id, make("span", { class: "why mono" }, short(worker.worker_id))],
      `${worker.job_count} of ${worker.max_processes ?? "?"}`,
      percent(worker.load),
    ]));
}

function tone(worker) {
  const word = worker.status.toLowerCase();
  if (["idle", "available", "online", "registered"].includes(word)) return "idle-worker";
  return ["busy", "full", "draining", "away", "offline", "error"].includes(word) ? word : "idle-worker";
}

// Terminating

function terminateButton(job) {
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

// Dispatching

$("dispatch").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = $("dispatched");
  said.className = "bad";
  let metadata;
  try {
    metadata = $("metadata").value.trim() ? JSON.parse($("metadata").value) : undefined;
  } catch (error) {
    set(said, `The metadata is not JSON: ${error.message}`);
    return;
  }
  const body = {
    agentId: $("agent").value.trim(),
    meetingId: $("room").value.trim() || undefined,
    metadata,
    timeout: $("timeout").value ? Number($("timeout").value) : undefined,
    wait: $("wait").checked,
  };
  $("dispatch-button").disabled = true;
  set(said, "Looking for a worker …");
  said.className = "";
  const answer = await send("/v2/agent/dispatch", body);
  $("dispatch-button").disabled = false;
  const { data, message } = answer.body;
  if (answer.status === 200) {
    set(said, `Assigned: job ${short(data.jobId)} in room ${data.roomId}`);
  } else {
    said.className = "bad";
    set(said, `Not dispatched: ${message ?? answer.status}`);
  }
});

async function send(path, body) {
  try {
    return await ask(path, { method: "POST", body });
  } catch (error) {
    return { status: 0, body: { message: `the registry was not reached (${error.message})` } };
  }
}

// History

$("history-close").addEventListener("click", () => $("history").close());

async function showHistory(jobId) {
  const answer = await ask(`/v2/agent/jobs/${encodeURIComponent(jobId)}`).catch(() => ({ body: {} }));
  const { updates = [], job } = answer.body;
  set($("history-which"), jobId);
  const events = Object.entries(last.jobs.find((known) => known.job_id === jobId)?.moments ?? {})
    .map(([what, at]) => [at, what === "ended" ? `ended: ${job?.status ?? ""}` : what]);
  for (const update of updates) {
    const error = update.error ? `: ${update.error}` : "";
    events.push([now() - update.age, `the worker says ${update.status}${error}${update.applied ? "" : " (without effect)"}`]);
  }
  events.sort((one, other) => one[0] - other[0]);
  $("history-body").replaceChildren(...events.map(([at, what]) =>
    make("tr", {}, make("td", { class: "mono soft" }, clock(at, 3)), make("td", {}, what))));
  $("history").showModal();
}
