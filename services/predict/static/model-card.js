// The model's page: which versions were served so far, from what the monitor has read; and news of a swap.

import { html } from "./dom.js";
import { on, say } from "./page.js";

const versions = document.getElementById("versions");

async function served() {
  try {
    const response = await fetch(versions.dataset.from);
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

on("swap", () => say("Another model answers now than the one on this page. Load the page again to read about it.", "good"));
if (versions.dataset.from) served();
