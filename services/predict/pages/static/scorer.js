// The worker that reads, checks and scores a book, so that the page itself never waits. It is told {do: …} and says {say: …}.

import { Checker } from "./check.js";
import { Reader, TooLong, isFormula, line, tame } from "./csv.js";
import { Tally } from "./tally.js";
import { Unreadable, columnsOf, sniff, texts } from "./text.js";

const MOST_LISTED = 100; // problems that are named; all are counted
const CHUNK_ROWS = 2000;
const TALK = 150; // milliseconds between two words about progress
const SLOWEST = 30; // seconds between two tries

let model; // what the API says of the current model: see batch/model.json
let file;
let format; // {encoding, delimiter, mark}
let checked; // what the last check found
let keys = {}; // headers that carry the API key
let run = null; // the scoring that is at work or done
let spoken = 0;

self.onmessage = async ({ data }) => {
  try {
    await ORDERS[data.do](data);
  } catch (error) {
    const known = error instanceof TooLong || error instanceof Unreadable;
    const gone = error instanceof DOMException && error.name === "NotReadableError";
    const text = gone ? "The file cannot be read any more: it was moved or changed. Choose it again." : error.message;
    self.postMessage({ say: "failed", text: known || gone ? text : `This page has a fault: ${text}` });
  }
};

const STOPPED = Symbol("stopped");
const ORDERS = {
  check: check,
  score: score,
  pause: () => run?.pause(),
  resume: (order) => {
    keys = order.keys;
    run?.resume();
  },
  stop: () => run?.stop(),
  save: save,
};

function talk(word, now = false) {
  if (!now && performance.now() - spoken < TALK) return;
  spoken = performance.now();
  self.postMessage(word());
}

// Checking

async function check(order) {
  run?.stop();
  run = null;
  checked = null;
  ({ file, model } = order);
  format = await sniff(file, model);
  try {
    checked = await inspect();
  } catch (error) {
    if (!(error instanceof TypeError) || format.encoding !== "utf-8") throw error;
    format = { ...format, encoding: "windows-1252", guessed: error.line };
    checked = await inspect();
  }
  self.postMessage({ say: "checked", report: checked });
}

async function inspect() {
  const report = { name: file.name, ...format, rows: 0, bad: 0, listed: [], formulas: 0, header: [], others: [], absent: [] };
  let checker = null;
  for await (const { row, read } of rows()) {
    if (!checker) {
      checker = new Checker(model, row.cells);
      Object.assign(report, columnsOf(checker, row));
      if (report.header.length) return report;
      continue;
    }
    report.rows += 1;
    const detail = checker.row(row);
    if (detail) {
      report.bad += 1;
      if (report.listed.length < MOST_LISTED) report.listed.push({ line: row.line, detail });
    }
    for (const cell of row.cells) report.formulas += isFormula(cell);
    talk(() => ({ say: "checking", read, size: file.size, rows: report.rows }));
  }
  if (!checker) throw new Unreadable("The file is empty.");
  report.profile = Object.fromEntries(checker.profile);
  report.commas = checker.commas;
  return report;
}

async function* rows() {
  const reader = new Reader(format.delimiter);
  for await (const { text, read } of texts(file, format, reader)) {
    for (const row of reader.feed(text)) {
      if (!/^sep=.$/.test(row.raw)) yield { row, read }; // a line for spreadsheets, before the header
    }
  }
  for (const row of reader.end()) yield { row, read: file.size };
}

// Scoring

/** One run through the book, with one idempotency key per chunk: whatever is asked twice is the same prediction. */
class Run {
  constructor(total) {
    this.name = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    this.total = total;
    this.chunks = 0;
    this.answers = []; // one blob of CSV per chunk: the added columns of its rows, in order
    this.tally = new Tally(model);
    this.began = performance.now();
    this.waited = 0;
    this.stopped = false;
    this.paused = null;
    this.abort = new AbortController();
    this.refused = 0; // rows that the API refuses though the check here did not
    this.listed = [];
  }

  surprise(where, detail) {
    this.refused += 1;
    if (this.listed.length < MOST_LISTED) this.listed.push({ line: where, detail });
  }

  pause() {
    if (this.paused) return;
    const since = performance.now();
    this.paused = new Promise((resolve) => {
      this.go = () => {
        this.waited += performance.now() - since;
        this.paused = null;
        resolve();
      };
    });
  }

  resume() {
    this.go?.();
    this.hurry?.();
  }

  stop() {
    this.stopped = true;
    this.abort.abort();
    this.resume();
  }

  async alive() {
    if (this.paused) await this.paused;
    if (this.stopped) throw STOPPED;
  }

  async wait(seconds, why) {
    self.postMessage({ say: "waiting", why, seconds });
    await new Promise((resolve) => {
      this.hurry = resolve;
      setTimeout(resolve, seconds * 1000);
    });
    await this.alive();
    self.postMessage({ say: "going" });
  }
}

async function score(order) {
  run?.stop();
  keys = order.keys;
  const own = (run = new Run(checked.rows));
  try {
    await through(own);
    talk(() => ({ say: "scored", ...progress(own) }), true);
  } catch (error) {
    if (error !== STOPPED) throw error;
    if (run === own) talk(() => ({ say: "stopped", ...progress(own) }), true);
  }
}

async function through(own) {
  let checker = null;
  let chunk = null;
  for await (const { row } of rows()) {
    if (!checker) {
      checker = new Checker(model, row.cells);
      chunk = new Chunk(checker);
      continue;
    }
    chunk.add(row);
    if (chunk.full()) {
      await finish(own, chunk);
      chunk = new Chunk(checker);
    }
  }
  if (chunk.rows.length) await finish(own, chunk);
}

