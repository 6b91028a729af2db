import { histogram, lineChart } from "./charts.js";
import { ask, byId, capital, element, milliseconds, number, percent } from "./common.js";

const REFRESH = 5000;
const SIGNALS = {
  label: "Labels", language: "Languages", confidence: "Confidence", tokens: "Length in tokens",
  unknown_share: "Unknown tokens", familiar_pairs: "Familiar pairs",
};
const STANDARDS = { latency: "p99 of latency", errors: "Failures here", accuracy: "Accuracy" };
let paused = false;
let report = null;
let drawn = false;

const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

function shown(standard) {
  if (standard.value === null) return "–";
  return standard.name === "latency" ? milliseconds(standard.value) : percent(standard.value, 2);
}

function fact(name, ...values) {
  return [element("dt", {}, name), element("dd", {}, ...values)];
}

function facts() {
  const { model, log, recent } = report;
  const dropped = Object.values(log.dropped ?? {}).reduce((sum, count) => sum + count, 0);
  const entries = [
    fact("Model", model ? [...new Set([model.name, model.version])].join(" ") : "none yet"),
    fact("Digest", model ? model.digest.slice(0, 12) : "–"),
    fact("Status", element("span", { class: report.status === "ready" ? "good" : "bad" }, report.status)),
    fact("Predictions in 5 minutes", number(recent.predictions)),
    fact("Inference log", element("span", { class: log.state === "degraded" ? "bad" : "" }, log.state)),
    fact("Rows received", number(log.received)),
    fact("On their way", number(log.waiting)),
    fact("Dropped", element("span", { class: dropped ? "bad" : "" }, number(dropped))),
  ];
  byId("facts").replaceChildren(...entries.map((entry) => element("div", {}, ...entry)));
}

function alarms() {
  byId("alarms").hidden = report.states.length === 0;
  byId("alarm-list").replaceChildren(...report.states.map((state) =>
    element("li", {}, element("strong", {}, state.name), ` since ${time(state.since)}: ${state.detail}`)));
}

function standards() {
  byId("standards").replaceChildren(...report.standards.map((standard) => element("div", { class: "card" },
    element("h3", {}, STANDARDS[standard.name] ?? standard.name),
    element("div", { class: `figure ${standard.value === null ? "quiet" : standard.missed ? "bad" : "good"}` }, shown(standard)),
    element("p", { class: "quiet small" }, `${standard.missed ? "Missed: " : ""}${standard.detail}`))));
}

function charts() {
  const span = Number(byId("range").value);
  const step = report.window_seconds;
  const [from, to] = [report.now - span, report.now];
  // The minute that is not over yet would look like a fall.
  const whole = report.windows.filter((window) => window.start + step <= to);
  const windows = (whole.some((window) => window.predictions) ? whole : report.windows).filter((window) => window.start + step > from);
  const times = windows.map((window) => Math.max(window.start, from));
  const column = (name, read) => ({ name, values: windows.map(read) });
  const latency = report.standards.find((standard) => standard.name === "latency");
  const totals = {};
  for (const window of windows) for (const [label, share] of Object.entries(window.labels)) totals[label] = (totals[label] ?? 0) + share;
  const labels = Object.keys(totals).sort((one, other) => totals[other] - totals[one]).slice(0, 3).sort();
  const common = { times, from, to, step };
  byId("chart-list").replaceChildren(
    lineChart({ ...common, title: "Requests a minute", format: (value) => number(value), lines: [
      column("predictions", (window) => window.predictions),
      column("refused or failed", (window) => Object.values(window.errors).reduce((sum, count) => sum + count, 0)),
    ] }),
    lineChart({ ...common, title: "Latency", format: milliseconds, limit: latency?.limit, lines:
      ["p50", "p95", "p99"].map((name) => column(name, (window) => window.latency_ms[name])) }),
    lineChart({ ...common, title: "Time in line and in the model, p95", format: milliseconds, lines: [
      column("in line", (window) => window.queue_ms.p95), column("in the model", (window) => window.inference_ms.p95)] }),
    lineChart({ ...common, title: "Share of labels", format: (value) => percent(value, 0), most: 1, lines:
      (labels.length ? labels : ["none yet"]).map((label) => column(label, (window) => window.predictions ? window.labels[label] ?? 0 : null)) }),
    lineChart({ ...common, title: "Confidence and familiar pairs, means", format: (value) => percent(value, 0), most: 1, lines: [
      column("confidence", (window) => window.confidence), column("familiar pairs", (window) => window.familiar_pairs)] }),
    lineChart({ ...common, title: "Tokens of a text, mean", format: (value) => number(value), lines: [
      column("tokens", (window) => window.tokens)] }),
  );
}

