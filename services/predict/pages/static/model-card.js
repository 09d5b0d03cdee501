// The model's page: a curve is read off under the pointer; which versions were served so far, from what the monitor has read; and
// news of a swap.

import { html, svg } from "./dom.js";
import { headers, on, say } from "./page.js";

const versions = document.getElementById("versions");

async function served() {
  try {
    const response = await fetch(versions.dataset.from, { headers: headers() });
    if (!response.ok) return;
    const switches = (await response.json()).events.filter(({ kind }) => kind === "switch");
    if (switches.length) versions.replaceChildren(table(switches));
  } catch {
    // what the page says without it stays
  }
}

function table(switches) {
  const rows = switches.map(({ time, text }) => html("tr", {}, html("td", {}, html("time", { datetime: time }, new Date(time).toLocaleString())), html("td", {}, text)));
  const head = html("tr", {}, html("th", { scope: "col" }, "Since"), html("th", { scope: "col" }, "What happened"));
  return html("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Versions served so far" }, html("table", {}, html("thead", {}, head), html("tbody", {}, rows)));
}

// Curves: the exact value under the pointer

const [LEFT, RIGHT, WIDTH] = [44, 8, 340]; // of feature_curves.py
let curves = null; // a promise of them, by feature

function fetched() {
  curves ??= fetch("model-card/curves.json").then(async (response) => new Map((await response.json()).curves.map((curve) => [curve.feature, curve])));
  return curves;
}

for (const figure of document.querySelectorAll("figure[data-feature]")) {
  const picture = figure.querySelector("svg");
  if (!picture.querySelector(".curve")) continue;
  const line = svg("line", { class: "reading", y1: 10, y2: 154, visibility: "hidden" });
  const text = svg("text", { class: "reading", y: 22, visibility: "hidden" });
  picture.append(line, text);
  picture.addEventListener("pointerleave", () => [line, text].forEach((mark) => mark.setAttribute("visibility", "hidden")));
  picture.addEventListener("pointermove", async ({ clientX }) => {
    const box = picture.getBoundingClientRect();
    const at = Math.min(Math.max(((clientX - box.left) / box.width) * WIDTH, LEFT), WIDTH - RIGHT);
    const curve = (await fetched().catch(() => (curves = null)))?.get(figure.dataset.feature);
    if (!curve) return;
    const [low, high] = [curve.edges[0], curve.edges.at(-1)];
    const value = low + ((at - LEFT) / (WIDTH - LEFT - RIGHT)) * (high - low);
    const step = Math.max(curve.edges.findLastIndex((edge, i) => edge <= value && i < curve.starts.length), 0);
    const part = (value - curve.edges[step]) / (curve.edges[step + 1] - curve.edges[step]);
    const term = curve.starts[step] + (curve.ends[step] - curve.starts[step]) * part;
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
    text.setAttribute("x", at > WIDTH / 2 ? at - 5 : at + 5);
    text.setAttribute("text-anchor", at > WIDTH / 2 ? "end" : "start");
    text.textContent = `${Number(value.toPrecision(3)).toLocaleString("en")}: ×${Math.exp(term).toFixed(2)}`;
    for (const mark of [line, text]) mark.setAttribute("visibility", "visible");
  });
}

on("swap", () => say("Another model answers now than the one on this page. Load the page again to read about it.", "good"));
if (versions.dataset.from) served();
