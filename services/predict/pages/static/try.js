// One case as it is typed: the form is sent, the page comes back with the answer, and the parts that are live are taken from it.

import { headers, on, origin, report, say } from "./page.js";

const PAUSE = 150; // milliseconds after the last key
const form = document.getElementById("case");
const fields = document.getElementById("fields");
const curveOf = form.querySelector("input[name=curve]"); // the feature whose curve is shown
const said = document.getElementById("said");
const known = new WeakMap(); // what is known along a curve, by its drawing
let timer = 0;
let underway = null;
let filled = document.body.dataset.generation; // of the model that the inputs are of

/** Ask for what is in the form now. Only the answer to the last question counts. */
async function ask() {
  clearTimeout(timer);
  underway?.abort();
  const own = (underway = new AbortController());
  const bad = [...fields.querySelectorAll("input")].filter((input) => input.validity.badInput);
  try {
    const sent = new URLSearchParams(new FormData(form));
    for (const input of bad) sent.set(input.name, "?"); // what is not a number is empty to a script
    const options = { method: "POST", body: sent, headers: headers(), signal: own.signal };
    await take(await fetch("./", options), false);
  } catch (error) {
    if (own.signal.aborted) return;
    report(null);
    stale(true);
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE);
}

/** Take the live parts of a page that came back, and with `all` its inputs too. */
async function take(response, all) {
  if (!(response.headers.get("Content-Type") || "").startsWith("text/html") || response.status === 503) {
    const wait = Number(response.headers.get("Retry-After"));
    if (wait) timer = setTimeout(ask, 1000 * wait);
    else say(`The API answers ${response.status}: this case was not scored.`, "bad");
    stale(true);
    return;
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const focused = document.activeElement;
  const anew = all || page.body.dataset.generation !== filled;
  if (anew) refill(page, all);
  stale(false);
  for (const old of document.querySelectorAll("[data-live]")) {
    if (anew && fields.contains(old)) continue;
    const fresh = page.getElementById(old.id);
    if (fresh) {
      if (old.outerHTML !== fresh.outerHTML) old.replaceWith(fresh);
    } else old.classList.add("stale");
  }
  for (const input of anew ? [] : fields.querySelectorAll("[name]")) {
    if (page.getElementById(input.id)?.hasAttribute("aria-invalid")) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
  document.querySelector(".code").hidden = false;
  restore(focused);
  announce();
  report(origin(response));
}

/** Another model, or an example: its inputs take the place of those that are there. What was typed is kept, but for an example. */
function refill(page, replace) {
  const kept = new Map(replace ? [] : new FormData(form));
  const focused = document.activeElement?.name;
  fields.replaceChildren(...page.getElementById("fields").children);
  for (const input of fields.querySelectorAll("[name]")) {
    const value = kept.get(input.name);
    if (value !== undefined && (input.tagName !== "SELECT" || [...input.options].some((o) => o.value === value))) {
      input.value = value;
    }
  }
  if (focused && form.elements[focused]) form.elements[focused].focus();
  filled = page.body.dataset.generation;
  for (const place of ["title", ".brand", ".lead", "footer"]) {
    document.querySelector(place).replaceChildren(...page.querySelector(place).childNodes);
  }
}

/** The keyboard stays where it was, though the button it was on is another one now. */
function restore(focused) {
  if (!focused || document.contains(focused)) return;
  const { feature, value } = focused.dataset;
  const wanted = focused.name === "curve" ? `#why [value="${CSS.escape(focused.value)}"]` :
    feature ? `#whatif [data-feature="${CSS.escape(feature)}"][data-value="${CSS.escape(value)}"]` :
    focused.dataset.example ? `[data-example="${CSS.escape(focused.dataset.example)}"]` : "";
  if (wanted) document.querySelector(wanted)?.focus({ preventScroll: true });
}

function stale(yes) {
  for (const part of document.querySelectorAll("#verdict, #whatif, #why, #reasons")) part.classList.toggle("stale", yes);
}

function announce() {
  const chance = document.getElementById("probability");
  const words = chance
    ? `${chance.textContent} ${document.querySelector("#verdict .band")?.textContent || ""}`
    : document.querySelector("#verdict h2")?.textContent;
  if (words && said.textContent !== words) said.textContent = words;
}

// What if: which curve is shown follows the input that is being used, and the curve can be dragged

function choose(feature) {
  if (curveOf.value === feature) return;
  curveOf.value = feature;
  ask();
}

function inputOf(feature) {
  return fields.querySelector(`[data-feature="${CSS.escape(feature)}"]`);
}

function set(feature, value) {
  const input = inputOf(feature);
  if (!input || input.value === String(value)) return;
  input.value = value;
  ask();
}

/** What is known along a curve, and the input that it is of. */
function along(curve) {
  if (!known.has(curve)) known.set(curve, JSON.parse(curve.dataset.curve));
  const data = known.get(curve);
  const input = inputOf(curve.dataset.feature);
  return { curve, data, input, low: data.values[0], high: data.values.at(-1) };
}

/** The value under the pointer, at the input's own step; where it is across, and which known value is the last at or before it. */
function under(event, { curve, data, input, low, high }) {
  const box = curve.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  const step = Number(input.step) || (high - low) / 200;
  const rounded = Math.round((low + share * (high - low)) / step) * step;
  const value = Number(Math.min(Math.max(rounded, low), high).toPrecision(6));
  const at = Math.max(data.values.findLastIndex((one) => one <= value), 0);
  return { value, at, left: `${(100 * (value - low)) / (high - low)}%` };
}

function place(line, left) {
  for (const end of ["x1", "x2"]) line.setAttribute(end, left);
}

/** Reading: a line under the pointer, with the probability there. */
function hover(event) {
  const curve = event.buttons ? null : event.target.closest?.(".curve");
  for (const ghost of document.querySelectorAll(".ghost")) ghost.setAttribute("visibility", curve ? "visible" : "hidden");
  if (!curve) return;
  const chart = along(curve);
  const { value, at, left } = under(event, chart);
  place(curve.querySelector(".ghost line"), left);
  const text = curve.querySelector(".ghost text");
  text.setAttribute("x", left);
  text.setAttribute("text-anchor", parseFloat(left) < 20 ? "start" : parseFloat(left) > 80 ? "end" : "middle");
  text.textContent = `${value.toLocaleString("en")}: ${chart.data.percents[at]}`;
}

/** Typing with the pointer: the mark moves at once, the answer follows at the end. */
function drag(event) {
  const curve = event.target.closest(".curve");
  if (!curve || event.button !== 0) return;
  const chart = along(curve);
  const mark = curve.querySelector(".mark");
  const move = (now) => {
    const { value, at, left } = under(now, chart);
    mark.removeAttribute("visibility");
    mark.querySelector("circle").setAttribute("cx", left);
    mark.querySelector("circle").setAttribute("cy", chart.data.heights[at]);
    place(mark.querySelector(".drop"), left);
    document.querySelector("#whatif .here").textContent = chart.data.percents[at];
    document.querySelector("#whatif .here-value").textContent = value.toLocaleString("en");
    chart.input.value = value;
  };
  const stop = () => {
    for (const [name, listener] of [["pointermove", move], ["pointerup", stop], ["pointercancel", stop]]) {
      document.removeEventListener(name, listener);
    }
    ask();
  };
  event.preventDefault();
  move(event);
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerup", stop);
  document.addEventListener("pointercancel", stop);
}

// Copying

function offerCopies() {
  for (const panel of document.querySelectorAll(".panel")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const pre = panel.querySelector("pre");
      try {
        await navigator.clipboard.writeText(pre.textContent);
      } catch { // not over plain HTTP from another host: select it, so that a key copies it
        getSelection().selectAllChildren(pre);
        if (!document.execCommand("copy")) return;
      }
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    panel.append(button);
  }
}

form.addEventListener("input", (event) => {
  if (event.target.dataset.feature) curveOf.value = event.target.dataset.feature;
  soon();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = event.submitter?.name === "curve" ? event.submitter.value : "";
  if (chosen) choose(chosen);
  else ask();
});
form.addEventListener("focusin", (event) => {
  if (event.target.dataset.feature) choose(event.target.dataset.feature);
});
document.addEventListener("click", async (event) => {
  const target = event.target.closest("[data-example], #whatif [data-value]");
  if (!target) return;
  if ("value" in target.dataset) {
    set(target.dataset.feature, target.dataset.value);
    return;
  }
  event.preventDefault();
  try {
    await take(await fetch(target.getAttribute("href")), true);
  } catch {
    report(null);
  }
});
document.addEventListener("pointerdown", drag);
document.addEventListener("pointermove", hover);
document.getElementById("key")?.addEventListener("change", ask);
on("swap", ask);
on("back", ask);
on("away", () => stale(true));
offerCopies();
