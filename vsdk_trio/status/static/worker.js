// The worker's page: draws what `/events` tells. Nothing is computed here but words and pictures.

import {
  age, ask, cells, clock, copyButton, everySecond, fits, follow, jobLink, list, make, moment, notices,
  now, percent, seconds, serverSays, set, short, state, tellApart,
} from "./live.js";
import { jobState, lasts, legend, logLine, sourceOf, stages, why } from "./jobs.js";

const MAX_LINES = 200;
const CHART_SECONDS = 900;
const STATE_WORDS = { idle: "idle", busy: "busy", full: "full", draining: "draining" };

const $ = (id) => document.getElementById(id);
let last = null;
let shown = [];
const cpu = new Map();

legend($("legend"));
$("filter").addEventListener("input", () => last && (drawJobs(last.jobs), drawTimes()));
follow("/events", { state: draw, log: addLines });
everySecond(() => last && drawTimes());

function draw(news) {
  serverSays(news.now);
  countCpu(news);
  last = news;
  tellApart([...news.jobs, ...news.refusals].map((one) => one.job_id));
  drawWorker(news.worker, news.counts);
  drawJobs(news.jobs);
  drawProcesses(news.processes);
  drawRefusals(news);
  drawTimes();
}

// The worker

function drawWorker(worker, counts) {
  document.title = `${worker.agent_id}: ${worker.is_connected ? worker.state : "not registered"}`;
  set($("name"), worker.agent_id);
  const leaving = worker.drain?.stage;
  const word = leaving ?? (worker.is_connected ? STATE_WORDS[worker.state] : "not registered");
  const tone = leaving ?? (worker.is_connected ? (worker.state === "idle" ? "idle-worker" : worker.state) : "unregistered");
  $("state").className = `state pill ${tone}`;
  set($("state"), word);
  $("drain").hidden = Boolean(worker.drain);
  notices($("notices"), [
    { kind: "bad", title: "Not working", lines: worker.problems },
    { kind: "leaving", title: capital(leaving ?? ""), lines: worker.drain ? [leavingText(worker.drain)] : [] },
    { kind: "warn", title: "To be seen to", lines: worker.warnings },
  ]);
  const live = last.jobs.filter((job) => job.is_live).length;
  setFigure("slots-used", String(live), ` of ${worker.max_processes}`);
  drawSlots(live, worker.promised, worker.max_processes);
  $("slots").classList.toggle("full-up", worker.state === "full");
  setFigure("load-now", percent(worker.load));
  set($("load-under"), worker.measures_load
    ? `refuses offers above ${percent(worker.load_threshold)}` : "share of the slots in use");
  setFigure("accepted", String(counts.accepted));
  set($("refused"), `${counts.refused} refused`);
  setFigure("completed", String(counts.completed));
  setFigure("failed", String(counts.failed));
  set($("cancelled"), `${counts.cancelled} cancelled`);
  setFigure("registry", worker.is_connected ? "connected" : "away");
  const sessions = worker.sessions === 1 ? "first session" : `session ${worker.sessions}`;
  set($("owed"), worker.owed ? `${worker.owed} updates not yet known there` : sessions);
}

function leavingText(drain) {
  const waits = drain.waiting_for.length ? `; waits for ${drain.waiting_for.join(", ")}` : "";
  const until = drain.stage === "draining" ? `, jobs may run until ${clock(drain.jobs_may_run_until)}` : "";
  return `${drain.reason}${until}${waits}; over by ${clock(drain.over_at)} at the latest`;
}

function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function setFigure(id, text, small = "") {
  const element = $(id);
  if (element.textContent !== text + small) {
    element.replaceChildren(text, ...(small ? [make("small", {}, small)] : []));
  }
}

function drawSlots(used, promised, total) {
  const kinds = Array.from({ length: Math.min(total, 40) }, (_, n) =>
    n < used ? "used" : n < used + promised ? "promised" : "");
  if (kinds.join() !== $("slots").dataset.kinds) {
    $("slots").dataset.kinds = kinds.join();
    $("slots").replaceChildren(...kinds.map((kind) => make("i", { class: kind })));
  }
}

// Jobs

