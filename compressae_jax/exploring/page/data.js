"use strict";
// The data of the page, unpacked: gzip in base64, JSON before arrays, integers laid out byte by byte.

const at = (id) => document.getElementById(id);

const KINDS = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

async function unpacked() {
  if (typeof DecompressionStream === "undefined") throw new Error("this page needs a browser of 2023 or later");
  const letters = atob(at("data").textContent);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const whole = await new Response(stream).arrayBuffer();
  at("data").remove(); // megabytes that nobody reads again
  const size = new DataView(whole).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(whole, 4, size)));
  let start = 4 + size;
  for (const { name, dtype, shape } of data.arrays) {
    const Kind = KINDS[dtype], count = shape.reduce((a, b) => a * b, 1), width = Kind.BYTES_PER_ELEMENT;
    const some = new Uint8Array(whole, start, count * width);
    if (dtype === "float32" || width === 1) {
      data[name] = new Kind(some.slice().buffer);
    } else {
      const array = new Kind(count);
      for (let byte = 0; byte < width; byte++) {
        for (let i = 0; i < count; i++) array[i] |= some[byte * count + i] << (8 * byte);
      }
      data[name] = array;
    }
    start += count * width;
  }
  return data;
}
