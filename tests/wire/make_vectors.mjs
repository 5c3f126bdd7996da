// Writes vectors.json: what JavaScript makes of values, texts and dates. Run `node tests/wire/make_vectors.mjs` from the checkout.
//
// A value is written in tagged form, so that nothing is lost on the way: ["n", <hex of the float64>], ["s", [<UTF-16 units>]],
// ["o", [[<units>, value], …]], ["a", [value, …]], or true, false, null.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { untag } from "./tagged.mjs";

process.env.TZ = "UTC";

let seed = 20260603;
function random(limit) {
  seed = (Math.imul(seed ^ (seed >>> 15), seed | 1) + 0x6d2b79f5) | 0;
  const mixed = Math.imul(seed ^ (seed >>> 7), 61 | seed) ^ seed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
}

const view = new DataView(new ArrayBuffer(8));
function number(value) {
  view.setFloat64(0, value);
  return ["n", view.getBigUint64(0).toString(16).padStart(16, "0")];
}
const units = (text) => Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));
const string = (text) => ["s", units(text)];

const numbers = [
  0, -0, 1, -1, 10, 0.1, 0.5, 1.5, 100, 1e5, 123456789, 0.1 + 0.2, 1 / 3, 2 / 3, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308,
  1e-4, 9.999e-5, 1e-5, 1.2e-5, 1e-6, 9.999999e-7, 1e-7, 1.5e-7, 1e15, 1e16, 1e17, 123456789012345680000, 1e20, 1e21, 1.5e300, 1e22,
  999999999999999900000, 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 53, 2 ** 60, 2 ** 70, 4294967295, 0.000001, 0.0000123456789, NaN, Infinity, -Infinity,
  1780444800123, 0.30000000000000004, 4.35, 1.005, 1e-10, 123e-20, 5e-7, 1.2345678901234567e19,
].flatMap((value) => [value, -value]);
for (let index = 0; index < 400; index += 1) {
  view.setUint32(0, random(2 ** 32));
  view.setUint32(4, random(2 ** 32));
  numbers.push(view.getFloat64(0));
}
for (let index = 0; index < 200; index += 1) numbers.push((random(2 ** 31) + 1) * 10 ** (random(36) - 18));

const strings = [
  "", "a", '"', "\\", "/", "\b\t\n\f\r", "\u0000\u0001\u001f", "\u007f\u0080\u009f", "\u2028\u2029", "é", "日本", "😀", "\ud800", "\udfff", "\udc00\ud800",
  "a\ud83d", "\ud83db", "\ud83d\ude00\ude00", "\ufeff", "\uffff", "\u{10ffff}", "<script>", "it's", "‮", "e\u0301",
];
for (let index = 0; index < 100; index += 1) {
  strings.push(String.fromCharCode(...Array.from({ length: random(12) }, () => (random(4) ? random(0x180) : 0xd700 + random(0x1100)))));
}

const keySets = [
  ["b", "a", "10", "9", "01"], ["a", "4294967295", "4294967294", "0", "-1", "1.5", "1e3", ""], ["2", "1", "__proto__", "constructor", "toString"],
  ["00", "0", "1", "10", "2", "٣"], ["z", "9007199254740993", "99999999999"], ["é", "\ud800", "😀", "\u0000"],
];

const values = [
  ...numbers.map(number), ...strings.map(string), true, false, null, ["a", []], ["o", []],
  ...keySets.map((keys) => ["o", keys.map((key, index) => [units(key), number(index)])]),
  ["a", [["o", [[units("a"), ["a", [null, true, string("x")]]], [units("0"), ["o", []]]]], number(1.5)]],
].map((value) => ({ value, text: JSON.stringify(untag(value)) }));

