// From a picture to the pixels that the model takes: the resampling of Pillow, in the same fixed point, so that a browser
// and Python see the same bits. Images are {data: Uint8Array, width, height, channels}.

const BITS = 22;

const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => { x = Math.abs(x); return x < 1 ? 1 - x : 0; }],
  bicubic: [2, (x) => {
    const a = -0.5;
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  }],
  lanczos: [3, (x) => (x > -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function sinc(x) { return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI); }

// For every output place: where its input begins, and the weights of what it is made of.
function weights(size, from, to, out, name) {
  const [reach, filter] = FILTERS[name];
  // Pillow keeps a box in single precision.
  const low = Math.fround(from), scale = Math.fround(Math.fround(to) - low) / out, wide = Math.max(1, scale), support = reach * wide;
  const rows = [];
  for (let k = 0; k < out; k++) {
    const centre = low + (k + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const own = new Float64Array(last - first);
    let total = 0;
    for (let i = 0; i < own.length; i++) { own[i] = filter((i + first - centre + 0.5) / wide); total += own[i]; }
    if (total !== 0) for (let i = 0; i < own.length; i++) own[i] /= total;
    rows.push([first, own]);
  }
  return rows;
}

function fixed(rows) {
  const one = 2 ** BITS;
  return rows.map(([first, own]) => [first, Float64Array.from(own, (w) => Math.trunc(w < 0 ? w * one - 0.5 : w * one + 0.5))]);
}

function clip8(sum) {
  const value = Math.floor(sum / 2 ** BITS);
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

// Pillow's Image.resize in 8 bits: across first, then down; `box` is [x0, y0, x1, y1] in source pixels.
export function resize(image, width, height, name, box) {
  const c = image.channels;
  const [x0, y0, x1, y1] = box || [0, 0, image.width, image.height];
  if (name === "nearest") return nearest(image, width, height, [x0, y0, x1, y1]);
  let { data, width: w, height: h } = image;
  if (width !== w || x0 !== 0 || x1 !== w) {
    const rows = fixed(weights(w, x0, x1, width, name)), out = new Uint8Array(width * h * c);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < width; x++) {
        const [first, own] = rows[x];
        for (let k = 0; k < c; k++) {
          let sum = 2 ** (BITS - 1), at = (y * w + first) * c + k;
          for (let i = 0; i < own.length; i++, at += c) sum += data[at] * own[i];
          out[(y * width + x) * c + k] = clip8(sum);
        }
      }
    }
    data = out; w = width;
  }
  if (height !== h || y0 !== 0 || y1 !== h) {
    const rows = fixed(weights(h, y0, y1, height, name)), out = new Uint8Array(w * height * c), line = w * c;
    for (let y = 0; y < height; y++) {
      const [first, own] = rows[y];
      for (let x = 0; x < line; x++) {
        let sum = 2 ** (BITS - 1), at = first * line + x;
        for (let i = 0; i < own.length; i++, at += line) sum += data[at] * own[i];
        out[y * line + x] = clip8(sum);
      }
    }
    data = out; h = height;
  }
  return { data, width: w, height: h, channels: c };
}

// Pillow's Image.reduce: the mean of blocks of f x f pixels, and at the right and lower edge of what there is of one.
export function reduce(image, f) {
  const { width, height, channels: c, data } = image, w = Math.ceil(width / f), h = Math.ceil(height / f);
  const out = new Uint8Array(w * h * c);
  for (let y = 0; y < h; y++) {
    const rows = Math.min(f, height - y * f);
    for (let x = 0; x < w; x++) {
      const columns = Math.min(f, width - x * f), n = rows * columns;
      // In Pillow's fixed point of 24 bits, which is exact for whole blocks.
      const share = Math.trunc(2 ** 24 / n + 0.5), half = Math.floor(n / 2);
      for (let k = 0; k < c; k++) {
        let sum = half;
        for (let j = 0; j < rows; j++) {
          for (let i = 0, at = ((y * f + j) * width + x * f) * c + k; i < columns; i++, at += c) sum += data[at];
        }
        out[(y * w + x) * c + k] = Math.floor(sum * share / 2 ** 24);
      }
    }
  }
  return { data: out, width: w, height: h, channels: c };
}

// By how much version 2 of a preparation reduces an image first: twice the pixels that the model takes are left.
function reduction(how, scale) {
  return how.version === 2 ? [8, 4, 2].find((f) => f * 2 * Math.max(...scale) <= 1) || 1 : 1;
}

// Resize a part of the source, all of it if `box` is null, of which f x f pixels have become one.
function resizeReduced(image, inner, name, box, source, f, c) {
  if (f === 1) return resize(image, inner[1], inner[0], name, box);
  const [x0, y0, x1, y1] = (box || [0, 0, source[1], source[0]]).map((v) => v / f);
  let small = reduce(image, f);
  if (c === 1) small = grey(small);
  return resize(small, inner[1], inner[0], name, [x0, y0, Math.min(x1, small.width), Math.min(y1, small.height)]);
}

function nearest(image, width, height, [x0, y0, x1, y1]) {
  const c = image.channels, out = new Uint8Array(width * height * c);
  for (let y = 0; y < height; y++) {
    const sy = Math.min(image.height - 1, Math.floor(y0 + (y + 0.5) * (y1 - y0) / height));
    for (let x = 0; x < width; x++) {
      const sx = Math.min(image.width - 1, Math.floor(x0 + (x + 0.5) * (x1 - x0) / width));
      for (let k = 0; k < c; k++) out[(y * width + x) * c + k] = image.data[(sy * image.width + sx) * c + k];
    }
  }
  return { data: out, width, height, channels: c };
}

// The same for a plane of floats, which Pillow weighs in double precision.
export function resizePlane(plane, w, h, width, height, box) {
  const across = weights(w, box[0], box[2], width, "bilinear"), down = weights(h, box[1], box[3], height, "bilinear");
  const middle = new Float32Array(width * h), out = new Float32Array(width * height);
  for (let y = 0; y < h; y++) for (let x = 0; x < width; x++) {
    const [first, own] = across[x];
    let sum = 0;
    for (let i = 0; i < own.length; i++) sum += plane[y * w + first + i] * own[i];
    middle[y * width + x] = sum;
  }
  for (let y = 0; y < height; y++) {
    const [first, own] = down[y];
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < own.length; i++) sum += middle[(first + i) * width + x] * own[i];
      out[y * width + x] = sum;
    }
  }
  return out;
}

