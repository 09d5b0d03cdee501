// Charts over time: bars that stand on each other, lines, and marks for what happened.

import { html, svg } from "./dom.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [46, 6, 14, 22];

/** A chart of a series {start, step_seconds}. `stacks` are [{name, values, kind, strength}], summed from the bottom up; `lines` are [{name, values,
 * kind}], with gaps where a value is null; `marks` are [{time, text}]; `format` writes a value of the vertical axis; `level` is a value
 * to compare with, {value, name}. `label` says for those who do not see it what the chart shows. */
export function series({ start, step_seconds: step }, { caption, label, room, stacks = [], lines = [], marks = [], level = null, format, height = 150 }) {
  const width = Math.max(280, room);
  const all = [...stacks, ...lines];
  const steps = all[0]?.values.length ?? 0;
  const totals = Array.from({ length: steps }, (_, i) => stacks.reduce((sum, { values }) => sum + (values[i] ?? 0), 0));
  const most = Math.max(...totals, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)), level?.value ?? 0);
  const ticks = rounds(most);
  const top = ticks.at(-1);
  const begin = Date.parse(start);
  const x = (i) => LEFT + (i / steps) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
  const inside = ({ time }) => Date.parse(time) >= begin && Date.parse(time) <= begin + steps * step * 1000;
  const drawn = [
    ticks.map((value) => [svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }), svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value))]),
    bars(stacks, { x, y, begin, step, format }),
    lines.map(({ values, kind, name }) => svg("path", { class: `line ${kind}`, d: path(values, (i) => x(i + 0.5), y) }, svg("title", {}, name))),
    level ? [svg("line", { class: "level", x1: LEFT, x2: width - RIGHT, y1: y(level.value), y2: y(level.value) }), svg("text", { class: "level-name", x: LEFT + 4, y: y(level.value) + 14 }, level.name)] : [],
    marks.filter(inside).map(({ time, text }) => {
      const at = x((Date.parse(time) - begin) / (step * 1000));
      return svg("g", { class: "event" }, svg("title", {}, `${when(Date.parse(time))}: ${text}`), svg("line", { x1: at, x2: at, y1: TOP - 4, y2: height - BOTTOM }), svg("circle", { cx: at, cy: TOP - 6, r: 4 }));
    }),
    times(begin, step, steps, width).map(([i, text]) => svg("text", { x: x(i), y: height - 6, "text-anchor": "middle" }, text)),
    svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }),
  ];
  return html("figure", { class: "chart" }, html("figcaption", {}, caption), svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, drawn.flat(Infinity)));
}

function bars(stacks, { x, y, begin, step, format }) {
  const below = [];
  return stacks.map(({ name, values, kind, strength = 1 }) =>
    values.map((value, i) => {
      if (!value) return null;
      const from = below[i] ?? 0;
      below[i] = from + value;
      const wide = Math.max(x(i + 1) - x(i) - (x(1) - x(0) > 4 ? 1 : 0), 0.5);
      const shape = { class: `stack ${kind}`, "fill-opacity": strength, x: x(i), y: y(below[i]), width: wide, height: Math.max(y(from) - y(below[i]), 0.5) };
      return svg("rect", shape, svg("title", {}, `${when(begin + i * step * 1000)} · ${name}: ${format(value)}`));
    }),
  );
}

