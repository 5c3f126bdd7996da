// Answers one JSON request per line: what JSON.stringify, JSON.parse or Date.parse make of it.
import { createInterface } from "node:readline";
import { text, untag } from "./tagged.mjs";

function attempt(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

const answers = {
  stringify: (value) => JSON.stringify(untag(value)),
  parse: (units) => attempt(() => JSON.stringify(JSON.parse(text(units)))),
  date: (iso) => (Number.isNaN(Date.parse(iso)) ? null : Date.parse(iso)),
  iso: (ms) => new Date(ms).toISOString(),
  length: (units) => text(units).length,
};

for await (const line of createInterface({ input: process.stdin })) {
  const [question, subject] = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(answers[question](subject))}\n`);
}
