// The registry's page: draws what `/events` tells, dispatches and terminates through the REST API.

import {
  cells, copyButton, everySecond, fits, follow, jobLink, list, make, moment, notices, percent, seconds,
  serverSays, set, short, state, tellApart,
} from "./live.js";
import { jobState, lasts, notes, send, terminateButton } from "./jobs.js";

const $ = (id) => document.getElementById(id);
const WAITING = new Set(["pending", "offered"]);
let last = null;

follow("/events", { state: draw });
everySecond(() => last && drawTimes());
$("filter").addEventListener("input", () => last && (drawJobs(last.jobs), drawTimes()));

function draw(news) {
  serverSays(news.now);
  last = news;
  tellApart([...news.jobs.map((job) => job.job_id), ...news.workers.map((worker) => worker.worker_id)]);
  const { counts, workers, agents } = news;
  const away = workers.filter((worker) => worker.status === "away").length;
  const full = workers.filter((worker) => worker.status === "full").length;
  set($("worker-count"), String(news.worker_count - away));
  set($("worker-under"), away || full ? [away && `${away} away`, full && `${full} full`].filter(Boolean).join(", ") : agents.length === 1 ? "1 agent" : `${agents.length} agents`);
  set($("waiting"), String((counts.pending ?? 0) + (counts.offered ?? 0)));
  set($("running"), String(counts.running ?? 0));
  set($("assigned"), counts.assigned ? `${counts.assigned} assigned` : "");
  for (const end of ["completed", "failed", "cancelled"]) set($(end), String(counts[end] ?? 0));
  set($("facts"), `${location.origin} · vsdk-trio ${news.version}`);
  notices($("notices"), [{
    kind: "warn", title: "Full",
    lines: news.full_agents.map((agent) => `every worker of ${agent} is full: what is dispatched to it waits for a place, and fails where none gets free in time`),
  }]);
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
  const shown = rest.filter((job) =>
    fits($("filter").value, job.job_id, job.agent_id, job.room_id, jobState(job).textContent));
  $("no-jobs").hidden = rest.length > 0;
  $("jobs-table").hidden = shown.length === 0;
  $("filter").parentElement.hidden = rest.length === 0;
  $("none-fits").hidden = rest.length === 0 || shown.length > 0;
  const open = rest.filter((job) => job.is_open).length;
  const ended = rest.length - open;
  const some = shown.length < rest.length ? `${shown.length} of ` : "";
  set($("jobs-aside"), rest.length ? `${some}${open} live${ended ? `, the last ${ended} that ended` : ""}` : "");
  list($("jobs-body"), shown, (job) => job.job_id, buildJob, updateJob);
}

function buildWaiting(job) {
  return make("tr", {}, make("td"),
    make("td", { class: "mono" }),
    make("td", { "data-name": "agent" }, job.agent_id),
    make("td", { "data-name": "offers" }),
    make("td", { class: "number", "data-name": "for" }),
    make("td", { class: "number" }, terminateButton(job)));
}

function updateWaiting(row, job) {
  cells(row, [[state(job.state)], [jobLink(job.job_id)], job.agent_id,
    job.offers ? `${job.offers} made` : "nobody could be asked yet"]);
}

function buildJob(job) {
  return make("tr", {}, make("td"),
    make("td", { class: "mono" }, make("span"), " ", copyButton(job.job_id)),
    make("td"),
    make("td", { class: "block" }),
    make("td", { class: "number", "data-name": "for" }),
    make("td", { class: "actions" }, terminateButton(job)));
}

function updateJob(row, job) {
  row.classList.toggle("over", !job.is_open);
  row.dataset.state = job.state;
  row.querySelector(".terminate").hidden = !job.is_open;
  const { dispatched, assigned, running, ended } = job.moments;
  const times = [moment(dispatched)];
  const said = notes(job);
  if (assigned !== undefined) times.push(`placed\u00a0${seconds(assigned - dispatched)}`);
  if (running !== undefined) times.push(`started\u00a0${seconds(running - (assigned ?? dispatched))}`);
  if (ended !== undefined && running !== undefined) times.push(`ran\u00a0${seconds(ended - running)}`);
  cells(row, [
    [jobState(job)],
    null,
    [make("span", { class: "clip", title: job.agent_id }, job.agent_id), make("span", { class: "why clip", title: job.room_id }, job.room_id || "room unknown")],
    [make("span", { class: "soft times" }, times.join(" · ")),
      ...(said.length ? [make("span", { class: "why" }, said.join("; "))] : [])],
  ]);
  cells(row.children[1], [[jobLink(job.job_id)]]);
}

function drawTimes() {
  for (const job of last.jobs) {
    const row = document.querySelector(`tbody tr[data-key="${CSS.escape(job.job_id)}"]`);
    if (row) set(row.querySelector("[data-name=for]"), lasts(job));
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
