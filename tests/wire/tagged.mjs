// Builds the JavaScript value of the tagged form that make_vectors.mjs explains.
const view = new DataView(new ArrayBuffer(8));

export function text(units) {
  let result = "";
  for (let start = 0; start < units.length; start += 4096) result += String.fromCharCode(...units.slice(start, start + 4096));
  return result;
}

export function untag(value) {
  if (!Array.isArray(value)) return value;
  const [tag, content] = value;
  if (tag === "s") return text(content);
  if (tag === "a") return content.map(untag);
  if (tag === "o") return Object.fromEntries(content.map(([key, item]) => [text(key), untag(item)]));
  view.setBigUint64(0, BigInt(`0x${content}`));
  return view.getFloat64(0);
}
