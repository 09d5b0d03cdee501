// How a book's probabilities and bands are spread.

import { count, html, percent, svg } from "./dom.js";

const [HEIGHT, LEFT, BOTTOM, TOP] = [210, 4, 26, 22];

/** Bars of equal width, with the borders of the model's bands; `room` is how wide the chart will be, in pixels. */
export function histogram({ top, counts }, model, room) {
  const width = Math.max(260, Math.min(room, 800));
  const highest = Math.max(...counts, 1);
  const inner = width - 2 * LEFT;
  const x = (p) => LEFT + (p / top) * inner;
  const y = (rows) => HEIGHT - BOTTOM - (rows / highest) * (HEIGHT - BOTTOM - TOP);
  const wide = inner / counts.length;
  const bars = counts.map((rows, i) => {
    const from = (i / counts.length) * top;
    const to = i === counts.length - 1 ? "more" : percent(((i + 1) / counts.length) * top);
    const bar = svg("rect", { class: "bar", "fill-opacity": strength(model, (i + 0.5) * (top / counts.length)), x: LEFT + i * wide + 0.5, y: y(rows), width: wide - 1, height: HEIGHT - BOTTOM - y(rows) });
    return svg("g", {}, svg("title", {}, `${percent(from)} to ${to}: ${count(rows)}`), bar);
  });
  const lines = model.bands.filter(({ upper }) => upper < top).map(({ upper }) => svg("line", { class: "border", x1: x(upper), x2: x(upper), y1: TOP - 6, y2: HEIGHT - BOTTOM }));
  const names = model.bands.map(({ label, upper }, i) => {
    const from = i ? x(model.bands[i - 1].upper) : LEFT;
    const to = Math.min(x(upper), width - LEFT);
    return to - from > 7 * label.length ? svg("text", { class: "name", x: (from + to) / 2, y: TOP - 10, "text-anchor": "middle" }, label) : null;
  });
  const round = (p) => `${Number((100 * p).toFixed(2))} %`;
  const ticks = (width < 420 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((part) =>
    svg("text", { class: "tick", x: x(part * top), y: HEIGHT - 8, "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" }, part === 1 && top < 1 ? `${round(top)} and more` : round(part * top)),
  );
  const label = `How many rows have which probability, from 0 to ${percent(top)} and more.`;
  return html("figure", { class: "chart" }, html("figcaption", {}, "Rows by probability"), svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, bars, lines, names, ticks, svg("line", { class: "axis", x1: LEFT, x2: width - LEFT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM })));
}

/** The riskier a band, the stronger its colour. */
function strength({ bands }, p) {
  const at = bands.findIndex(({ upper }) => p <= upper);
  return bands.length < 2 ? 1 : 0.35 + (0.65 * at) / (bands.length - 1);
}

/** One row per band: how many, beside the share and the observed rate in training. */
export function bandTable({ bands, scored }, model) {
  const most = Math.max(...bands.map(([, rows]) => rows / scored), ...model.bands.map(({ share }) => share ?? 0), 0.01);
  const rows = bands.map(([label, rows], i) => {
    const { upper, rate, share } = model.bands[i] ?? { upper: 1, rate: null, share: null };
    const from = i ? model.bands[i - 1].upper : 0;
    const part = rows / scored;
    const bar = svg("svg", { class: "meter", viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "ground", width: 100, height: 12, rx: 2 }),
      svg("rect", { class: "bar", "fill-opacity": strength(model, upper), width: (100 * part) / most, height: 12, rx: 2 }),
      share === null ? null : svg("line", { class: "mark", x1: (100 * share) / most, x2: (100 * share) / most, y1: 0, y2: 12 }));
    return html("tr", {}, html("th", { scope: "row" }, label, html("span", { class: "small muted range" }, upper < 1 ? ` ${percent(from)} to ${percent(upper)}` : ` above ${percent(from)}`)),
      html("td", { class: "number" }, count(rows)), html("td", { class: "number" }, percent(part)), html("td", { class: "meters" }, bar),
      html("td", { class: "number muted" }, share === null ? "–" : percent(share)), html("td", { class: "number muted" }, rate === null ? "–" : percent(rate)));
  });
  const heads = [["Band"], ["Rows", "number"], ["Share", "number"], ["", "meters"], ["In training", "number"], [`Of those, ${model.positive || "the last class"}`, "number"]];
  const head = heads.map(([words, kind]) => (words ? html("th", { scope: "col", class: kind }, words) : html("td", { class: kind })));
  return html("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Rows by band" }, html("table", { class: "bands" }, html("caption", {}, "Rows by band"), html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows)));
}