function drift() {
  byId("drift-note").textContent = report.drift.length
    ? "The last predictions against the profile that the model's artifact carries. An index over its threshold is a drift."
    : "The model's artifact carries no reference profile, so that drift is not measured.";
  byId("drift").replaceChildren(...report.drift.map((entry) => {
    const name = SIGNALS[entry.signal] ?? entry.signal;
    const verdict = entry.index === null
      ? `${entry.rows} predictions: too few to say anything`
      : `index ${entry.index.toFixed(3)}, threshold ${entry.threshold.toFixed(3)}, ${entry.rows} predictions`;
    return element("div", { class: "card" },
      element("h3", {}, name, entry.drifted ? element("span", { class: "bad" }, " – drifted") : null),
      element("p", { class: "quiet small" }, verdict),
      ...histogram({ label: name, ...entry }));
  }));
}

function accuracy() {
  const { window, versions } = report.accuracy;
  if (!window.rows) {
    byId("accuracy").replaceChildren(element("p", { class: "quiet" }, "No feedback yet. POST the truth to /api/v1/feedback with the id of a prediction."));
    return;
  }
  const row = (name, tally) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, number(tally.rows)),
    element("td", {}, percent(tally.accuracy)), element("td", { class: "nowrap" }, tally.interval.map((end) => percent(end)).join(" to ")),
    element("td", {}, percent(tally.calibration_error)));
  const head = (names) => element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name))));
  const region = (label, table) => element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
  byId("accuracy").replaceChildren(
    region("Accuracy by version", element("table", {}, head(["", "Feedbacks", "Right", "95 % interval", "Calibration error"]), element("tbody", {},
      row("last 500", window), ...Object.entries(versions).map(([version, tally]) => row(version, tally))))),
    element("h3", { id: "confusion" }, "Confusion, last 500"),
    region("Confusion", element("table", {}, head(["Truth", "Predicted", "Times"]), element("tbody", {}, ...window.confusion.map((cell) =>
      element("tr", {}, element("td", {}, cell.truth), element("td", {}, cell.prediction), element("td", {}, number(cell.rows))))))));
}

function predictions() {
  const head = ["Time", "Label", "Confidence", "Tokens", "Took", "Text"];
  byId("predictions").replaceChildren(
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...report.predictions.map((entry) => element("tr", {},
      element("td", { class: "nowrap" }, time(entry.time)), element("td", {}, entry.label ? capital(entry.label) : "–"),
      element("td", {}, percent(entry.confidence)), element("td", {}, number(entry.tokens)),
      element("td", { class: "nowrap" }, milliseconds(entry.milliseconds)),
      element("td", { class: "text" }, entry.text ?? (report.log_text === "none" || report.log_text === "hash" ? `not kept (LOG_TEXT=${report.log_text})` : "–"))))));
}

function changes() {
  byId("changes").replaceChildren(element("tbody", {}, ...(report.changes.length
    ? report.changes.slice(0, 20).map((change) => element("tr", {}, element("td", { class: "nowrap" }, time(change.time)),
      element("td", { class: change.active ? "bad" : "good" }, `${change.name} ${change.active ? "began" : "ended"}`), element("td", {}, change.detail)))
    : [element("tr", {}, element("td", { class: "quiet" }, "Nothing since the start."))])));
}

function draw() {
  if (!drawn) {
    drawn = true;
    const age = report.now - Math.min(report.now, ...report.windows.map((window) => window.start));
    byId("range").value = [...byId("range").options].map((option) => option.value).find((span) => Number(span) > age) ?? "21600";
  }
  // Redrawing takes away what is open and where the keyboard is, so both are put back.
  const open = [...document.querySelectorAll("details")].map((details) => details.open);
  const focusable = () => [...document.querySelectorAll("a, button, select, summary, [tabindex]")];
  const focused = focusable().indexOf(document.activeElement);
  for (const part of [facts, alarms, standards, charts, drift, accuracy, predictions, changes]) part();
  const details = [...document.querySelectorAll("details")];
  if (details.length === open.length) details.forEach((entry, index) => { entry.open = open[index]; });
  if (focused >= 0 && !document.activeElement?.matches("a, button, select, summary, [tabindex]")) focusable()[focused]?.focus({ preventScroll: true });
  byId("footer").textContent = `This worker has been up for ${number(report.uptime_seconds / 60)} minutes. `
    + (report.feedback_key_shared ? "" : "FEEDBACK_KEY is not set: feedback is taken for this instance's predictions only. ");
}

async function refresh() {
  if (!paused && !document.hidden) {
    try {
      report = await ask("/api/v1/monitor");
      byId("status").textContent = `As of ${time(report.now)}`;
      byId("status").className = "quiet";
      draw();
    } catch (error) {
      byId("status").textContent = error.message;
      byId("status").className = "bad";
    }
  }
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").textContent = paused ? "Go on" : "Pause";
  byId("pause").setAttribute("aria-pressed", String(paused));
  refresh();
});
byId("range").addEventListener("change", () => { if (report) draw(); });
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH);
refresh();
