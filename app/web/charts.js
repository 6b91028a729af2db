// Line charts and histograms as SVG, each with its figures as a table for those who do not see it.

import { element } from "./common.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 440;
const HEIGHT = 170;
const LEFT = 44;
const BOTTOM = 22;
const TOP = 8;

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Round up to 1, 2, 2.5 or 5 times a power of ten. */
function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= value) * power;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function legend(names) {
  return element("ul", { class: "legend" }, ...names.map((name, index) =>
    element("li", {}, shape("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" },
      shape("rect", { width: 10, height: 10, rx: 2, class: typeof name === "string" ? `fill-${index}` : name.className })),
    typeof name === "string" ? name : name.text)));
}

function table(head, rows) {
  return element("details", {}, element("summary", {}, "As a table"),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures" }, element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))))));
}

/**
 * A chart of one or more lines over time.
 * lines: [{name, values}], values as long as `times`, null where nothing is known. Idle times break a line.
 */
export function lineChart({ title, times, from, to, step, lines, format, most, limit }) {
  const known = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const top = most ?? nice(Math.max(...known, limit !== undefined && limit < 4 * Math.max(...known, 0) ? limit : 0, 0));
  const x = (time) => LEFT + (WIDTH - LEFT - 6) * (time - from) / (to - from);
  const y = (value) => TOP + (HEIGHT - BOTTOM - TOP) * (1 - Math.min(value, top) / top);
  const parts = [0, 0.5, 1].flatMap((share) => [
    shape("line", { x1: LEFT, x2: WIDTH - 6, y1: y(share * top), y2: y(share * top), class: "axis" }),
    shape("text", { x: LEFT - 6, y: y(share * top) + 4, "text-anchor": "end" }, format(share * top)),
  ]);
  for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    const time = from + share * (to - from);
    parts.push(shape("text", { x: x(time), y: HEIGHT - 5, "text-anchor": anchor }, clock(time)));
  }
  if (limit !== undefined && limit <= top) parts.push(shape("line", { x1: LEFT, x2: WIDTH - 6, y1: y(limit), y2: y(limit), class: "limit" }));
  lines.forEach((line, index) => {
    let path = "";
    let last = null;
    times.forEach((time, place) => {
      const value = line.values[place];
      if (value === null || value === undefined) { last = null; return; }
      const joined = last !== null && time - last <= 1.5 * step;
      path += `${joined ? "L" : "M"}${x(time + step / 2).toFixed(1)} ${y(value).toFixed(1)}${joined ? "" : "h0.1"}`;
      last = time;
    });
    if (path) parts.push(shape("path", { d: path, class: `stroke-${index}` }));
  });
  const latest = lines.map((line) => `${line.name} ${line.values.length ? format(line.values.at(-1)) : "–"}`).join(", ");
  return element("figure", { class: "card" }, element("h3", {}, title),
    shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": known.length ? `${title}, at last: ${latest}` : `${title}: nothing yet` }, ...parts),
    legend(lines.map((line) => line.name)),
    table(["Minute", ...lines.map((line) => line.name)],
      times.map((time, place) => [clock(time), ...lines.map((line) => format(line.values[place]))]).reverse()));
}

/** Two histograms side by side: the reference, and the window. */
export function histogram({ label, bins, reference, window, drifted }) {
  const top = Math.max(...reference, ...window, 0.01);
  const wide = (WIDTH - 8) / bins.length;
  const high = (share) => 84 * share / top;
  const parts = bins.flatMap((bin, index) => {
    const x = 4 + index * wide;
    return [
      shape("rect", { x: x + wide * 0.12, width: wide * 0.36, y: 90 - high(reference[index]), height: high(reference[index]), class: "fill-reference" }),
      shape("rect", { x: x + wide * 0.52, width: wide * 0.36, y: 90 - high(window[index]), height: high(window[index]), class: drifted ? "fill-bad" : "fill-0" }),
      shape("text", { x: x + wide / 2, y: 104, "text-anchor": "middle" }, bin.length > 9 ? `${bin.slice(0, 8)}…` : bin),
    ];
  });
  const percentages = (shares) => shares.map((share) => `${(100 * share).toFixed(1)} %`);
  const [before, now] = [percentages(reference), percentages(window)];
  return [
    shape("svg", { viewBox: `0 0 ${WIDTH} 110`, role: "img", "aria-label": `${label}: shares of the reference and of the window` }, ...parts),
    legend([{ text: "reference", className: "fill-reference" }, { text: "window", className: drifted ? "fill-bad" : "fill-0" }]),
    table(["From", "Reference", "Window"], bins.map((bin, index) => [bin, before[index], now[index]])),
  ];
}
