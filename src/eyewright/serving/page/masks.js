"use strict";
// Masks in and out of the page: an indexed PNG of class numbers, and the outline of one object from a PNG.

// The number of the class of every pixel, 255 where there is none.
function classMap(a, labels) {
  const whole = new Uint8Array(a.width * a.height).fill(255);
  a.labels.forEach((label, row) => {
    const id = labels.indexOf(label);
    let position = 0, on = false;
    for (const run of parseCounts(a.segmentations[row].counts)) {
      if (on) for (let k = position; k < position + run; k++) whole[(k % a.height) * a.width + Math.floor(k / a.height)] = id;
      position += run; on = !on;
    }
  });
  return whole;
}

const CRC = Array.from({ length: 256 }, (_, n) => { let c = n; for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1; return c >>> 0; });

function chunk(kind, data) {
  const out = new Uint8Array(12 + data.length), view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set([...kind].map((c) => c.charCodeAt(0)), 4);
  out.set(data, 8);
  let crc = 0xffffffff;
  for (let k = 4; k < 8 + data.length; k++) crc = CRC[(crc ^ out[k]) & 255] ^ (crc >>> 8);
  view.setUint32(8 + data.length, (crc ^ 0xffffffff) >>> 0);
  return out;
}

// A PNG with a palette (W3C PNG, 11.2): the numbers are the classes, the colours those of the page.
async function indexedPng(numbers, width, height, colours) {
  const head = new Uint8Array(13), view = new DataView(head.buffer);
  view.setUint32(0, width); view.setUint32(4, height);
  head.set([8, 3, 0, 0, 0], 8);
  const palette = new Uint8Array(768).fill(255);
  colours.forEach((c, k) => palette.set([1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)), 3 * k));
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) rows.set(numbers.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const packed = await new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer();
  const parts = [new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", head), chunk("PLTE", palette), chunk("IDAT", new Uint8Array(packed)), chunk("IEND", new Uint8Array(0))];
  return new Blob(parts, { type: "image/png" });
}

// COCO's compressed run lengths, as pycocotools writes them.
function packCounts(counts) {
  let text = "";
  counts.forEach((count, k) => {
    let x = k > 2 ? count - counts[k - 2] : count, more = true;
    while (more) {
      let c = x & 31;
      x >>= 5;
      more = c & 16 ? x !== -1 : x !== 0;
      if (more) c |= 32;
      text += String.fromCharCode(c + 48);
    }
  });
  return text;
}

// The outline of one object: what is neither black nor transparent in a PNG of the image's size.
async function shapeOf(file, width, height) {
  const address = URL.createObjectURL(file);
  let image;
  try { image = await loadImage(address); } catch (_) { throw new Error(`${file.name} is not an image that this browser can read.`); } finally { URL.revokeObjectURL(address); }
  if (image.width !== width || image.height !== height) throw new Error(`The mask has ${image.width}x${image.height} pixels, expected those of the image, ${width}x${height}.`);
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const data = pen.getImageData(0, 0, width, height).data, counts = [];
  let run = 0, on = false, x0 = width, y0 = height, x1 = 0, y1 = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const i = 4 * (y * width + x), inside = data[i + 3] > 127 && Math.max(data[i], data[i + 1], data[i + 2]) > 0;
      if (inside) { x0 = Math.min(x0, x); y0 = Math.min(y0, y); x1 = Math.max(x1, x + 1); y1 = Math.max(y1, y + 1); }
      if (inside !== on) { counts.push(run); run = 0; on = inside; }
      run += 1;
    }
  }
  counts.push(run);
  if (x1 <= x0) throw new Error(`${file.name} is black all over: expected the object in white.`);
  return { shape: { size: [height, width], counts: packCounts(counts) }, box: [x0, y0, x1, y1] };
}