const texts = [
  '{"b":1,"a":2,"10":3,"9":4,"01":5}', '{"a":1,"a":2,"b":3,"a":4}', '{"\\u0031":1,"0":2,"a":3}', '{"1":1,"a":2,"1":3}', " [ 1 , 2 ] ", "1", "-0", "0", "1.0", "1e2",
  "1E400", "-1e400", "1e-400", "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993", "123456789012345678901234567890",
  "100000000000000000000", "1e21", "0.1", "1.50", '"\\ud83d\\ude00"', '"\\ud800"', '"\\uD800x"', '"\\/"', '"\\u007f"', "[]", "{}", "null", "true", "false", "NaN", "Infinity",
  "-Infinity", "undefined", "", " ", "[1,]", '{"a":1,}', "01", "+1", ".5", "1.", "'a'", '"\u0001"', '"\u007f"', '"\u2028"', "\ufeff1", "[1] x", '{"a"}', "1e", "--1", '"\\x41"',
  '{"__proto__":{"1":1,"0":2}}', "[[[]]]", '{"4294967294":1,"4294967295":2,"0":3}', "\u00a0 1", "\f1", '"\ud800"', "0x10", "1_000", '"\\u00e9"', "-", "[", '"', "nul",
].map((text) => {
  try {
    return { text: units(text), canonical: JSON.stringify(JSON.parse(text)) };
  } catch {
    return { text: units(text), canonical: null };
  }
});

const dates = [
  "2026", "2026-06", "2026-06-03", "2026-06-03Z", "2026Z", "2026-06-03T00:00Z", "2026-06-03T12:34:56Z", "2026-06-03T12:34:56.7Z", "2026-06-03T12:34:56.789Z",
  "2026-06-03T12:34:56.7899999Z", "2026-06-03T12:34:56.123456789012345678901234567890Z", "2026-06-03T12:34:56+02:00", "2026-06-03T12:34:56-11:30",
  "2026-06-03T12:34:56+0530", "2026-06-03T12:34:56-00:00", "2026-06-03T12:34:56+23:59", "2026-06-03T12:34:56", "2026-06-03T12:34:56.5", "2026-06-03t12:34:56z",
  "2026-06-03 12:34:56Z", "2026-06-03T24:00:00Z", "2026-06-03T24:00:01Z", "2026-06-03T24:00:00.001Z", "2026-06-03T25:00Z", "2026-06-03T23:60Z", "2026-06-03T23:59:60Z",
  "2026-02-29", "2026-02-30", "2024-02-29", "2026-02-32", "2026-04-31T00:00:00.000Z", "2026-00-01", "2026-13-01", "2026-06-00", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
  "9999-12-31T23:59:59.999Z", "+010000-01-01T00:00:00Z", "-000001-01-01T00:00:00Z", "-000000-01-01T00:00:00Z", "+275760-09-13T00:00:00.000Z",
  "+275760-09-13T00:00:00.001Z", "-271821-04-20T00:00:00.000Z", "-271821-04-19T23:59:59.999Z", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", "1900-02-29",
  "2026-06-03T12:34:56+24:00", "2026-06-03T12:34:56+12:60", "2026-06-03T12:34:56+02", "2026-06-03T12Z", "2026-06-03T12:34:56,5Z", "2026-06-03T12:34:56.Z", "2026-06-03T1:00Z",
  " 2026-06-03T12:34:56Z", "2026-06-03T12:34:56Z ", "2026-W01-1", "20260603", "", "now", "2026-06-03T12:34:56 Z",
].map((text) => ({ text, ms: Number.isNaN(Date.parse(text)) ? null : Date.parse(text) }));

const rows = (list) => `[\n${list.map((item) => `  ${JSON.stringify(item)}`).join(",\n")}\n]`;
writeFileSync(
  fileURLToPath(new URL("vectors.json", import.meta.url)),
  `{\n"node": ${JSON.stringify(process.version)},\n"stringify": ${rows(values)},\n"parse": ${rows(texts)},\n"dates": ${rows(dates)}\n}\n`,
);