// Python's round: halves go to the even side.
function even(x) {
  const low = Math.floor(x), rest = x - low;
  return rest < 0.5 ? low : rest > 0.5 ? low + 1 : low % 2 === 0 ? low : low + 1;
}

function grey(image) {
  const out = new Uint8Array(image.width * image.height);
  for (let i = 0, k = 0; i < out.length; i++, k += 3) {
    out[i] = (image.data[k] * 19595 + image.data[k + 1] * 38470 + image.data[k + 2] * 7471 + 0x8000) >> 16;
  }
  return { data: out, width: image.width, height: image.height, channels: 1 };
}

// Gives {pixels: Uint8Array (H, W, C), placement: {source, scale, offset}}, each pair as [y, x].
export function prepare(image, how) {
  const source = [image.height, image.width], [height, width] = how.size_hw, c = how.channels;
  if (how.inner !== null && how.inner !== undefined) return cutCentre(image, how, source);
  let inner = [height, width], offset = [0, 0], box = null;
  if (how.fit === "crop") {
    const scale = Math.max(height / source[0], width / source[1]);
    const tall = height / scale, wide = width / scale, left = (source[1] - wide) / 2, top = (source[0] - tall) / 2;
    if (tall !== source[0] || wide !== source[1]) {
      box = [Math.max(left, 0), Math.max(top, 0), Math.min(left + wide, source[1]), Math.min(top + tall, source[0])];
    }
  } else if (how.fit === "letterbox") {
    const scale = Math.min(height / source[0], width / source[1]);
    inner = [Math.max(1, Math.min(height, even(source[0] * scale))), Math.max(1, Math.min(width, even(source[1] * scale)))];
    offset = [Math.floor((height - inner[0]) / 2), Math.floor((width - inner[1]) / 2)];
  }
  const [x0, y0] = box || [0, 0], covered = box ? [box[3] - box[1], box[2] - box[0]] : source;
  const scale = [inner[0] / covered[0], inner[1] / covered[1]], f = reduction(how, scale);
  if (c === 1 && f === 1) image = grey(image);
  if (f > 1 || inner[0] !== source[0] || inner[1] !== source[1] || box) {
    image = resizeReduced(image, inner, how.filter, box, source, f, c);
  }
  let pixels = image.data;
  if (inner[0] !== height || inner[1] !== width) {
    pixels = new Uint8Array(height * width * c).fill(how.fill);
    for (let y = 0; y < inner[0]; y++) {
      pixels.set(image.data.subarray(y * inner[1] * c, (y + 1) * inner[1] * c), ((y + offset[0]) * width + offset[1]) * c);
    }
  }
  return { pixels, placement: { source, scale, offset: [offset[0] - y0 * scale[0], offset[1] - x0 * scale[1]] } };
}

function cutCentre(image, how, source) {
  let sized = [how.inner, how.inner];
  if (how.fit !== "stretch") {
    const longer = Math.trunc(how.inner * Math.max(...source) / Math.min(...source));
    sized = source[0] <= source[1] ? [how.inner, longer] : [longer, how.inner];
  }
  const [height, width] = how.size_hw, c = how.channels;
  const top = Math.floor((sized[0] - height) / 2), left = Math.floor((sized[1] - width) / 2);
  const scale = [sized[0] / source[0], sized[1] / source[1]], f = reduction(how, scale);
  if (c === 1 && f === 1) image = grey(image);
  if (f > 1 || sized[0] !== source[0] || sized[1] !== source[1]) {
    image = resizeReduced(image, sized, how.filter, null, source, f, c);
  }
  const pixels = new Uint8Array(height * width * c);
  for (let y = 0; y < height; y++) {
    const at = ((y + top) * image.width + left) * c;
    pixels.set(image.data.subarray(at, at + width * c), y * width * c);
  }
  return { pixels, placement: { source, scale, offset: [-top, -left] } };
}
