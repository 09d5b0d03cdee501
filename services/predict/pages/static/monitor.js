// The page that watches: it reads monitor.json again and again, and shows what changed.

import { html } from "./dom.js";
import { SECTIONS, chip } from "./monitorparts.js";
import { headers, on } from "./page.js";

const POLL = 10_000; // milliseconds
const watch = document.getElementById("watch");
let last = ""; // what was shown, as text
let facts = null;
let read = 0; // when
let range = null; // of the charts over time

async function look() {
  if (document.hidden) return;
  try {
    const response = await fetch("monitor.json", { headers: headers(), cache: "no-cache", signal: AbortSignal.timeout(8000) });
    if (!response.ok) throw new Error(`The monitor cannot be read (${response.status}).`);
    const text = await response.text();
    facts = JSON.parse(text);
    range ??= facts.traffic.hour?.rows.slice(0, -3).some(Boolean) ? "hour" : "minute"; // what began today is seen in minutes
    read = Date.now();
    const { age_seconds: _, ...rest } = facts;
    const now = JSON.stringify(rest);
    if (now !== last) show();
    last = now;
  } catch (error) {
    if (!facts) failed(error);
  }
  age();
}

function failed(error) {
  document.getElementById("verdict").replaceChildren(html("p", { class: "alert bad" }, error instanceof TypeError ? "The API does not answer. This page tries again until it does." : error.message));
}

/** Everything, in one go; what was open, pressed or focused stays so. */
function show() {
  const open = new Set([...watch.querySelectorAll("details[open]")].map(({ id }) => id));
  const focused = document.activeElement?.id;
  verdict();
  const model = facts.models.find(({ current }) => current) ?? null;
  const view = { facts, model, range, choose, room: (columns) => room(columns) };
  watch.replaceChildren(...SECTIONS.map((section) => section(view)).filter(Boolean));
  for (const details of watch.querySelectorAll("details")) details.open = open.has(details.id);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** The width of a card's inside, in pixels, where it has half (6) or all (12) of the columns. */
function room(columns) {
  const whole = watch.clientWidth;
  const narrow = window.matchMedia("(max-width: 60rem)").matches;
  return (narrow || columns === 12 ? whole : (whole - 20) / 2) - 42;
}

function choose(name) {
  range = name;
  show();
}

const WORDS = { stable: "as in training", shifted: "slightly different", drifted: "look at this", waiting: "waiting for rows", unknown: "cannot be compared" };

function verdict() {
  const { status, text } = facts.verdict;
  const troubles = [];
  if (!facts.logging) troubles.push("Nothing is logged here (PREDICTION_LOG_URL is none), so there is nothing to watch but the replica itself.");
  if (facts.trouble) troubles.push(`The monitor reports: ${facts.trouble}.`);
  if (facts.stale) troubles.push("The monitor has not written for a while; what is shown is old.");
  document.getElementById("verdict").replaceChildren(
    html("p", { class: "verdict" }, chip(status, WORDS[status] ?? status), html("span", {}, text)),
    ...troubles.map((trouble) => html("p", { class: "alert warn" }, trouble)),
  );
}

function age() {
  const element = document.getElementById("age");
  if (!facts?.computed) {
    element.textContent = "";
    return;
  }
  const seconds = Math.round(facts.age_seconds + (Date.now() - read) / 1000);
  const ago = seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  element.textContent = `Computed ${ago} ago, and every ${facts.every_seconds} s`;
}

let resized = 0;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => facts && show(), 150);
});
document.addEventListener("visibilitychange", look);
document.getElementById("key")?.addEventListener("change", look);
for (const event of ["swap", "back"]) on(event, look);
setInterval(look, POLL);
setInterval(age, 1000);
look();
