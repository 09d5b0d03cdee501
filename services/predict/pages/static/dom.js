// Makes elements. Text only ever becomes text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children (elements, text, or null for nothing). */
export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** 12345 as "12,345". */
export function count(value) {
  return Math.round(value).toLocaleString("en");
}

/** 0.02214 as "2.2 %": three digits at most, and no more than the value needs. */
export function percent(value, digits = null) {
  const of = 100 * value;
  if (of === 0) return "0 %";
  return `${of.toFixed(digits ?? (of !== 0 && of < 1 ? 2 : of < 99.95 ? 1 : 0))} %`;
}

/** "1 row", "2 rows". */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}
