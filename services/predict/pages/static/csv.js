// A reader of CSV (RFC 4180): fed text piece by piece, it gives each row as soon as it is whole. What Python's csv module makes of a
// row, it makes of it too, so that the page and the API agree. Time and memory are linear in the text, whatever the text.

const LONGEST = 16 * 1024 * 1024; // characters of one row; a quotation mark that is left open takes in all that follows

/** A row that is too long to be one. `line` is where it begins. */
export class TooLong extends Error {
  constructor(line) {
    super(`The row that begins on line ${line} is longer than 16 MB: a quotation mark may be left open there.`);
    this.line = line;
  }
}

/** Rows are {cells, raw, line, open}: `raw` is the row's own text without its line end, `line` the line it begins on (from 1), `open`
 * whether the text ended inside quotation marks. Lines that are empty are no rows. */
export class Reader {
  constructor(delimiter = ",") {
    this.delimiter = delimiter;
    this.line = 1; // that is being read
    this.pieces = []; // of an unfinished line
    this.pending = 0; // characters in them
    this.start = 1;
    this.inside = false; // quotation marks
    this.cells = [];
    this.cell = "";
    this.raw = "";
  }

  /** The rows that end in `text`. */
  *feed(text) {
    let at = 0;
    const ends = /\r\n?|\n/g;
    if (this.carried) text = "\r" + text;
    this.carried = text.endsWith("\r"); // it may be half of a line end
    const stop = this.carried ? text.length - 1 : text.length;
    for (let end = ends.exec(text); end && end.index < stop; end = ends.exec(text)) {
      const row = this.#whole(text.slice(at, end.index), end[0]);
      if (row) yield row;
      at = ends.lastIndex;
    }
    if (at < stop) {
      this.pieces.push(text.slice(at, stop));
      this.pending += stop - at;
      this.#bound();
    }
  }

  /** The last row, where the text does not end with a line end. */
  *end() {
    const row = this.#whole("", this.carried ? "\r" : "");
    if (row) yield row;
    else if (this.inside) yield this.#row(true);
  }

  #whole(text, ending) {
    if (this.pieces.length) {
      this.pieces.push(text);
      text = this.pieces.join("");
      this.pieces = [];
      this.pending = 0;
    }
    const row = this.#read(text, ending);
    this.line += 1;
    if (!this.inside) this.start = this.line;
    return row;
  }

  #read(text, ending) {
    if (!this.inside) {
      if (text === "") return null;
      if (!text.includes('"')) return { cells: text.split(this.delimiter), raw: text, line: this.start, open: false };
    }
    return this.#quoted(text, ending);
  }

  #quoted(text, ending) {
    this.raw += text;
    for (let at = 0; ; ) {
      if (!this.inside && text[at] === '"') {
        this.inside = true;
        at += 1;
      }
      if (this.inside) {
        const quote = text.indexOf('"', at);
        if (quote < 0) {
          this.cell += text.slice(at) + ending;
          this.raw += ending;
          this.#bound();
          return null;
        }
        this.cell += text.slice(at, quote);
        at = quote + 1;
        if (text[at] === '"') {
          this.cell += '"';
          at += 1;
          continue;
        }
        this.inside = false; // what stands between the closing mark and the delimiter belongs to the cell
      }
      const next = text.indexOf(this.delimiter, at);
      this.cells.push(this.cell + text.slice(at, next < 0 ? text.length : next));
      this.cell = "";
      if (next < 0) return this.#row(false);
      at = next + 1;
    }
  }

  #row(open) {
    if (open) this.cells.push(this.cell);
    const row = { cells: this.cells, raw: this.raw, line: this.start, open };
    this.cells = [];
    this.cell = "";
    this.raw = "";
    this.inside = false;
    return row;
  }

  #bound() {
    if (this.raw.length + this.pending > LONGEST) throw new TooLong(this.start);
  }
}

/** Cells as a line of CSV, without a line end. */
export function line(cells, delimiter = ",") {
  return cells.map((cell) => quote(cell, delimiter)).join(delimiter);
}

function quote(cell, delimiter) {
  return cell.includes('"') || cell.includes("\n") || cell.includes("\r") || cell.includes(delimiter)
    ? `"${cell.replaceAll('"', '""')}"`
    : cell;
}

/** Whether a spreadsheet may run a cell as a formula: it begins like one and is no number. */
export function isFormula(cell) {
  return /^[=+\-@\t\r]/.test(cell) && !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(cell);
}

/** The cell as text that no spreadsheet runs. */
export function tame(cell) {
  return isFormula(cell) ? `'${cell}` : cell;
}
