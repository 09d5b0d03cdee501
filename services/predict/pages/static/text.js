// From a file to text: which encoding it is in, what separates its columns, and what is no text at all.

const HEAD = 64 * 1024; // bytes that are looked at first

/** A file that cannot be read as a book; the message says why and what to do. */
export class Unreadable extends Error {}

/** {encoding, delimiter, mark} of a file: what it begins with tells. Throws Unreadable. */
export async function sniff(file, model) {
  if (file.size === 0) throw new Unreadable("The file is empty.");
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const starts = (...bytes) => bytes.every((byte, i) => head[i] === byte);
  if (starts(0x50, 0x4b, 3, 4)) {
    throw new Unreadable("This is a workbook or a zip archive, not CSV. In a spreadsheet program, save the sheet as “CSV UTF-8” first.");
  }
  if (starts(0xd0, 0xcf, 0x11, 0xe0)) {
    throw new Unreadable("This is an old Excel workbook, not CSV. In a spreadsheet program, save the sheet as “CSV UTF-8” first.");
  }
  let encoding = "utf-8";
  if (starts(0xff, 0xfe)) encoding = "utf-16le";
  else if (starts(0xfe, 0xff)) encoding = "utf-16be";
  else if (head.includes(0)) throw new Unreadable("This is no text: it holds bytes that are zero. A book is a CSV file.");
  const text = new TextDecoder(encoding).decode(head);
  const mark = encoding !== "utf-8" || starts(0xef, 0xbb, 0xbf);
  return { encoding, mark, delimiter: separator(text, model), guessed: 0 };
}

/** What the first line's names are separated by: the separator that gives most of the model's columns; a comma in doubt. */
function separator(text, model) {
  const first = text.replace(/^[\ufeff\r\n]+/, "").split(/[\r\n]/, 1)[0].replaceAll('"', "");
  const said = /^sep=(.)$/.exec(first);
  if (said) return said[1];
  const names = new Set(model.features.map((feature) => feature.name));
  const found = (delimiter) => first.split(delimiter).filter((name) => names.has(name)).length;
  let best = ",";
  for (const delimiter of [";", "\t", "|"]) if (found(delimiter) > found(best)) best = delimiter;
  return best;
}

/** The file's text, piece by piece, as {text, read}: bytes that were read so far. What is not in the encoding throws a TypeError
 * whose `line` says where; `reader` knows how far it came. */
export async function* texts(file, format, reader) {
  const decoder = new TextDecoder(format.encoding, { fatal: true });
  const source = file.stream().getReader();
  let read = 0;
  try {
    for (;;) {
      const { done, value } = await source.read();
      if (done) break;
      read += value.length;
      yield { text: decode(decoder, value, { stream: true }, format, reader), read };
    }
    yield { text: decode(decoder, undefined, {}, format, reader), read };
  } finally {
    source.cancel().catch(() => {});
  }
}

function decode(decoder, bytes, options, format, reader) {
  try {
    return decoder.decode(bytes, options);
  } catch (error) {
    if (format.encoding !== "utf-8") throw new Unreadable(`The file is not valid ${format.encoding.toUpperCase()}.`);
    const shown = new TextDecoder().decode(bytes);
    const wrong = Math.max(shown.indexOf("\ufffd"), 0);
    error.line = reader.line + (shown.slice(0, wrong).match(/\r\n?|\n/g) || []).length;
    throw error;
  }
}

/** What the first row says of the columns; where none is the model's, that it is probably no header. */
export function columnsOf(checker, row) {
  const found = checker.plan.length;
  const header = checker.problems();
  if (found === 0) {
    const numbers = row.cells.some((cell) => /^\s*[+-]?\d/.test(cell));
    const detail = numbers
      ? "The first row looks like data. It must name the columns."
      : "The first row names none of the model's columns.";
    header.unshift({ column: "", detail });
  }
  const absent = checker.model.features.filter((feature) => !checker.places.has(feature.name)).map((feature) => feature.name);
  return { header, found, others: checker.others(), absent, has_id: checker.id >= 0 };
}