function path(values, x, y) {
  let drawn = "";
  values.forEach((value, i) => {
    if (value === null) return;
    const alone = (values[i - 1] ?? null) === null;
    drawn += `${alone ? "M" : "L"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    if (alone && (values[i + 1] ?? null) === null) drawn += "h0.01";
  });
  return drawn;
}

/** 0, and two to four round values up to one that is not below `most`. */
export function rounds(most) {
  if (!(most > 0)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.2, 0.25, 0.5, 1, 2, 2.5, 5].map((factor) => factor * power).find((size) => most / size <= 3.001);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** [position, text] of about six moments: whole hours, days or weeks. */
function times(begin, step, steps, width) {
  const span = steps * step;
  const every = span <= 6 * 3600 ? 1800 : span <= 2 * 86400 ? 4 * 3600 : span <= 8 * 86400 ? 86400 : 5 * 86400;
  const zone = new Date(begin).getTimezoneOffset() * 60;
  const found = [];
  for (let at = Math.ceil((begin / 1000 - zone) / every) * every + zone; at < begin / 1000 + span; at += every) {
    const date = new Date(at * 1000);
    const text = every < 86400 ? clock(date) : every === 86400 ? date.toLocaleDateString("en", { weekday: "short" }) : date.toLocaleDateString("en", { day: "numeric", month: "short" });
    found.push([(at - begin / 1000) / step, text]);
  }
  const fits = found.filter(([i]) => i > 0.03 * steps && i < 0.97 * steps);
  return width < 420 ? fits.filter((_, i) => i % 2 === 0) : fits;
}

/** A moment, short: the time of today, else with its day. */
export function when(milliseconds) {
  const date = new Date(milliseconds);
  const today = new Date().toDateString() === date.toDateString();
  return today ? clock(date) : `${date.toLocaleDateString("en", { day: "numeric", month: "short" })}, ${clock(date)}`;
}

function clock(date) {
  return date.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** Pairs of bars, [{label, reference, live}] as shares: what training had, and what there is now. */
export function pairs(bins, { label, room, height = 120, names = true }) {
  const width = Math.max(160, room);
  const most = Math.max(...bins.flatMap(({ reference, live }) => [reference ?? 0, live ?? 0]), 0.01);
  const bottom = names ? 18 : 2;
  const wide = width / bins.length;
  const tall = (share) => ((share ?? 0) / most) * (height - bottom - 4);
  const bar = (kind, share, x) => svg("rect", { class: kind, x, y: height - bottom - tall(share), width: Math.max(wide * 0.38, 1), height: tall(share) });
  const drawn = bins.map((bin, i) => svg("g", {}, svg("title", {}, `${bin.label}: ${share(bin.reference)} in training, ${share(bin.live)} now`), bar("then", bin.reference, i * wide + wide * 0.1), bar("now", bin.live, i * wide + wide * 0.5)));
  const ends = names ? [[2, "start", bins[0].label], [width - 2, "end", bins.at(-1).label]].map(([x, anchor, text]) => svg("text", { x, y: height - 4, "text-anchor": anchor }, text)) : [];
  return svg("svg", { class: "pairs", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, drawn, ends, svg("line", { class: "axis", x1: 0, x2: width, y1: height - bottom, y2: height - bottom }));
}

function share(value) {
  return value === null ? "–" : `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
}

const ENOUGH = 20; // the evidence that is asked for

/** Evidence after more and more outcomes, [{time, rows}]: `lines` are [{values, kind, words}], on a logarithmic axis from 1/100 up, with a line at 20. */
export function evidence(points, { lines, room, label, height = 150 }) {
  const width = Math.max(280, room);
  const log = (value) => Math.log10(Math.max(value, 0.01));
  const top = Math.max(2, ...lines.flatMap(({ values }) => values.map(log)));
  const last = points.at(-1).rows;
  const x = (i) => LEFT + (points[i].rows / last) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - ((log(value) + 2) / (top + 2)) * (height - TOP - BOTTOM);
  const ticks = Array.from({ length: Math.floor(top) + 3 }, (_, i) => i - 2).filter((power) => power % Math.ceil(top / 5) === 0);
  const days = [points[0].time, points.at(-1).time].map((time) => (time ? when(Date.parse(time)) : ""));
  const drawn = [
    ticks.map((power) => [svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(10 ** power), y2: y(10 ** power) }), svg("text", { x: LEFT - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, power < 0 ? `1/${10 ** -power}` : power > 4 ? `1e${power}` : (10 ** power).toLocaleString("en"))]),
    lines.map(({ values, kind, words }) => svg("path", { class: `line ${kind}`, d: path(values, x, y) }, svg("title", {}, words))),
    svg("line", { class: "level", x1: LEFT, x2: width - RIGHT, y1: y(ENOUGH), y2: y(ENOUGH) }),
    svg("text", { class: "level-name", x: LEFT + 4, y: y(ENOUGH) - 4 }, `enough: ${ENOUGH}`),
    svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }),
    svg("text", { x: LEFT, y: height - 6 }, days[0]),
    svg("text", { x: width - RIGHT, y: height - 6, "text-anchor": "end" }, days[1]),
  ];
  return html("figure", { class: "chart evidence" }, html("figcaption", {}, "Evidence, as outcomes became known"), svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, drawn.flat(Infinity)));
}
