// The calculator of capacity.md. `plan` is the only place of the formulae; tests/browser/test_capacity.py calls it.
"use strict";

(() => {
  const WORKERS = 2; // of a replica: it uses as many cores
  const MONTH = 730; // hours

  /**
   * What a load takes. `figures` are those that `make capacity` writes into the page; `asked` has a value for each name of FIELDS.
   * Prices may be null. Returns numbers in the units of RESULTS, null where a price is missing, and `notes`, which are sentences.
   */
  function plan(figures, asked) {
    const share = asked.utilisation / 100;
    const row = asked.format === "arrow" ? figures.arrow_row_ms : figures.json_row_ms;
    const logged = asked.single + asked.rows;
    const api = (asked.single * figures.one_loan_ms + asked.rows * row + logged * figures.log_row_ms) / 1000;
    const proxy = (asked.single * figures.proxy_request_ms + asked.rows * figures.proxy_row_ms) / 1000;
    const replicas = Math.max(1, Math.ceil(api / share / WORKERS)) + asked.spare;
    const idle = replicas * figures.replica_idle_cores + figures.model_idle_cores;
    const cores = replicas * WORKERS + (proxy + figures.model_idle_cores) / share;
    const replica = asked.rows > 0 ? figures.replica_batch_mb : figures.replica_mb;
    const memory = (replicas * replica + figures.proxy_mb + figures.model_mb) / share / 1000;
    const disk = (logged * asked.hours * 3600 * asked.days * asked.bytes) / share / 1e9;
    const coreHours = (asked.bookRows * figures.books[asked.book].core_seconds_per_row) / 3600;
    const bookHours = coreHours / asked.bookCores;
    const bookCoreHours = coreHours * asked.bookRuns;
    const cost = total([
      [cores * MONTH + bookCoreHours, asked.corePrice],
      [memory * MONTH, asked.memoryPrice],
      [disk, asked.diskPrice],
    ]);
    const found = { busy: api + proxy + idle, replicas, cores, memory, logged, disk, bookHours, bookCoreHours, cost };
    return { ...found, notes: notes(figures, asked, found, row) };
  }

  /** The sum of amounts times their prices; null if no price is given. A price that is left out counts as nothing. */
  function total(parts) {
    const priced = parts.filter(([, price]) => price !== null);
    return priced.length ? priced.reduce((sum, [amount, price]) => sum + amount * price, 0) : null;
  }

  function notes(figures, asked, found, row) {
    const said = [];
    const most = ((1000 / figures.log_row_ms) * asked.utilisation) / 100;
    if (found.logged > most) {
      said.push(
        `The log grows by ${text(found.logged)} rows a second. One process brings ${text(most)} into the database at ` +
          'this utilisation, and SQLite takes no second one: see "What to change when".',
      );
    }
    if (found.replicas > figures.replicas_of_a_proxy) {
      said.push(`A proxy has places for ${figures.replicas_of_a_proxy} replicas: make several groups.`);
    }
    if (asked.single >= 1000) {
      const times = (figures.one_loan_ms + figures.log_row_ms) / (row + figures.log_row_ms);
      said.push(`In requests of a thousand, a row takes ${text(times)} times less processor time, the log included.`);
    }
    if (asked.bookRuns && found.bookHours > (MONTH / asked.bookRuns)) {
      said.push("The book is not done before it is due again: use more cores.");
    }
    const missing = ["corePrice", "memoryPrice", "diskPrice"].filter((name) => asked[name] === null);
    if (found.cost !== null && missing.length) said.push("The cost leaves out what has no price.");
    return said;
  }

  const FIELDS = [
    ["Requests", [
      { name: "single", label: "Single loans", unit: "requests a second", value: 500 },
      { name: "rows", label: "Loans in batches of a thousand", unit: "rows a second", value: 0 },
      { name: "format", label: "Batches are sent as", options: { json: "JSON", arrow: "Arrow" } },
      { name: "utilisation", label: "Plan for a utilisation of", unit: "%: the rest is headroom", value: 60, min: 1, max: 100 },
      { name: "spare", label: "Replicas that may fail", unit: "replicas", value: 1, step: 1 },
    ]],
    ["Prediction log", [
      { name: "hours", label: "This load lasts", unit: "hours a day", value: 24, max: 24 },
      { name: "bytes", label: "Size of a logged row", unit: "bytes", from: "log_bytes_per_row" },
      { name: "days", label: "Rows are kept for", unit: "days", value: 365 },
    ]],
    ["Whole books", [
      { name: "bookRows", label: "Rows of a book", unit: "rows", value: 10000000, step: 1 },
      { name: "bookRuns", label: "Scored", unit: "times a month", value: 1 },
      { name: "book", label: "Files", options: "books" },
      { name: "bookCores", label: "Cores for a book", unit: "cores", value: 2, min: 1, step: 1 },
    ]],
    ["Prices, if you want the cost", [
      { name: "corePrice", label: "A core for an hour", unit: "in your currency", optional: true },
      { name: "memoryPrice", label: "A GB of memory for an hour", unit: "in your currency", optional: true },
      { name: "diskPrice", label: "A GB of disk for a month", unit: "in your currency", optional: true },
    ]],
  ];

  const RESULTS = [
    ["busy", "Cores busy at this load", "cores"],
    ["replicas", "Replicas of two workers", "replicas"],
    ["cores", "Cores to provide", "cores"],
    ["memory", "Memory to provide", "GB"],
    ["disk", "Disk of the log", "GB"],
    ["bookHours", "One book takes", "hours"],
    ["bookCoreHours", "Books take", "core-hours a month"],
    ["cost", "Cost", "a month"],
  ];

  /** A number with three digits that count, or all digits before the point. */
  function text(value) {
    if (value === null) return "–";
    const digits = value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
    return value.toLocaleString("en", digits);
  }

  /** Hours as minutes or seconds, where these are easier to read. */
  function duration(hours) {
    if (hours >= 1) return [text(hours), "hours"];
    return hours * 60 >= 1 ? [text(hours * 60), "minutes"] : [text(hours * 3600), "seconds"];
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function control(field, figures) {
    const id = `capacity-${field.name}`;
    if (field.options) {
      const options =
        field.options === "books"
          ? Object.entries(figures.books).map(([key, book]) => [key, book.label])
          : Object.entries(field.options);
      return make("select", { id }, ...options.map(([value, label]) => make("option", { value }, label)));
    }
    const bounds = { min: field.min ?? 0, step: field.step ?? "any", ...(field.max ? { max: field.max } : {}) };
    const value = field.optional ? "" : (field.value ?? figures[field.from]);
    const asked = field.optional ? {} : { required: "" };
    return make("input", { id, type: "number", inputmode: "decimal", "aria-describedby": `${id}-unit`, value, ...bounds, ...asked });
  }

  function line(field, figures) {
    const id = `capacity-${field.name}`;
    const unit = field.unit ? [make("span", { id: `${id}-unit`, class: "unit" }, field.unit)] : [];
    return make("div", { class: "field" }, make("label", { for: id }, field.label), control(field, figures), ...unit);
  }

  /** Build the form below `place`, and calculate at once and with each change. */
  function build(place, figures) {
    const groups = FIELDS.map(([legend, fields]) =>
      make("fieldset", {}, make("legend", {}, legend), ...fields.map((field) => line(field, figures))),
    );
    const form = make("form", { novalidate: "", "aria-label": "Your load" }, ...groups);
    const output = make("output", { "aria-live": "polite", "aria-label": "What it takes" });
    place.replaceChildren(form, output);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => show(form, output, figures));
    show(form, output, figures);
  }

  function show(form, output, figures) {
    const asked = {};
    const wrong = [];
    for (const field of FIELDS.flatMap(([, fields]) => fields)) {
      const input = form.querySelector(`#capacity-${field.name}`);
      const good = input.checkValidity();
      input.setAttribute("aria-invalid", String(!good));
      if (!good) wrong.push(make("li", {}, `${field.label}: ${input.validationMessage}`));
      asked[field.name] = field.options ? input.value : input.value === "" ? null : Number(input.value);
    }
    output.replaceChildren(...(wrong.length ? [make("ul", { class: "wrong" }, ...wrong)] : answer(plan(figures, asked))));
  }

  function answer(found) {
    const lines = RESULTS.map(([name, label, unit]) => {
      const [number, of] = name === "bookHours" ? duration(found[name]) : [text(found[name]), unit];
      const value = name === "cost" && found.cost === null ? "enter a price" : `${number} ${of}`;
      return make("div", {}, make("dt", {}, label), make("dd", { "data-result": name }, value));
    });
    const said = found.notes.map((note) => make("li", {}, note));
    return [make("dl", {}, ...lines), ...(said.length ? [make("ul", { class: "notes" }, ...said)] : [])];
  }

  window.capacity = { plan, FIELDS };
  const start = () => {
    const place = document.getElementById("calculator");
    const figures = document.getElementById("capacity-figures");
    if (place && figures) build(place, JSON.parse(figures.textContent));
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
