// Checks a book against the model's schema before anything is sent, in the words of the API itself: it is given them.

const SPACE = "[ \\t\\n\\v\\f\\r\\x1c-\\x1f]*";
const NUMBER = new RegExp(`^${SPACE}[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?${SPACE}$`);
const COMMA = /^\s*[+-]?\d+,\d+\s*$/;
const CLOSE = 0.6; // how alike two names must be for one to be a misspelling of the other

/** `model` is what the page's server says of the current model (`batch/model.json`). */
export class Checker {
  constructor(model, header) {
    this.model = model;
    this.header = header;
    this.places = new Map(header.map((name, i) => [name, i]));
    this.plan = model.features
      .filter((feature) => this.places.has(feature.name))
      .map((feature) => ({ ...feature, at: this.places.get(feature.name), known: new Set(feature.categories) }));
    this.id = model.has_id ? (this.places.get("id") ?? -1) : -1;
    this.profile = new Map(this.plan.map((feature) => [feature.name, { empty: 0, bad: 0, unusual: 0 }]));
    this.commas = 0;
  }

  /** What is wrong with the header: [{column, detail}]. */
  problems() {
    const { words, added, features } = this.model;
    const names = features.map((feature) => feature.name);
    const absent = names.filter((name) => !this.places.has(name));
    const found = [];
    for (const name of this.places.keys()) {
      const times = this.header.filter((other) => other === name).length;
      if (times > 1) found.push({ column: name, detail: words.twice });
      if (added.includes(name)) found.push({ column: name, detail: words.added });
      const meant = names.includes(name) ? null : closest(name, names);
      if (meant && absent.includes(meant)) found.push({ column: name, detail: `${words.unknown}; did you mean \`${meant}\`?` });
    }
    for (const { name, required } of features) {
      if (required && !this.places.has(name)) found.push({ column: name, detail: words.missing });
    }
    return found;
  }

  /** The columns that are not the model's, which pass through. */
  others() {
    return [...this.places.keys()].filter((name) => !this.profile.has(name) && this.places.get(name) !== this.id);
  }

  /** What is wrong with a row, in the words of the API's `error` column; null where it can be scored. */
  row({ cells, line, open }) {
    const { words } = this.model;
    if (open) return fill(words.unclosed, line);
    if (cells.length !== this.header.length) return fill(words.cells, cells.length, this.header.length);
    const found = [];
    for (const feature of this.plan) {
      const profile = this.profile.get(feature.name);
      const detail = this.#cell(feature, cells[feature.at], profile);
      if (detail) {
        profile.bad += 1;
        found.push(`${feature.name}: ${detail}`);
      }
    }
    if (this.id >= 0 && longer(cells[this.id], this.model.max_id)) found.push(`id: ${words.id}`);
    return found.length ? found.join("; ") : null;
  }

  #cell(feature, cell, profile) {
    const { words } = this.model;
    if (cell === "") {
      profile.empty += 1;
      return feature.required ? words.empty : null;
    }
    if (feature.kind === "category") {
      if (longer(cell, feature.characters)) return feature.long;
      profile.unusual += feature.known.size > 0 && !feature.known.has(cell);
      return null;
    }
    const value = NUMBER.test(cell) ? Number(cell.replace(/[\x1c-\x1f]/g, "")) : NaN;
    if (!Number.isFinite(value)) {
      this.commas += COMMA.test(cell);
      return words.number;
    }
    if (feature.minimum !== null && value < feature.minimum) return feature.below;
    if (feature.maximum !== null && value > feature.maximum) return feature.above;
    profile.unusual += feature.observed !== null && (value < feature.observed[0] || value > feature.observed[1]);
    return null;
  }
}

function longer(text, limit) {
  return text.length > limit && [...text].length > limit;
}

function fill(pattern, ...values) {
  return pattern.replaceAll("{}", () => values.shift());
}

/** The name that is most like `word`, in whatever case, or null where none is like it: Python's difflib.get_close_matches(…, 1, 0.6). */
export function closest(word, names) {
  const folded = new Map([...names].reverse().map((name) => [name.toLowerCase(), name]));
  let best = null;
  let most = CLOSE;
  for (const name of folded.keys()) {
    const alike = ratio(name, word.toLowerCase());
    if (alike > most || (alike === most && (best === null || name > best))) {
      best = name;
      most = alike;
    }
  }
  return best === null ? null : folded.get(best);
}

function ratio(a, b) {
  const length = a.length + b.length;
  return length ? (2 * matching(a, b)) / length : 1;
}

// Ratcliff and Obershelp: the longest block that both share, and the same to its left and right.
function matching(a, b) {
  let size = 0;
  let [atA, atB] = [0, 0];
  let before = [];
  for (let i = 0; i < a.length; i++) {
    const row = [];
    for (let j = 0; j < b.length; j++) {
      if (a[i] !== b[j]) continue;
      row[j] = (before[j - 1] || 0) + 1;
      if (row[j] > size) [size, atA, atB] = [row[j], i - row[j] + 1, j - row[j] + 1];
    }
    before = row;
  }
  if (size === 0) return 0;
  return size + matching(a.slice(0, atA), b.slice(0, atB)) + matching(a.slice(atA + size), b.slice(atB + size));
}
