// The parts of the page that watches: each makes an element from {facts, model, range, choose, room}, or null where there is nothing to say.

import { count, html, percent, plural, svg } from "./dom.js";
import { evidence, pairs, series, when } from "./serieschart.js";

/** A status as a coloured word. */
export function chip(status, words) {
  return html("span", { class: `status ${status}` }, words);
}

function card(title, size, ...content) {
  const id = `part-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return html("section", { class: `card ${size === 6 ? "half" : ""}`, "aria-labelledby": id }, html("h2", { id }, title), ...content);
}

function empty(...words) {
  return html("p", { class: "empty" }, ...words);
}

function stat(name, value, more) {
  return html("div", {}, html("dt", {}, name), html("dd", {}, html("strong", {}, value), html("span", { class: "small muted" }, more)));
}

function sum(values) {
  return values.reduce((all, value) => all + (value ?? 0), 0);
}

function latest(values) {
  return values.findLast((value) => value !== null) ?? null;
}

// What matters in four numbers

function overview({ facts, model }) {
  const day = sum(facts.traffic.hour.rows.slice(-24));
  const { requests, server_errors: failed, p50_ms: middle, p99_ms: slow } = facts.http;
  const asked = sum(requests);
  const errors = sum(failed);
  const rate = model?.expected_rate ?? null;
  const trained = model?.reference_rate ?? null;
  const expected = model?.positive ? `Expected: ${model.positive}` : "Expected rate";
  return html("section", { class: "card", "aria-label": "Overview" }, html("dl", { class: "stats" },
    stat("Rows scored, last 24 hours", count(day), model ? `${count(model.rows)} in ${facts.window.days} days by this model` : "none yet by this model"),
    stat(expected, rate === null ? "–" : percent(rate), trained === null ? "the mean probability" : `the mean probability; ${percent(trained)} in training`),
    stat("Half of the answers within", latest(middle) === null ? "–" : `${latest(middle).toFixed(1)} ms`, latest(slow) === null ? "no request measured lately" : `99 of 100 within ${latest(slow).toFixed(1)} ms`),
    stat("Failed requests, last 24 hours", count(errors), asked ? `of ${count(asked)}` : "no request measured")));
}

// Over time

const RANGES = [["minute", "3 hours"], ["hour", "7 days"], ["day", "30 days"]];

function traffic(view) {
  const { facts, model, range, choose, room } = view;
  const now = facts.traffic[range];
  const buttons = RANGES.map(([name, words]) => html("button", { type: "button", id: `range-${name}`, "aria-pressed": String(name === range), onclick: () => choose(name) }, words));
  const head = html("div", { class: "bar-head" }, html("h2", { id: "part-time" }, "Over time"), html("div", { class: "ranges", role: "group", "aria-label": "How far back" }, buttons));
  const wrap = (...content) => html("section", { class: "card", "aria-labelledby": "part-time" }, head, ...content);
  if (!sum(now?.rows ?? [])) return wrap(empty("Nothing was scored in this time. As soon as something is, this shows how much, by which model, and how the expected rate moves. ", html("a", { href: "./" }, "Try one"), "."));
  const marks = facts.events.filter(({ kind }) => kind === "switch");
  const current = facts.replica.model_version;
  const others = Object.entries(now.versions).filter(([version]) => version !== current);
  const stacks = [...others.map(([version, values], i) => ({ name: version.slice(0, 12), values, kind: "before", strength: 1 - 0.25 * (i % 3) })), { name: current?.slice(0, 12) ?? "", values: now.versions[current] ?? [], kind: "current" }].filter(({ values }) => values.length);
  const reference = model?.reference_rate ?? null;
  const share = (value) => `${Number((100 * value).toFixed(2))} %`;
  return wrap(
    series(now, { caption: "Rows scored", label: `Rows scored, ${plural(sum(now.rows), "row")} in all`, room: room(12), stacks, marks, format: thousands }),
    legend([["current", "the model that answers now"], others.length ? ["before", "models before it"] : null, marks.length ? ["mark", "a swap"] : null]),
    series(now, { caption: "Expected rate", label: "The mean probability over time", room: room(12), lines: [{ name: "mean probability", values: now.expected_rate, kind: "" }], marks, level: reference === null ? null : { value: reference, name: `in training ${percent(reference)}` }, format: share }),
    bandsOverTime(now, room(12)),
  );
}

function bandsOverTime(now, room) {
  const names = Object.keys(now.bands).filter((name) => name !== "none" || sum(now.bands[name]));
  if (names.length < 2) return null;
  const strength = (i) => 0.2 + (0.8 * i) / (names.length - 1);
  const stacks = names.map((name, i) => ({ name, kind: "current", strength: strength(i), values: now.bands[name].map((rows, at) => (now.rows[at] ? rows / now.rows[at] : 0)) }));
  const key = html("ul", { class: "legend" }, names.map((name, i) => html("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: "current", "fill-opacity": strength(i), width: 10, height: 10, rx: 2 })), name)));
  return html("div", {}, series(now, { caption: "Bands", label: "The share of each band over time", room, stacks, format: (value) => `${Math.round(100 * value)} %`, height: 110 }), key);
}

function legend(entries) {
  const shape = (kind) => (kind === "mark" ? svg("circle", { cx: 5, cy: 5, r: 4, fill: "currentColor" }) : svg("rect", { class: kind, width: 10, height: 10, rx: 2 }));
  return html("ul", { class: "legend" }, entries.filter(Boolean).map(([kind, words]) => html("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, shape(kind)), words)));
}

function thousands(value) {
  return value >= 10_000 ? `${Number((value / 1000).toFixed(1))}k` : String(Number(value.toFixed(2)));
}

function requests({ facts, room }) {
  const { http } = facts;
  if (!sum(http.requests)) return card("Requests and latency", 12, empty("No request was measured in the last 24 hours."));
  const errors = [{ name: "failed (5xx)", values: http.server_errors, kind: "errors" }, { name: "refused (4xx)", values: http.client_errors, kind: "refused" }];
  return card("Requests and latency", 12,
    series(http, { caption: "Milliseconds, by minute of the last 24 hours", label: "Latency: the median and the 99th percentile", room: room(12), lines: [{ name: "99 of 100", values: http.p99_ms, kind: "slow" }, { name: "half", values: http.p50_ms, kind: "" }], format: (value) => String(Number(value.toFixed(1))) }),
    legend([["current", "half of the answers within"], ["slow", "99 of 100 within"]]),
    sum(http.server_errors) + sum(http.client_errors) ? series(http, { caption: "Errors", label: "Errors by minute", room: room(12), stacks: errors, format: thousands, height: 90 }) : empty(`No error in ${plural(sum(http.requests), "request")}.`),
    sum(http.server_errors) + sum(http.client_errors) ? legend([["errors", "failed: our fault (5xx)"], ["refused", "refused: did not fit (4xx)"]]) : null);
}

// Against training

const STATES = { stable: "as in training", shifted: "slightly", drifted: "look", waiting: "too few rows", unknown: "unknown" };

function drift({ facts, model, room }) {
  const title = "Do the rows look like those of training?";
  if (!model) return card(title, 12, empty("The model that answers now has not scored anything in this time. From ", html("strong", {}, count(facts.window.least_rows)), " rows on, each feature is compared with how it was spread in training."));
  if (model.status === "waiting" || model.status === "unknown") return card(title, 12, empty(model.text));
  const moved = model.features.filter(({ status }) => status !== "stable");
  const same = model.features.filter(({ status }) => status === "stable");
  const list = (features) => html("ul", { class: "features" }, features.map((entry) => feature(entry, room)));
  const rest = same.length ? html("details", { id: "same" }, html("summary", {}, moved.length ? `${plural(same.length, "other feature")} as in training` : `All ${plural(same.length, "feature")}, one by one`), list(same)) : null;
  return card(title, 12, html("p", {}, model.text, model.rows > model.sampled ? html("span", { class: "small muted" }, ` Compared on ${plural(model.sampled, "row")} of ${count(model.rows)}.`) : ""), legend([["then", "training"], ["now", `last ${facts.window.days} days`]]), moved.length ? list(moved) : null, rest);
}

function feature(entry) {
  const { name, title, status, text, psi, q_value: q, effect, bins } = entry;
  const figures = [
    psi === null ? null : `PSI ${psi.toFixed(2)}`,
    q === null ? null : `q ${q < 0.001 ? "below 0.001" : q.toFixed(3)}`,
    effect === null ? null : `moves the log-odds by ${effect >= 0 ? "+" : "−"}${Math.abs(effect).toFixed(3)}`,
    rate("missing", entry.missing_rate, entry.reference_missing_rate),
    rate("never seen in training", entry.unseen_rate),
    rate("outside the range of training", entry.out_of_range_rate),
  ].filter(Boolean);
  const drawn = bins.some(({ live }) => live !== null) ? pairs(bins, { label: `${title}: training and now, in ${bins.length} groups`, room: 240, height: 84 }) : null;
  return html("li", {}, html("div", {}, html("h3", {}, title, chip(status, STATES[status] ?? status)), html("p", { class: "small" }, text), html("p", { class: "small muted", id: `figures-${name}` }, figures.join(" · "))), drawn);
}

function rate(words, now, before = null) {
  return now ? `${percent(now)} ${words}${before === null ? "" : ` (${percent(before)} in training)`}` : null;
}

function scores({ model, room }) {
  if (!model?.score || !model.score.bins.some(({ live }) => live !== null)) return null;
  const { score, bands } = model;
  const rows = bands.map(({ label, rows: scored, share, reference_share: before }) => html("tr", {}, html("th", { scope: "row" }, label), html("td", { class: "number" }, count(scored)), html("td", { class: "number" }, share === null ? "–" : percent(share)), html("td", { class: "number muted" }, before === null ? "–" : percent(before))));
  const head = html("tr", {}, html("th", { scope: "col" }, "Band"), html("th", { scope: "col", class: "number" }, "Rows"), html("th", { scope: "col", class: "number" }, "Now"), html("th", { scope: "col", class: "number" }, "Training"));
  return card("The scores", 6, html("p", { class: "small" }, chip(score.status, STATES[score.status] ?? score.status), " ", score.text), pairs(score.bins, { label: "The scores in training and now", room: room(6), height: 120 }), bands.length ? html("table", {}, html("caption", { class: "visually-hidden" }, "Rows by band"), html("thead", {}, head), html("tbody", {}, rows)) : null);
}

// Against what happened

function performance({ model, room }) {
  const title = "Was it right?";
  const estimate = model?.estimated_roc_auc ?? null;
  const known = model?.performance ?? null;
  if (!known) {
    const guess = estimate === null ? "" : ` Until then, from the probabilities alone, the ROC-AUC is estimated at ${estimate.toFixed(3)}.`;
    return card(title, 6, empty("Nobody has said yet what became of these cases. Send outcomes with ", html("code", {}, "POST /outcomes"), " when they are known, and what was predicted is set beside what happened.", guess));
  }
  const interval = (figure) => (figure ? [figure.value.toFixed(3), html("span", { class: "meaning interval" }, `${figure.low.toFixed(3)} to ${figure.high.toFixed(3)}`)] : "too few outcomes");
  const row = (name, value, meaning) => html("tr", {}, html("th", { scope: "row" }, name, " ", html("span", { class: "meaning" }, meaning)), html("td", { class: "number" }, value));
  const rows = [
    row("ROC-AUC, measured", interval(known.roc_auc), known.published_roc_auc === null ? "0.5 is chance, 1 is perfect" : `published with ${known.published_roc_auc.toFixed(3)}`),
    known.estimated_roc_auc === null ? null : row("ROC-AUC, estimated", known.estimated_roc_auc.toFixed(3), "from the probabilities alone, without outcomes"),
    row("Predicted to observed", interval(known.predicted_to_observed), "1: as many cases as expected"),
    row("Calibration slope", interval(known.calibration_slope), "1: neither too bold nor too timid"),
  ];
  return card(title, 6, html("p", {}, known.text), html("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Measured performance" }, html("table", {}, html("caption", { class: "visually-hidden" }, "Measured performance"), html("tbody", {}, rows.filter(Boolean)))), known.curve.length > 1 ? calibration(known.curve, room(6)) : null, shown(known.evidence, [["too_many", "current", "too many were predicted"], ["too_few", "before", "too few were predicted"]], room(6)));
}

function calibration(points, room) {
  const width = Math.min(Math.max(room, 260), 420);
  const height = 240;
  const top = Math.max(...points.map(({ high, predicted }) => Math.max(high, predicted))) * 1.05;
  const x = (value) => 44 + (value / top) * (width - 56);
  const y = (value) => height - 34 - (value / top) * (height - 46);
  const axis = [0, 0.5, 1].map((part) => [svg("text", { x: x(part * top), y: height - 18, "text-anchor": part === 1 ? "end" : "middle" }, percent(part * top)), svg("text", { x: 38, y: y(part * top) + 4, "text-anchor": "end" }, percent(part * top))]);
  const drawn = points.map(({ predicted, observed, low, high, count: rows }) => svg("g", {}, svg("title", {}, `${percent(predicted)} predicted, ${percent(observed)} observed, ${plural(rows, "row")}`), svg("line", { class: "interval", x1: x(predicted), x2: x(predicted), y1: y(low), y2: y(high) }), svg("circle", { cx: x(predicted), cy: y(observed), r: 3.5 })));
  const picture = svg("svg", { class: "calibration", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Observed rates against predicted ones, in groups" }, svg("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(top), y2: y(top) }), axis.flat(), drawn, svg("text", { x: (44 + width) / 2, y: height - 2, "text-anchor": "middle" }, "predicted"));
  return html("figure", { class: "chart" }, html("figcaption", {}, "Observed, upwards, against predicted: on the line is right"), picture);
}

function challengers(view) {
  const title = "Challenger";
  const size = scores(view) ? 12 : 6; // with the scores, the halves before it are even in number
  const found = view.model?.challengers ?? [];
  if (!found.length) return card(title, size, empty("No challenger. A second model can be scored silently beside this one, on the same rows, before anybody relies on it."));
  return card(title, size, found.map((other) => {
    const better = other.roc_auc_difference;
    const facts = [
      ["Model", html("code", { title: other.model_version }, other.model_version.slice(0, 12))],
      ["Rows beside", count(other.rows)],
      ["Mean difference", other.mean_difference === null ? "–" : `${other.mean_difference >= 0 ? "+" : "−"}${percent(Math.abs(other.mean_difference))} of probability`],
      ["ROC-AUC, difference", better ? `${better.value.toFixed(3)} (${better.low.toFixed(3)} to ${better.high.toFixed(3)})` : "not enough outcomes yet"],
    ];
    const list = html("dl", { class: "facts" }, facts.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
    return [list, ...shown(other.evidence, [["challenger", "current", "the challenger's log loss is lower"], ["champion", "before", "the model's that answers is lower"]], view.room(size))];
  }));
}

/** A sentence and a chart of evidence: `sides` are [name in the path, class, words]. Nothing where there is none. */
function shown(found, sides, room) {
  if (!found?.rows) return [];
  const lines = sides.map(([name, kind, words]) => ({ kind, words, values: found.path.map((point) => point[name]) }));
  return [html("p", { class: "small" }, found.text), evidence(found.path, { lines, room, label: `Evidence after each of ${plural(found.rows, "outcome")}` }), legend(lines.map(({ kind, words }) => [kind, words]))];
}

// What is, and what happened

function replica({ facts }) {
  const now = facts.replica;
  const version = (sha256) => (sha256 ? html("code", { title: sha256 }, sha256.slice(0, 12)) : "none");
  const wanted = now.wanted?.sha256 ?? now.wanted;
  const rows = [
    ["State", chip(now.ready ? (now.confirmed ? "stable" : "drifted") : "bad", now.ready ? (now.confirmed ? "answers, and is confirmed" : "answers, not confirmed") : "does not answer")],
    ["Answers with", version(now.model_version)],
    ["Wanted", typeof wanted === "string" ? version(wanted) : "not known"],
    ["Switch", String(now.generation)],
    now.since ? [now.confirmed ? "Confirmed since" : "Not confirmed since", when(Date.parse(now.since))] : null,
    now.why_not ? ["Why", now.why_not] : null,
    now.trouble ? ["Trouble", now.trouble] : null,
    now.refusal ? ["Last refusal", `${now.refusal.model_version.slice(0, 12)}, ${when(Date.parse(now.refusal.time))}: ${now.refusal.kind ?? "refused"}: ${now.refusal.reason}`] : null,
    now.probation ? ["On probation", `until ${when(Date.parse(now.probation.until))}; ${now.probation.fallback.slice(0, 12)} is ready to take over again`] : null,
  ];
  return card("This replica", 6, html("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value)))));
}

const KINDS = { switch: ["shifted", "swap"], refusal: ["bad", "refused"], deployment: ["", "deployment"], erasure: ["", "erasure"] };

function events({ facts }) {
  if (!facts.events.length) return card("What happened", 6, empty("Nothing yet. Swaps, refusals, deployments and erasures are listed here."));
  const rows = facts.events.map(({ time, kind, text }) => {
    const [status, words] = KINDS[kind] ?? ["", kind];
    return html("li", {}, html("time", { class: "muted small", datetime: time }, when(Date.parse(time))), html("span", {}, chip(status, words), " ", text));
  });
  return card("What happened", 6, html("ol", { class: "events", tabindex: "0", "aria-label": "Events, latest first" }, rows));
}

function glossary() {
  const words = [
    ["Expected rate", "The mean of the probabilities: the share of cases that is to be expected."],
    ["PSI", "Population stability index: how differently two groups of rows are spread. Below 0.1 is little, above 0.25 is much. It says that something is different, not that it matters."],
    ["q", "How often a difference as large would come by chance, allowing for all features being looked at together (Benjamini-Hochberg)."],
    ["Moves the log-odds", "What the difference does to the average score. A feature may drift a lot and matter little."],
    ["Evidence", "An e-value: how often a bet that a statement is wrong has multiplied its stake. Where the statement is true, it ever reaches 20 in at most 5 of 100 cases, however often one looks."],
    ["Estimated ROC-AUC", "How well the model would rank if its probabilities are right: an estimate before outcomes are known, no measurement."],
  ];
  return html("section", { class: "card" }, html("details", { id: "glossary" }, html("summary", {}, "What these words mean"), html("dl", { class: "glossary small" }, words.map(([word, meaning]) => [html("dt", {}, word), html("dd", {}, meaning)]))));
}

export const SECTIONS = [overview, traffic, drift, scores, performance, replica, events, challengers, requests, glossary];
