// The pages of logged predictions and of deployments. Where they need a key, this asks for each of them with the key, because a browser sends none by
// itself, and puts it in the place of the one before; the key is never in an address. Without keys, links and the form do it all.

import { headers, offer, say } from "./page.js";

const ROOTS = ["predictions", "deployments"].map((name) => new URL(`../../${name}`, import.meta.url).pathname);
const TAKEN = ["title", ".brand", "nav[aria-label=Pages]", "main", "footer"];
const key = document.getElementById("key");
let asked = null; // the request that is under way

/** Whether an address is one of these pages. */
const mine = (url) =>
  url.origin === location.origin &&
  ROOTS.some((root) => url.pathname === root || [".json", "/"].some((end) => url.pathname.startsWith(root + end)));

/** Ask for a page with the key and show it; `add` it to the browser's history. */
async function open(url, add) {
  asked?.abort();
  const own = (asked = new AbortController());
  try {
    const response = await fetch(url, { headers: { ...headers(), Accept: "text/html" }, cache: "no-store", signal: own.signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!page.querySelector("[data-lookup]")) {
      say(response.status === 404 ? "This key does not open this address." : `The API answers ${response.status}.`, "bad");
      return;
    }
    sessionStorage.setItem("looks-up", "yes");
    if (add) history.pushState(null, "", url);
    show(page);
  } catch {
    if (!own.signal.aborted) say("The API does not answer; try again.", "bad");
  }
}

function show(page) {
  say("");
  for (const sheet of page.querySelectorAll("link[rel=stylesheet]")) {
    const href = new URL(sheet.getAttribute("href"), location.href).href;
    if ([...document.styleSheets].some((known) => known.href === href)) continue;
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = href;
    document.head.append(link);
  }
  for (const place of TAKEN) document.querySelector(place).replaceWith(page.querySelector(place));
  offer();
  printable();
  document.querySelector("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** Save what is at an address as a file. */
async function save(link) {
  try {
    const response = await fetch(link.href, { headers: headers(), cache: "no-store" });
    if (!response.ok) throw new Error();
    const file = document.createElement("a");
    file.href = URL.createObjectURL(await response.blob());
    file.download = link.download;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
  } catch {
    say("This cannot be saved now; try again.", "bad");
  }
}

function follow(event) {
  const link = event.target.closest("a[href]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || !mine(new URL(link.href))) return;
  event.preventDefault();
  if (link.hasAttribute("download")) save(link);
  else open(link.href, true);
}

function search(event) {
  if (!event.target.matches("form.search")) return;
  event.preventDefault();
  const typed = [...new FormData(event.target)].filter(([, text]) => text);
  open(`${event.target.action}?${new URLSearchParams(typed)}`, true);
}

/** Printing and copying need this script, so their buttons are there only now. */
function printable() {
  for (const button of document.querySelectorAll("[data-print], [data-copy]")) button.hidden = false;
}

/** Copy the command that a button stands next to; where this is not allowed, select it. */
async function copy(button) {
  const text = button.parentElement.querySelector("pre");
  try {
    await navigator.clipboard.writeText(text.textContent);
    say("Copied.");
  } catch { // not over plain HTTP from another host: select it, so that a key copies it
    getSelection().selectAllChildren(text);
    say(document.execCommand("copy") ? "Copied." : "Selected: copy it with the keyboard.");
  }
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
printable();
if (key) {
  document.addEventListener("click", follow);
  document.addEventListener("submit", search);
  addEventListener("popstate", () => open(location.href, false));
  key.addEventListener("change", () => open(location.href, false));
  if (key.value && !document.querySelector("[data-lookup]")) open(location.href, false);
}
