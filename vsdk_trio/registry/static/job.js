// The page of one job of a registry: draws what `/events?job=ID` tells.

import {
  askedJob, clock, copyButton, everySecond, facts, follow, isKnown, list, make, moment, seconds,
  serverSays, set, short,
} from "./live.js";
import { jobState, lasts, notes, terminateButton } from "./jobs.js";

const $ = (id) => document.getElementById(id);
const asked = askedJob();
let last = null;

follow(`/events?job=${encodeURIComponent(asked)}`, { state: draw });
everySecond(() => last?.job && drawFacts(last.job));

function draw(news) {
  serverSays(news.now);
  last = news;
  const { job, updates } = news;
  if (!isKnown(asked, news)) return;
  document.title = `${short(job.job_id)}: ${job.state}`;
  set($("name"), `Job ${short(job.job_id)}`);
  const shown = jobState(job);
  $("state").className = `${shown.className} pill`;
  set($("state"), shown.textContent);
  if (!$("terminate-place").firstChild) $("terminate-place").append(terminateButton(job));
  $("terminate-place").hidden = !job.is_open;
  $("error-card").hidden = !job.error;
  set($("error"), job.error ?? "");
  drawFacts(job);
  drawMoves(job, updates);
}

function drawFacts(job) {
  facts($("job-facts"), [
    ["Id", [make("span", { class: "mono" }, job.job_id), " ", copyButton(job.job_id)], "whole"],
    ["Agent", job.agent_id],
    ["Room", job.room_id],
    ["Participant", job.participant],
    ["Dispatched", moment(job.moments.dispatched)],
    [job.is_open ? "For" : "Lasted", lasts(job)],
    ["Offers", job.offers],
    ["Worker", job.worker_id, "whole"],
    ["To be seen to", notes({ ...job, error: null }).join("; "), "whole"],
  ]);
}

function drawMoves(job, updates) {
  const moves = [
    ...Object.entries(job.moments).map(([what, at]) => [at, what === "ended" ? `ended: ${job.state}` : what]),
    ...updates.map((update) =>
      [update.at, `the worker says ${update.status}${update.is_applied ? "" : " (without effect)"}`]),
  ].sort((one, other) => one[0] - other[0]);
  const began = moves[0][0];
  list($("moves"), moves, ([at, what]) => `${at} ${what}`,
    ([at, what]) => make("tr", {}, make("td", { class: "mono soft slim" }, clock(at, 3)), make("td", {}, what),
      make("td", { class: "number" }, at > began ? seconds(at - began) : "")), () => {});
}
