// The page on which a whole book is checked and scored. All work is the worker's; this shows what it says.

import { bandTable, histogram } from "./bookchart.js";
import { count, html, percent, plural } from "./dom.js";
import { headers, on } from "./page.js";

const element = (id) => document.getElementById(id);
const worker = new Worker(document.querySelector("script[data-worker]").dataset.worker, { type: "module" });
let model = null;
let file = null;
let report = null;
let pause = null; // the button
let latest = null; // what was said of the progress
let state = "empty"; // checking, checked, scoring, paused, done

// Choosing

element("file").disabled = false;
element("file").addEventListener("change", (event) => event.target.files.length && choose(event.target.files[0]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}

async function choose(chosen) {
  file = chosen;
  element("chosen").textContent = file.name;
  element("chosen-more").textContent = `${size(file.size)} · choose another`;
  element("check").hidden = false;
  await check();
}

async function check() {
  state = "checking";
  element("score").hidden = true;
  element("found").replaceChildren(html("p", { class: "muted" }, "Reading the file…"));
  try {
    const response = await fetch("batch/model.json");
    if (!response.ok) throw new Error();
    model = await response.json();
  } catch {
    state = "empty";
    const again = html("button", { type: "button", onclick: check }, "Try again");
    element("found").replaceChildren(html("p", { class: "problem" }, "The API does not answer, so the columns it needs are not known."), again);
    return;
  }
  worker.postMessage({ do: "check", file, model });
}

function size(bytes) {
  return bytes < 1e6 ? `${count(Math.ceil(bytes / 1000))} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// What the worker says

const WORDS = {
  checking: ({ read, size: all, rows }) =>
    element("found").replaceChildren(html("progress", { value: read, max: all, "aria-label": "Reading" }), html("p", { class: "small muted" }, plural(rows, "row"))),
  checked: (word) => {
    state = "checked";
    report = word.report;
    element("found").replaceChildren(...findings());
  },
  failed: ({ text }) => {
    if (state === "checking" || state === "empty") element("found").replaceChildren(html("p", { class: "problem" }, text));
    else alert_of("bad", text);
    state = "empty";
  },
  scoring: (word) => {
    pace(word);
    result(word);
  },
  scored: (word) => {
    state = "done";
    pace(word);
    result(word);
    finish(word);
  },
  stopped: (word) => {
    state = "done";
    result(word);
    finish(word);
    alert_of("warn", "Stopped. What was scored until then can be downloaded.");
  },
  waiting: ({ why, seconds }) => alert_of("warn", `${why.replace(/\.$/, "")}: trying again in ${Math.max(1, Math.round(seconds))} s. Nothing is lost.`),
  going: () => alert_of(),
  refused: ({ status, detail }) => {
    const key = status === 401 || status === 403;
    paused(true);
    const again = status === 422 && html("button", { type: "button", onclick: check }, "Check the file against the model that answers now");
    alert_of("bad", key ? `${detail} Put it into the field at the top, then continue.` : `The API refuses this part of the book: ${detail} `, again);
  },
  saved: ({ blob, name }) => {
    const link = html("a", { href: URL.createObjectURL(blob), download: name.replace(/(\.[a-z]+)?$/i, "-scored.csv") });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    element("save").disabled = false;
  },
};
worker.onmessage = ({ data }) => WORDS[data.say](data);

// The check

function findings() {
  if (report.header.length) return [html("p", { class: "problem verdict" }, "The header does not fit, so nothing can be scored yet."), ...notes(), headerProblems()];
  const good = report.rows - report.bad;
  const extra = report.others.length ? ` ${plural(report.others.length, "other column")} will pass through.` : "";
  const verdict = report.bad
    ? `${plural(report.bad, "row")} of ${count(report.rows)} cannot be scored; ${report.bad === 1 ? "it" : "they"} will say why in the column “error”.`
    : `All ${plural(report.rows, "row")} can be scored.`;
  const go = html("button", { type: "button", class: "primary", id: "go", onclick: start }, good ? `Score ${plural(good, "row")}` : "Nothing to score");
  go.disabled = !good;
  return [
    html("p", { class: `verdict ${report.bad ? "warning" : "good"}` }, report.rows ? verdict : "The file has a header and no rows."),
    html("p", { class: "small muted" }, `${report.found} of the model’s ${model.features.length} columns are there.${extra}`),
    ...notes(),
    report.bad ? rowProblems(report.listed, report.bad) : null,
    columnTable(),
    html("p", { class: "actions" }, go),
  ].filter(Boolean);
}

function notes() {
  const found = [];
  if (report.guessed) found.push(`Line ${report.guessed} is not valid UTF-8, so the file was read as Windows-1252, as older spreadsheets write it. Look whether names came out right.`);
  else if (report.encoding !== "utf-8") found.push(`The file is in ${report.encoding.toUpperCase()}; the download will be in UTF-8.`);
  if (report.delimiter !== ",") found.push(`The columns are separated by ${{ ";": "semicolons", "\t": "tabs", "|": "bars" }[report.delimiter]}, not commas. That is fine here; the command line wants commas.`);
  if (report.commas) found.push(`${plural(report.commas, "number")} ${report.commas === 1 ? "has" : "have"} a decimal comma. Write 0.13, not 0,13.`);
  if (report.formulas) found.push(`${plural(report.formulas, "cell")} begin${report.formulas === 1 ? "s" : ""} like a formula (=, +, − or @). A spreadsheet may run it; the download can make such cells harmless.`);
  if (report.absent.length && !report.header.length) found.push(`Not in the file, and taken as missing on every row: ${report.absent.join(", ")}.`);
  return found.map((text) => html("p", { class: "note small" }, text));
}

function headerProblems() {
  const rows = report.header.map(({ column, detail }) => html("tr", {}, html("th", { scope: "row" }, column ? html("code", {}, column) : "header"), html("td", {}, detail)));
  return table("Problems of the header", ["Column", "What is wrong"], rows);
}

function rowProblems(listed, total) {
  const rows = listed.map(({ line, detail }) => html("tr", {}, html("td", { class: "number" }, count(line)), html("td", {}, detail)));
  const more = total > listed.length ? html("p", { class: "small muted" }, `The first ${count(listed.length)} of ${count(total)}. The download says it on each row.`) : null;
  return html("div", {}, table("Rows that cannot be scored", ["Line", "What is wrong"], rows, "problems"), more);
}

function columnTable() {
  const rows = model.features
    .filter(({ name }) => report.profile[name])
    .map(({ name }) => {
      const { empty, bad, unusual } = report.profile[name];
      const cell = (value, kind) => html("td", { class: `number ${value ? kind : "muted"}` }, value ? count(value) : "–");
      return html("tr", {}, html("th", { scope: "row" }, html("code", {}, name)), cell(empty, ""), cell(unusual, "warning"), cell(bad, "problem"));
    });
  const drawn = table("The columns, one by one", ["Column", "Empty", "Not seen in training", "Wrong"], rows, "profile");
  return html("details", {}, html("summary", {}, "Column by column"), drawn);
}

function table(caption, head, rows, kind = "") {
  const heads = head.map((words, i) => html("th", { scope: "col", class: kind === "profile" && i ? "number" : kind === "problems" && !i ? "number" : null }, words));
  return html("div", { class: `scroll ${kind}`, tabindex: "0", role: "group", "aria-label": caption }, html("table", {}, html("caption", { class: "visually-hidden" }, caption), html("thead", {}, html("tr", {}, heads)), html("tbody", {}, rows)));
}

// Scoring

function start() {
  element("go").disabled = true;
  element("score").hidden = false;
  element("result").replaceChildren();
  alert_of();
  pause = html("button", { type: "button", id: "pause", onclick: halt });
  const stop = html("button", { type: "button", id: "stop", onclick: () => worker.postMessage({ do: "stop" }) }, "Stop");
  element("actions").replaceChildren(pause, stop);
  paused(false);
  pace({ rows: 0, total: report.rows, seconds: 0 });
  worker.postMessage({ do: "score", keys: headers() });
  pause.focus({ preventScroll: true });
}

function halt() {
  const going = state === "paused";
  worker.postMessage(going ? { do: "resume", keys: headers() } : { do: "pause" });
  if (going) alert_of();
  paused(!going);
}

function paused(now) {
  state = now ? "paused" : "scoring";
  pause.textContent = now ? "Continue" : "Pause";
}

function pace(word) {
  latest = word;
  const { rows, total, seconds } = word;
  element("progress").max = total;
  element("progress").value = rows;
  const rate = seconds > 0 ? rows / seconds : 0;
  const left = rate && rows < total ? ` · ${duration((total - rows) / rate)} left` : "";
  element("pace").textContent = `${count(rows)} of ${plural(total, "row")}${rate ? ` · ${count(rate)} rows/s` : ""}${left}`;
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

function alert_of(kind, ...content) {
  element("alerts").replaceChildren(...(kind ? [html("p", { class: `alert ${kind}` }, ...content.filter(Boolean))] : []));
}

function result(word) {
  if (!word.scored) return;
  const spread = 1.96 * word.deviation;
  const [low, high] = [Math.max(0, word.expected - spread), Math.min(word.scored, word.expected + spread)];
  const trained = model.bands.length && model.bands.every(({ rate, share }) => rate !== null && share !== null) ? model.bands.reduce((sum, { rate, share }) => sum + rate * share, 0) : null;
  const share = `${percent(word.expected / word.scored)} of ${plural(word.scored, "row")}${trained === null ? "" : `; in training ${percent(trained)}`}`;
  const facts = [
    stat(`Expected: ${model.positive || "the last class"}`, count(word.expected), share),
    stat("Likely range", `${count(Math.floor(low))} – ${count(Math.ceil(high))}`, "in 95 of 100 such books, were the cases independent"),
    stat("Median probability", percent(word.histogram.median), "half of the rows are below"),
    stat("Not scored", count(word.bad), word.warned ? `${plural(word.warned, "row")} scored with a warning` : "and no row with a warning"),
  ];
  element("result").replaceChildren(html("dl", { class: "stats" }, facts), histogram(word.histogram, model, element("result").clientWidth), model.bands.length ? bandTable(word, model) : "", wrong(word));
}

function stat(name, value, more) {
  return html("div", {}, html("dt", {}, name), html("dd", {}, html("strong", {}, value), html("span", { class: "small muted" }, more)));
}

function wrong(word) {
  return word.listed.length ? html("div", {}, html("h3", {}, "Refused by the API"), rowProblems(word.listed, word.refused)) : "";
}

function finish(word) {
  const go = element("go");
  go.disabled = false;
  go.textContent = "Score it again";
  go.classList.remove("primary");
  element("pace").textContent = `${plural(word.rows, "row")} in ${duration(word.seconds)}`;
  const harmless = html("input", { type: "checkbox" });
  const save = html("button", { type: "button", class: "primary", id: "save" }, "Download the book with its scores");
  save.addEventListener("click", () => {
    save.disabled = true;
    worker.postMessage({ do: "save", harmless: harmless.checked });
  });
  const choice = html("label", { class: "small" }, harmless, " with an apostrophe before cells that begin like a formula");
  element("actions").replaceChildren(save, report.formulas ? choice : "");
  save.focus({ preventScroll: true });
  mixed(word);
}

/** Whether one model scored all rows, and it is the one that answers now. The page learns of a swap by and by, after the answers. */
function current({ versions }) {
  return versions.length === 1 && versions[0][0] === document.body.dataset.version;
}

function mixed(word) {
  if (current(word)) alert_of("");
  if (word.versions.length < 2) return;
  const parts = word.versions.map(([version, rows]) => `${plural(rows, "row")} by ${version.slice(0, 12)}`).join(", ");
  const again = html("button", { type: "button", onclick: rescore }, "Score the whole book with the model that answers now");
  alert_of("warn", `The model was replaced while the book was being scored: ${parts}. One book should have one model. `, again);
}

async function rescore() {
  await check();
  const ready = setInterval(() => {
    if (state === "checking") return;
    clearInterval(ready);
    if (state === "checked" && !element("go")?.disabled) start();
  }, 20);
}

on("swap", () => {
  if (state === "checked") check();
  if (state === "scoring") alert_of("warn", "The model was replaced just now. The rest of the book is scored with the new one; afterwards the whole book can be scored again.");
  if (state === "done" && latest?.rows && !current(latest)) alert_of("warn", "Another model answers now than the one that scored this book. ", html("button", { type: "button", onclick: rescore }, "Score it again"));
});