function drawJobs(jobs) {
  shown = jobs.filter((job) => fits($("filter").value, job.job_id, job.room_id, job.blocked_since ? "blocked" : "", job.state));
  $("no-jobs").hidden = jobs.length > 0;
  for (const id of ["jobs-table", "legend"]) $(id).hidden = shown.length === 0;
  $("filter").parentElement.hidden = jobs.length === 0;
  $("none-fits").hidden = jobs.length === 0 || shown.length > 0;
  const live = jobs.filter((job) => job.is_live).length;
  const ended = jobs.length - live;
  const some = shown.length < jobs.length ? `${shown.length} of ` : "";
  set($("jobs-aside"), jobs.length ? `${some}${live} live${ended ? `, the last ${ended} that ended` : ""}` : "");
  list($("jobs-body"), shown, (job) => job.job_id, buildJob, updateJob);
}

function buildJob(job) {
  return make("tr", {},
    make("td"),
    make("td", { class: "mono" }, make("span"), " ", copyButton(job.job_id)),
    make("td", { "data-name": "room" }, make("span", { class: "clip", title: job.room_id }, job.room_id || "–")),
    make("td", { class: "nowrap", "data-name": "began" }),
    make("td", { class: "block" }),
    make("td", { class: "number", "data-name": "for" }));
}

function updateJob(row, job) {
  row.classList.toggle("over", !job.is_live);
  row.dataset.state = job.state;
  cells(row, [
    [jobState(job)],
    null,
    null,
    moment(job.accepted_at),
    [...stages(job), ...why(job)],
  ]);
  cells(row.children[1], [[jobLink(job.job_id)]]);
}

// Processes

function countCpu(news) {
  for (const process of news.processes) {
    const before = cpu.get(process.pid);
    const spent = process.cpu_seconds;
    if (spent === null || (before && news.now - before.at < 0.8)) continue;
    const share = before ? Math.max(0, (spent - before.spent) / (news.now - before.at)) : null;
    cpu.set(process.pid, { spent, at: news.now, share });
  }
  const living = new Set(news.processes.map((process) => process.pid));
  for (const pid of cpu.keys()) if (!living.has(pid)) cpu.delete(pid);
}

function drawProcesses(processes) {
  $("no-processes").hidden = processes.length > 0;
  $("processes-table").hidden = processes.length === 0;
  const idle = processes.filter((process) => process.state === "idle").length;
  const memory = processes.reduce((sum, process) => sum + (process.memory_mb ?? 0), 0);
  set($("processes-aside"), processes.length ? `${processes.length}, ${idle} of them idle; ${memory.toFixed(0)}\u00a0MB` : "");
  const most = Math.max(100, ...processes.map((process) => process.memory_mb ?? 0));
  list($("processes-body"), processes, (process) => process.pid,
    () => make("tr", {},
      make("td"), make("td", { class: "number mono", "data-name": "pid" }),
      make("td", { class: "mono", "data-name": "job" }),
      make("td", { class: "number", "data-name": "memory" }),
      make("td", { class: "number", "data-name": "cpu" }),
      make("td", { class: "number", "data-name": "loop lag" }),
      make("td", { class: "number", "data-name": "age" })),
    (row, process) => {
      const meter = make("span", { class: "meter", "aria-hidden": "true" }, make("i"));
      meter.firstChild.style.width = `${(100 * (process.memory_mb ?? 0)) / most}%`;
      cells(row, [
        [process.is_blocked ? state("blocked") : state(process.state)],
        String(process.pid),
        process.job_id ? [jobLink(process.job_id)] : "–",
        process.memory_mb === null ? "–" : [`${process.memory_mb.toFixed(1)}\u00a0MB`, meter],
        cpuText(process.pid),
        process.lag_seconds === null ? "–" : seconds(process.lag_seconds),
      ]);
    });
}

