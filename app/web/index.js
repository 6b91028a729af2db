import { ask, byId, capital, element, percent, root } from "./common.js";

const EXAMPLES = {
  text: "A warm, funny and beautifully acted film.",
  json: '{"features": [5.1, 3.5, 1.4, 0.2]}',
};
let takesText = true;
let labels = [];

byId("address").textContent = `${location.origin}${root}/predict`;

async function describe() {
  try {
    const model = await ask("/api/v1/model");
    labels = model.labels;
    takesText = model.task === null || model.task === "text-classification";
    byId("model").textContent = `${[...new Set([model.name, model.version])].join(" ")}, digest ${model.digest.slice(0, 12)}`;
    if (!takesText) byId("text-label").textContent = "A request as JSON";
    byId("text").placeholder = takesText ? EXAMPLES.text : EXAMPLES.json;
  } catch (error) {
    byId("model").textContent = error.message;
  }
}

async function predict(event) {
  event.preventDefault();
  const written = byId("text").value || byId("text").placeholder;
  byId("ask").disabled = true;
  byId("problem").hidden = true;
  try {
    const started = performance.now();
    const reply = await ask("/predict", takesText ? { text: written } : JSON.parse(written));
    show(reply, performance.now() - started);
  } catch (error) {
    byId("result").hidden = true;
    byId("problem").textContent = error instanceof SyntaxError ? `This is no JSON: ${error.message}` : error.message;
    byId("problem").hidden = false;
  } finally {
    byId("ask").disabled = false;
  }
}

function show(reply, took) {
  const answer = reply.sentiment ?? reply.label ?? reply.value;
  byId("answer").textContent = answer === undefined ? "Answered" : String(answer);
  const confidences = Object.entries(reply.confidences ?? {}).sort((one, other) => other[1] - one[1]);
  byId("bars").replaceChildren(...confidences.map(([label, share]) => element("div", {},
    element("span", {}, capital(label)),
    element("progress", { value: share, max: 1, "aria-label": `Probability of ${label}` }),
    element("span", {}, percent(share)))));
  const facts = [`${Math.round(took)} ms with the way here`];
  if (reply.tokens !== undefined) facts.unshift(`${reply.tokens} tokens in ${reply.windows} window${reply.windows > 1 ? "s" : ""}`);
  if (reply.truncated) facts.push("the middle of the text was not read");
  byId("facts").textContent = facts.join(", ");
  byId("json").textContent = JSON.stringify(reply, null, 2);
  offerFeedback(reply, answer);
  byId("result").hidden = false;
}

function offerFeedback(reply, answer) {
  const known = labels.length && typeof answer === "string" && typeof reply.id === "string";
  byId("feedback").hidden = !known;
  if (!known) return;
  byId("question").textContent = "What would have been right?";
  byId("truths").replaceChildren(...labels.map((label) => {
    const button = element("button", { type: "button" }, capital(label));
    button.addEventListener("click", () => tell(reply.id, label));
    return button;
  }));
}

async function tell(id, label) {
  try {
    const joined = await ask("/api/v1/feedback", { id, label });
    byId("question").textContent = joined.counted ? "Thank you: it counts towards the live accuracy." : "It was counted before.";
    byId("truths").replaceChildren();
  } catch (error) {
    byId("question").textContent = error.message;
  }
}

byId("form").addEventListener("submit", predict);
byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
describe();
