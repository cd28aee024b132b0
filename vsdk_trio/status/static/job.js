// The page of one job: draws what `/events?job=ID` tells.

import {
  askedJob, clock, copyButton, everySecond, facts, follow, isKnown, list, make, moment, seconds,
  serverSays, set, short,
} from "./live.js";
import { jobState, lasts, legend, logLine, sourceOf, stages, why } from "./jobs.js";

const $ = (id) => document.getElementById(id);
const asked = askedJob();
let last = null;

legend($("legend"));
follow(`/events?job=${encodeURIComponent(asked)}`, { state: draw, lines: drawLines });
everySecond(() => last?.job && drawTimes());

function draw(news) {
  serverSays(news.now);
  last = news;
  const { worker, job } = news;
  set($("worker"), `a worker of ${worker.agent_id}`);
  if (!isKnown(asked, news)) return;
  document.title = `${short(job.job_id)}: ${job.blocked_since ? "blocked" : job.state}`;
  set($("name"), `Job ${short(job.job_id)}`);
  const shown = jobState(job);
  $("state").className = `${shown.className} pill`;
  set($("state"), shown.textContent);
  drawMoves(job);
  $("error-card").hidden = !job.error;
  set($("error"), job.error ?? "");
  drawTimes();
}

function drawTimes() {
  const { job, process } = last;
  facts($("job-facts"), [
    ["Id", [make("span", { class: "mono" }, job.job_id), " ", copyButton(job.job_id)], "whole"],
    ["Room", job.room_id],
    ["Began", moment(job.accepted_at)],
    [job.is_live ? "For" : "Lasted", lasts(job)],
    ["Process", job.pid ?? process?.pid],
    ["Memory", process?.memory_mb && `${process.memory_mb.toFixed(1)}\u00a0MB`],
    ["Ended by", job.cause],
    ["To be seen to", why({ ...job, error: null })[0]?.textContent, "whole"],
  ]);
  const next = make("div", {}, ...stages(job));
  if (next.innerHTML !== $("stages").innerHTML) $("stages").replaceChildren(...next.childNodes);
}

function drawMoves(job) {
  const began = job.moves[0][1];
  list($("moves"), job.moves, ([word, at]) => `${word} ${at}`,
    ([word, at]) => make("tr", {}, make("td", { class: "mono soft slim" }, clock(at, 3)), make("td", {}, word),
      make("td", { class: "number" }, at > began ? seconds(at - began) : "")), () => {});
}

function drawLines(lines) {
  const box = $("log");
  const wasAtEnd = box.hidden || box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  $("no-lines").hidden = lines.length > 0;
  box.hidden = lines.length === 0;
  $("lines").replaceChildren(...lines.map((line) => logLine(line, sourceOf(line))));
  if (wasAtEnd) box.scrollTop = box.scrollHeight;
}
