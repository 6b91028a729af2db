// What both pages share: elements, requests, numbers.

export const root = document.body.dataset.root;

export const byId = (id) => document.getElementById(id);

/** Make an element with attributes and children; children that are strings become text, never markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Ask the server; returns the JSON of the reply, or throws an Error whose message is for people. */
export async function ask(path, body) {
  let reply;
  try {
    reply = await fetch(location.origin + root + path, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  let content;
  try {
    content = await reply.json();
  } catch {
    throw new Error(`The server answered ${reply.status} without JSON.`);
  }
  if (!reply.ok) throw new Error(content.detail ?? content.reason ?? `The server answered ${reply.status}.`);
  return content;
}

export const percent = (share, digits = 1) => share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
}

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });

export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);
