// What both pages need: a stream of events that comes back by itself, a token where one is asked for,
// lists that keep their elements, and moments and lengths in words.

const TOKEN = "vsdk-trio-token";
const HIDDEN_SECONDS = 30;

// The token lives as long as the tab, and goes nowhere but into our own requests.
const headers = () => {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

/** Ask the server; returns {status, body}, where body is what the JSON says. */
export async function ask(path, { method = "GET", body } = {}) {
  const answer = await fetch(path, {
    method,
    headers: { ...headers(), ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json().catch(() => ({})) };
}

/** Follow a stream of server-sent events for as long as the page is looked at. */
export function follow(path, handlers) {
  let attempt = 0;
  let current = null;
  let hidden = null;

  async function once(signal) {
    const answer = await fetch(path, { headers: { ...headers(), Accept: "text/event-stream" }, signal });
    if (answer.status === 401 || answer.status === 403) {
      const { message } = await answer.json().catch(() => ({}));
      askForToken(message ?? "", answer.status === 401);
      return false;
    }
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    attempt = 0;
    connection("live", "live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("ended");
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) tell(text.slice(0, end));
    }
  }

  function tell(event) {
    const name = /^event: (.*)$/m.exec(event)?.[1];
    const data = /^data: (.*)$/m.exec(event)?.[1];
    if (name && data) handlers[name]?.(JSON.parse(data));
  }

  async function keep() {
    const mine = (current = new AbortController());
    while (!mine.signal.aborted) {
      try {
        if (!(await once(mine.signal))) return;
      } catch {
        if (mine.signal.aborted) return;
        const seconds = Math.min(1 + 2 * attempt++, 15);
        connection("lost", `not reached; trying again in ${seconds} s`);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    }
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (document.hidden) {
      hidden = setTimeout(() => current.abort(), HIDDEN_SECONDS * 1000);
    } else if (current.signal.aborted) {
      keep();
    }
  });

  const form = document.getElementById("token-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, form.elements.token.value.trim());
    document.body.classList.remove("asks-token");
    document.getElementById("token-card").hidden = true;
    keep();
  });
  keep();
}

function askForToken(message, helps) {
  connection("lost", "not allowed");
  document.body.classList.add("asks-token");
  document.getElementById("token-card").hidden = false;
  document.getElementById("token-message").textContent = message;
  document.getElementById("token-form").hidden = !helps;
  const field = document.getElementById("token");
  field.value = "";
  if (helps) field.focus();
}

function connection(state, text) {
  const element = document.getElementById("connection");
  element.className = `state ${state}`;
  set(element, text);
}

// Elements. Nothing is replaced that has not changed: focus, selection and screen readers stay put.

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make the children of `parent` fit `items`: `build(item)` once each, `update(element, item)` always. */
export function list(parent, items, key, build, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let element = known.get(name);
    known.delete(name);
    if (!element) {
      element = build(item);
      element.dataset.key = name;
    }
    if (element !== place) parent.insertBefore(element, place);
    else place = place.nextElementSibling;
    update(element, item);
  }
  for (const gone of known.values()) gone.remove();
}

/** Set the cells of a row: texts, or arrays of nodes that are compared by what they look like; null stays. */
export function cells(row, contents) {
  contents.forEach((content, n) => {
    const cell = row.children[n];
    if (content === null) return;
    if (typeof content === "string") {
      set(cell, content);
      return;
    }
    const next = make("td", {}, ...content);
    if (next.innerHTML !== cell.innerHTML) cell.replaceChildren(...next.childNodes);
  });
}

export function state(word, text = word) {
  return make("span", { class: `state ${word}` }, text);
}

/** Lines that need a person, in a region that is read out: only when they change. */
export function notices(element, groups) {
  const wanted = groups.filter((group) => group.lines.length);
  list(
    element, wanted, (group) => group.kind,
    (group) => make("div", { class: `notice ${group.kind}` }),
    (box, group) => list(box, group.lines, (line) => line,
      (line) => make("p", {}, make("strong", {}, `${group.title}: `), line), () => {}),
  );
}

// Words

// A figure and its unit stay on one line.
const NB = "\u00a0";

export function seconds(length) {
  if (length === null || length === undefined) return "–";
  if (length < 0.0995) return `${(length * 1000).toFixed(length < 0.00995 ? 1 : 0)}${NB}ms`;
  if (length < 59.95) return `${length.toFixed(length < 9.95 ? 2 : 1)}${NB}s`;
  const whole = Math.round(length);
  if (whole < 3600) return `${Math.floor(whole / 60)}${NB}min ${whole % 60}${NB}s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)}${NB}h ${Math.floor((whole % 3600) / 60)}${NB}min`;
  return `${Math.floor(whole / 86400)}${NB}days`;
}

