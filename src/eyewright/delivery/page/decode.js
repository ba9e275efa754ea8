// From the model's arrays to what they mean, in source pixels: the same rules as eyewright's tasks in Python.

import { resizePlane } from "./prepare.js";

const CANDIDATES = 2000, MOST = 300, LEAST = 0.01, SURE_SHARE = 0.0005, SURE_LEAST = 9;

export function decode(contract, raw, placement) {
  return { classify, detect, segment }[contract.task](contract, raw, placement);
}

function classify(contract, raw) {
  const values = raw.probabilities.data;
  const order = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);
  const points = contract.thresholds;
  return {
    labels: order.map((i) => contract.labels[i]),
    scores: order.map((i) => values[i]),
    accepted: order.filter((i) => !points || values[i] >= points[i]).map((i) => contract.labels[i]),
  };
}

function overlaps(a, b, iou) {
  const wide = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const high = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const both = wide * high, area = (x) => Math.max(0, x[2] - x[0]) * Math.max(0, x[3] - x[1]);
  return both > iou * (area(a) + area(b) - both);
}

function detect(contract, raw, placement) {
  const [, anchors, classes] = raw.scores.dims, scores = raw.scores.data, boxes = raw.boxes.data;
  const iou = contract.decoding.iou === undefined ? 0.6 : contract.decoding.iou;
  const { source, scale, offset } = placement;
  // Boxes never reach outside the image, so they are cut off before they are compared.
  const edge = [offset[1], offset[0], offset[1] + source[1] * scale[1], offset[0] + source[0] * scale[0]];
  const least = contract.thresholds ? Math.min(...contract.thresholds) : LEAST;
  let found = [];
  for (let a = 0; a < anchors; a++) for (let c = 0; c < classes; c++) {
    const score = scores[a * classes + c];
    if (score >= least) found.push([score, a, c]);
  }
  found.sort((p, q) => q[0] - p[0] || p[1] - q[1] || p[2] - q[2]);
  found = found.slice(0, CANDIDATES);
  const kept = [];
  for (const [score, a, c] of found) {
    const box = [0, 1, 2, 3].map((k) => Math.min(Math.max(boxes[a * 4 + k], edge[k % 2]), edge[2 + (k % 2)]));
    if (iou < 1 && kept.some((other) => other.c === c && overlaps(other.box, box, iou))) continue;
    kept.push({ score, c, box });
    if (kept.length >= MOST) break;
  }
  const shown = kept.filter(({ box, score, c }) =>
    box[2] > box[0] && box[3] > box[1] && (!contract.thresholds || score >= contract.thresholds[c]));
  const back = (v, k) => Math.min(Math.max((v - offset[k]) / scale[k], 0), source[k]);
  return {
    width: source[1], height: source[0],
    labels: shown.map(({ c }) => contract.labels[c]),
    label_ids: shown.map(({ c }) => c),
    scores: shown.map(({ score }) => score),
    boxes_xyxy: shown.map(({ box }) => [back(box[0], 1), back(box[1], 0), back(box[2], 1), back(box[3], 0)]),
  };
}

function segment(contract, raw, placement) {
  const [, classes, h, w] = raw.probabilities.dims, all = raw.probabilities.data;
  const { source: [height, width], scale, offset } = placement;
  const clip = (v, top) => Math.min(Math.max(v, 0), top);
  const box = [clip(offset[1], w), clip(offset[0], h), clip(offset[1] + width * scale[1], w), clip(offset[0] + height * scale[0], h)];
  const n = width * height;
  const best = new Float32Array(n).fill(-1), runner = new Float32Array(n).fill(-1), mask = new Uint8Array(n), second = new Uint8Array(n);
  for (let c = 0; c < classes; c++) {
    const large = resizePlane(all.subarray(c * h * w, (c + 1) * h * w), w, h, width, height, box);
    for (let i = 0; i < n; i++) {
      const v = large[i];
      if (v > best[i]) { runner[i] = best[i]; second[i] = mask[i]; best[i] = v; mask[i] = c; }
      else if (v > runner[i]) { runner[i] = v; second[i] = c; }
    }
  }
  const few = Math.max(SURE_LEAST, Math.round(SURE_SHARE * n)), sureness = new Float32Array(classes);
  for (let c = 0; c < classes; c++) {
    const own = best.filter((_, i) => mask[i] === c).sort().slice(-few);
    sureness[c] = Math.min(1, own.reduce((a, b) => a + b, 0) / few);
  }
  if (contract.thresholds) {
    const out = contract.thresholds.map((t, c) => c > 0 && sureness[c] < t);
    for (let i = 0; i < n; i++) {
      if (out[mask[i]]) mask[i] = second[i];
      if (out[mask[i]]) mask[i] = 0;
    }
  }
  const counts = new Array(classes).fill(0);
  for (let i = 0; i < n; i++) counts[mask[i]]++;
  const there = counts.map((k, c) => [k, c]).filter(([k]) => k > 0).sort((a, b) => b[0] - a[0] || a[1] - b[1]).map(([, c]) => c);
  return {
    width, height, mask,
    labels: there.map((c) => contract.labels[c]), label_ids: there,
    scores: there.map((c) => sureness[c]), areas: there.map((c) => counts[c] / n),
  };
}