/** Rows that are asked about together: only the model's columns of those that fit its schema leave this machine. */
class Chunk {
  constructor(checker) {
    this.checker = checker;
    this.columns = [...checker.plan.map((feature) => feature.at), ...(checker.id >= 0 ? [checker.id] : [])];
    this.lines = [this.#line(checker.header)];
    this.rows = []; // of each: what is wrong with it, or null
    this.size = 0;
  }

  #line(cells) {
    return line(this.columns.map((at) => cells[at]));
  }

  add(row) {
    const detail = this.checker.row(row);
    this.rows.push({ line: row.line, detail });
    if (detail) return;
    const text = this.#line(row.cells);
    this.lines.push(text);
    this.size += 3 * text.length; // bytes, at most
  }

  full() {
    const { rows, bytes } = model.limits;
    return this.rows.length >= Math.min(CHUNK_ROWS, rows) || this.size > bytes / 4;
  }

  get sent() {
    return this.lines.length - 1;
  }
}

async function finish(own, chunk) {
  await own.alive();
  const number = own.chunks++;
  const answers = chunk.sent ? await ask(own, chunk, number) : [];
  const place = Object.fromEntries(model.keys.map((name, i) => [name, i]));
  let next = 0;
  const lines = chunk.rows.map(({ line: where, detail }) => {
    const cells = detail ? model.keys.map((name) => (name === "error" ? detail : "")) : answers[next++];
    own.tally.add(Object.fromEntries(model.keys.map((name, i) => [name, cells[i]])));
    if (!detail && cells[place.error]) own.surprise(where, cells[place.error]);
    return line(cells.map(tame), format.delimiter);
  });
  own.answers.push(new Blob([lines.join("\n")]));
  talk(() => ({ say: "scoring", ...progress(own) }));
}

function progress(own) {
  return { total: own.total, seconds: (performance.now() - own.began - own.waited) / 1000, refused: own.refused, listed: own.listed, ...own.tally.summary() };
}

/** The added columns of the chunk's good rows, as the API gave them. Tries until it is answered or stopped. */
async function ask(own, chunk, number) {
  const body = chunk.lines.join("\r\n") + "\r\n";
  for (let tries = 0; ; tries++) {
    let why = "The API does not answer";
    let seconds = Math.min(2 ** tries / 2, SLOWEST);
    try {
      const response = await fetch("../../predict", {
        method: "POST",
        headers: { "Content-Type": "text/csv", "Idempotency-Key": `${own.name}-${number}`, ...keys },
        body,
        signal: own.abort.signal,
      });
      const text = await response.text();
      if (response.ok) {
        const found = columns(text);
        if (found.length === chunk.sent) return found;
        why = "The answer was cut short";
      } else if (response.status === 503 || response.status === 429 || response.status === 408) {
        why = detailOf(text, "The API is busy");
        seconds = Math.min(Number(response.headers.get("Retry-After")) || seconds, SLOWEST);
      } else {
        await refused(own, response.status, detailOf(text, `The API answered ${response.status}`));
        tries = -1;
        continue;
      }
    } catch (error) {
      if (own.stopped) throw STOPPED;
      if (error === STOPPED || !(error instanceof TypeError)) throw error;
    }
    await own.wait(seconds, why);
  }
}

/** The API will not score this, whatever is tried: somebody has to do something about it first. */
async function refused(own, status, detail) {
  own.pause();
  self.postMessage({ say: "refused", status, detail });
  await own.alive();
}

function columns(text) {
  const reader = new Reader();
  const found = [...reader.feed(text), ...reader.end()].map((row) => row.cells);
  const places = model.added.map((name) => found[0].indexOf(name));
  return found.slice(1).map((cells) => places.map((at) => cells[at] ?? ""));
}

function detailOf(text, otherwise) {
  try {
    const problem = JSON.parse(text);
    const first = problem.errors?.[0];
    return first ? `${problem.detail} ${first.pointer} ${first.detail}` : problem.detail || otherwise;
  } catch {
    return otherwise;
  }
}

// Saving

/** The file as it was, with the added columns. A row's own text is kept letter by letter, unless `harmless` asks for formulas to be
 * tamed, or its number of cells is not the header's. */
async function save({ harmless }) {
  const own = run;
  const parts = format.mark ? ["\ufeff"] : [];
  const answers = added(own);
  let width = 0;
  let text = [];
  for await (const { row } of rows()) {
    const extra = width ? (await answers.next()).value : line(model.added, format.delimiter);
    if (extra === undefined) break; // stopped before the end of the book
    width ||= row.cells.length;
    text.push(own_text(row, width, harmless) + format.delimiter + extra);
    if (text.length >= CHUNK_ROWS) {
      parts.push(new Blob([text.join("\r\n"), "\r\n"]));
      text = [];
    }
  }
  parts.push(new Blob([text.join("\r\n"), "\r\n"]));
  self.postMessage({ say: "saved", blob: new Blob(parts, { type: "text/csv" }), name: file.name });
}

function own_text(row, width, harmless) {
  if (!harmless && !row.open && row.cells.length === width) return row.raw;
  const cells = row.cells.slice(0, width);
  while (cells.length < width) cells.push("");
  return line(harmless ? cells.map(tame) : cells, format.delimiter);
}

async function* added(own) {
  for (const blob of own.answers) {
    const reader = new Reader(format.delimiter);
    const text = await blob.text();
    for (const row of reader.feed(text)) yield row.raw;
    for (const row of reader.end()) yield row.raw;
  }
}