/** For lengths that grow while one looks: whole seconds. */
export function age(length) {
  return length < 60 ? `${Math.max(0, Math.floor(length))}${NB}s` : seconds(Math.floor(length));
}

export function clock(moment, digits) {
  const form = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, fractionalSecondDigits: digits };
  return new Date(moment * 1000).toLocaleTimeString([], form);
}

/** A moment for a table: the time of day, with its day where that is not today. */
export function moment(at) {
  const day = new Date(at * 1000);
  const isToday = day.toDateString() === new Date(now() * 1000).toDateString();
  return isToday ? clock(at) : `${day.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock(at)}`;
}

/** Does each word of what was typed stand in one of the texts? */
export function fits(typed, ...texts) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean).map((word) => word.replace(/…$/, ""));
  return words.every((word) => texts.some((text) => text.toLowerCase().includes(word)));
}

/** A button that puts a text into the clipboard, and says so. */
export function copyButton(text) {
  const button = make("button", { type: "button", class: "copy", "aria-label": `Copy ${text}` }, "copy");
  button.addEventListener("click", async () => {
    // A page that is not on this machine and not over TLS has no clipboard.
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!done) prompt("Copy it from here:", text);
    set(button, "copied");
    setTimeout(() => set(button, "copy"), 2000);
  });
  return button;
}

export function percent(share) {
  return `${Math.round(share * 100)}${NB}%`;
}

// Ids as they are shown: as short as tells them apart, by the same rule as `jobs/short_ids.py`.

const SHORT = 8;
let beginnings = new Map();

/** From now on, ids are shortened so that these can be told apart. */
export function tellApart(ids) {
  const known = [...new Set(ids)].sort();
  const shared = (one, other = "") => {
    let n = 0;
    while (n < one.length && one[n] === other[n]) n++;
    return n;
  };
  beginnings = new Map(known.map((id, n) =>
    [id, Math.max(SHORT, 1 + Math.max(shared(id, known[n - 1]), shared(id, known[n + 1])))]));
}

export function short(id) {
  const length = beginnings.get(id) ?? SHORT;
  return id.length > length ? `${id.slice(0, length)}…` : id;
}

/** The table's way to the page of a job, and to its whole id. */
export function jobLink(id) {
  return make("a", { href: `/jobs/${encodeURIComponent(id)}`, title: id }, short(id));
}

/** The id that the address of a job's page names. */
export function askedJob() {
  return decodeURIComponent(location.pathname.replace(/^\/jobs\//, ""));
}

/** Show that `asked` names no job, or several; returns whether it names one. */
export function isKnown(asked, { job, candidates }) {
  const $ = (id) => document.getElementById(id);
  $("unknown").hidden = job !== null;
  for (const part of document.querySelectorAll(".known")) part.hidden = job === null;
  if (job !== null) return true;
  document.title = `job ${short(asked)}`;
  set($("unknown-title"), candidates.length ? "Which one?" : "No such job");
  set($("unknown-text"), candidates.length
    ? `The ids of several jobs begin with ${asked}.`
    : `No job ${asked} is remembered here: it may have ended long ago, or be known elsewhere.`);
  list($("candidates"), candidates, (id) => id,
    (id) => make("li", {}, make("a", { href: `/jobs/${encodeURIComponent(id)}` }, id)), () => {});
  return false;
}

/** Facts as a list of terms: those that are empty are left out, an array is nodes. */
export function facts(element, known) {
  list(element, known.filter(([, value]) => value !== null && value !== undefined && value !== ""),
    ([name]) => name,
    ([name, , kind]) => make("div", { class: kind }, make("dt", {}, name), make("dd")),
    (row, [, value]) => {
      if (!Array.isArray(value)) set(row.lastChild, String(value));
      else if (!row.lastChild.childNodes.length) row.lastChild.append(...value);
    });
}

// Clocks differ: the server's moments are compared with the server's now.

let offset = 0;

export function serverSays(now) {
  offset = now - Date.now() / 1000;
}

export function now() {
  return Date.now() / 1000 + offset;
}

/** Call it now and every second while the page is looked at. */
export function everySecond(tick) {
  setInterval(() => document.hidden || tick(), 1000);
}
