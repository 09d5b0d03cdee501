// One case as it is typed: the form is sent, the page comes back with the answer, and the parts that are live are taken from it.

import { headers, on, origin, report, say } from "./page.js";

const PAUSE = 150; // milliseconds after the last key
const form = document.getElementById("case");
const fields = document.getElementById("fields");
const curveOf = form.querySelector("input[name=curve]"); // the feature whose curve is shown
const said = document.getElementById("said");
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
  if (all || page.body.dataset.generation !== filled) refill(page, all);
  const focused = document.activeElement;
  stale(false);
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    if (fresh) {
      if (old.outerHTML !== fresh.outerHTML) old.replaceWith(fresh);
    } else old.classList.add("stale");
  }
  for (const input of fields.querySelectorAll("[name]")) {
    const fresh = page.getElementById(input.id);
    input.toggleAttribute("aria-invalid", Boolean(fresh?.hasAttribute("aria-invalid")));
    if (input.hasAttribute("aria-invalid")) input.setAttribute("aria-invalid", "true");
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

function set(feature, value) {
  const input = [...fields.querySelectorAll("[data-feature]")].find((one) => one.dataset.feature === feature);
  if (!input || input.value === String(value)) return;
  input.value = value;
  ask();
}

/** The value under the pointer, at the input's own step. */
function under(event, curve, data, input) {
  const box = curve.getBoundingClientRect();
  const [low, high] = [data.values[0], data.values.at(-1)];
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  const step = Number(input.step) || (high - low) / 200;
  const value = Math.round((low + share * (high - low)) / step) * step;
  return Number(Math.min(Math.max(value, low), high).toPrecision(6));
}

/** Move the mark at once; the answer follows. */
function preview(curve, data, value) {
  let at = data.values.findLastIndex((known) => known <= value);
  at = Math.max(at, 0);
  const [low, high] = [data.values[0], data.values.at(-1)];
  const left = `${(100 * (value - low)) / (high - low)}%`;
  const mark = curve.querySelector(".mark");
  mark.removeAttribute("visibility");
  mark.querySelector("circle").setAttribute("cx", left);
  mark.querySelector("circle").setAttribute("cy", data.heights[at]);
  for (const end of ["x1", "x2"]) mark.querySelector(".drop").setAttribute(end, left);
  document.querySelector("#whatif .here").textContent = data.percents[at];
  document.querySelector("#whatif .here-value").textContent = value.toLocaleString("en");
}

function drag(event) {
  const curve = event.target.closest(".curve");
  if (!curve || event.button !== 0) return;
  const feature = curve.dataset.feature;
  const data = JSON.parse(curve.dataset.curve);
  const input = [...fields.querySelectorAll("[data-feature]")].find((one) => one.dataset.feature === feature);
  if (!input) return;
  event.preventDefault();
  const move = (now) => {
    const value = under(now, curve, data, input);
    preview(curve, data, value);
    input.value = value;
  };
  const stop = () => {
    document.removeEventListener("pointermove", move);
    ask();
  };
  move(event);
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerup", stop, { once: true });
  document.addEventListener("pointercancel", stop, { once: true });
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
document.getElementById("key")?.addEventListener("change", ask);
on("swap", ask);
on("back", ask);
on("away", () => stale(true));
offerCopies();