function cpuText(pid) {
  const share = cpu.get(pid)?.share;
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)}\u00a0%`;
}

// Refusals

function drawRefusals({ refused, refusals }) {
  $("no-refusals").hidden = refusals.length > 0;
  $("refusals-table").hidden = refusals.length === 0;
  set($("refusals-aside"), Object.entries(refused).map(([why, count]) => `${count} ${why}`).join(", "));
  list($("refusals-body"), refusals.slice(0, 8), (note) => `${note.began_at} ${note.job_id}`,
    (note) => make("tr", {},
      make("td", { class: "soft mono slim" }),
      make("td", {}, note.reason, make("span", { class: "why mono", title: note.job_id }))),
    (row, note) => {
      set(row.firstChild, clock(note.at));
      set(row.lastChild.lastChild, note.count > 1 ? `${short(note.job_id)}, ${note.count} times` : short(note.job_id));
    });
}

// The log

function addLines(lines) {
  const box = $("log");
  const wasAtEnd = box.hidden || box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  $("no-lines").hidden = true;
  box.hidden = false;
  for (const line of lines) {
    $("lines").append(logLine(line, sourceOf(line) + (line.job_id ? ` ${short(line.job_id)}` : "")));
  }
  while ($("lines").childElementCount > MAX_LINES) $("lines").firstElementChild.remove();
  showLines();
  if (wasAtEnd) box.scrollTop = box.scrollHeight;
}

function showLines() {
  const only = $("warnings-only").checked;
  for (const line of $("lines").children) {
    line.hidden = only && !/WARNING|ERROR|CRITICAL/.test(line.className);
  }
}

$("warnings-only").addEventListener("change", showLines);

// What changes by itself as time goes by

function drawTimes() {
  const { worker, processes } = last;
  set($("facts"), `${worker.worker_id} · up ${age(now() - worker.started_at)} · vsdk-trio ${worker.version}`);
  const rows = $("jobs-body").children;
  shown.forEach((job, n) => set(rows[n].lastElementChild, lasts(job)));
  processes.forEach((process, n) =>
    set($("processes-body").children[n].lastElementChild, age(now() - process.started_at)));
  drawChart(last.load, worker);
}

function drawChart(points, worker) {
  const chart = $("chart");
  const [width, height, left, bottom] = [chart.clientWidth || 320, 132, 42, 18];
  const end = now();
  const begin = Math.max(end - CHART_SECONDS, Math.min(worker.started_at, end - 60));
  const x = (at) => left + ((width - left - 2) * (Math.max(at, begin) - begin)) / (end - begin);
  const y = (load) => 6 + (height - bottom - 6) * (1 - load);
  const known = [...points, [end, worker.load]];
  let line = "";
  known.forEach(([at, load], n) => {
    const level = n ? known[n - 1][1] : 0;
    line += n ? `H${x(at).toFixed(1)}V${y(load).toFixed(1)}` : `M${x(begin).toFixed(1)} ${y(level)}H${x(at).toFixed(1)}V${y(load).toFixed(1)}`;
  });
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const svg = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };
  chart.replaceChildren(
    ...[0, 0.5, 1].flatMap((level) => [
      svg("line", { class: "grid", x1: left, x2: width, y1: y(level), y2: y(level) }),
      svg("text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, percent(level)),
    ]),
    svg("path", { class: "under", d: `${line}V${y(0)}H${x(begin)}Z` }),
    svg("path", { class: "level", d: line }),
    svg("text", { x: left, y: height - 4 }, `${age(end - begin)} ago`),
    svg("text", { x: width, y: height - 4, "text-anchor": "end" }, "now"),
  );
  const most = Math.max(...known.filter(([at]) => at >= begin).map(([, load]) => load));
  set($("load-aside"), `now ${percent(worker.load)}, at most ${percent(most)}`);
  set($("load-summary"), `${percent(worker.load)} now, at most ${percent(most)} in the last ${age(end - begin)}`);
}

// Draining

$("drain").addEventListener("click", () => $("drain-dialog").showModal());
$("drain-no").addEventListener("click", () => $("drain-dialog").close());
$("drain-yes").addEventListener("click", async () => {
  const answer = await ask("/drain", { method: "POST" }).catch((error) => ({ status: 0, body: { message: String(error) } }));
  if (answer.status === 202) $("drain-dialog").close();
  else set($("drain-text"), `It was not drained: ${answer.body.message ?? answer.status}`);
});
