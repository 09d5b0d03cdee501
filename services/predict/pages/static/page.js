// What every page shares: it watches which model answers, says so when that changes or the API is away, and keeps the API key.

const POLL = 2000; // milliseconds between looks at /readyz, while the page is visible
const READ = 12_000; // milliseconds that good news stays
const READY = new URL("../../readyz", import.meta.url); // pages lie at several depths, scripts at one
const LOOK_UP = [["predictions", "Look up"], ["deployments", "Deployments"]];
const body = document.body;
const notice = document.getElementById("notice");
const key = document.getElementById("key");
const listeners = { swap: [], away: [], back: [] };
let seen = { version: body.dataset.version, generation: Number(body.dataset.generation) };
let away = false;
let fading = 0;

/** Call `listener` on "swap" (another model answers), "away" (nothing answers) or "back". */
export function on(event, listener) {
  listeners[event].push(listener);
}

/** The headers that carry the API key, where there is one. */
export function headers() {
  return key && key.value ? { "X-API-Key": key.value } : {};
}

/** Say something above the page; `kind` is "good", "bad" or "". What is good goes by itself; an empty text takes it away. */
export function say(text, kind = "") {
  clearTimeout(fading);
  if (kind === "good") fading = setTimeout(() => say(""), READ);
  notice.className = `notice ${kind}`;
  notice.textContent = text;
}

/** Tell of the model that an answer came from, or null where none came. Whatever a page fetches may be reported here. */
export function report(answer, why = "The API does not answer.") {
  if (answer === null) {
    if (!away && seen.version) {
      away = true;
      say(`${why} This page tries again until it does.`, "bad");
      emit("away");
    }
    return;
  }
  if (away) {
    away = false;
    say("The API answers again.", "good");
    emit("back");
  }
  const { version, generation } = answer;
  if (version && (version !== seen.version || generation !== seen.generation)) {
    const before = seen;
    if (!before.version) location.reload();
    seen = answer;
    body.dataset.version = version;
    body.dataset.generation = generation;
    const was = version === before.version ? "which answered before, after another" : `before it was ${before.version.slice(0, 12)}`;
    say(`The model was replaced: ${version.slice(0, 12)} answers now, ${was}.`, "good");
    show("version", version.slice(0, 12), version);
    show("generation", generation);
    emit("swap");
  }
}

/** {version, generation} from the headers of a response. */
export function origin(response) {
  return {
    version: response.headers.get("X-Model-Version") || "",
    generation: Number(response.headers.get("X-Model-Generation")),
  };
}

function show(id, text, title) {
  const element = document.getElementById(id);
  if (!element) return;
  element.textContent = text;
  if (title) element.title = title;
}

function emit(event) {
  for (const listener of listeners[event]) listener();
}

async function look() {
  if (!document.hidden) {
    try {
      const response = await fetch(READY, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      const facts = await response.json();
      if (facts.ready) report({ version: facts.model_version, generation: facts.generation });
      else report(null, "No model answers now.");
    } catch {
      report(null);
    }
  }
}

/** Add the addresses that only some keys have to the navigation, where this tab's key is one of them. */
export function offer() {
  const list = document.querySelector("nav[aria-label=Pages] ul");
  if (!sessionStorage.getItem("looks-up") || !list || list.querySelector(".look-up")) return;
  for (const [address, words] of LOOK_UP) {
    const link = document.createElement("a");
    link.href = new URL(`../../${address}`, import.meta.url);
    link.textContent = words;
    if (location.pathname === link.pathname) link.setAttribute("aria-current", "page");
    const item = document.createElement("li");
    item.className = "look-up";
    item.append(link);
    list.append(item);
  }
}

if (key) {
  offer();
  key.value = sessionStorage.getItem("key") || "";
  key.addEventListener("input", () => sessionStorage.setItem("key", key.value));
}
setInterval(look, POLL);
document.addEventListener("visibilitychange", look);
