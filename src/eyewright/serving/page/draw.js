"use strict";
// What is found, drawn on a canvas: boxes, masks, heat. No state; everything is an argument. Uses drawing.js.

// What sort of answer it is, its own fields say.
function hasAreas(a) { return Boolean(a.areas); }
function isOneLabel(a) { return !(a.boxes_xyxy || a.areas || a.values || a.present || hasText(a) || isVector(a)); }
function isVector(a) { return typeof a.embedding === "string"; }
function hasText(a) { return typeof a.text === "string"; }

// COCO's compressed run lengths (pycocotools' LEB128 with differences), column by column.
function parseCounts(text) {
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let value = 0, shift = 0, more = true;
    while (more && at < text.length) {
      const c = text.charCodeAt(at++) - 48;
      value += (c & 31) * Math.pow(2, shift);
      more = (c & 32) !== 0;
      shift += 5;
      if (!more && (c & 16)) value -= Math.pow(2, shift);
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

// Paints one mask into image data, `alpha` in 0..1.
function paintMask(data, width, height, counts, colour, alpha) {
  const r = parseInt(colour.slice(1, 3), 16), g = parseInt(colour.slice(3, 5), 16), b = parseInt(colour.slice(5, 7), 16);
  let position = 0, on = false;
  for (const run of counts) {
    if (on) {
      for (let k = position; k < position + run; k++) {
        const i = ((k % height) * width + Math.floor(k / height)) * 4;
        data[i] += (r - data[i]) * alpha; data[i + 1] += (g - data[i + 1]) * alpha; data[i + 2] += (b - data[i + 2]) * alpha;
      }
    }
    position += run;
    on = !on;
  }
}

function isBackground(label) { return label.toLowerCase().replace(/^_+|_+$/g, "") === "background"; }

// Which rows of an answer reach the threshold; null stands for each class's stored point.
function shownRows(answer, threshold, points) {
  if (answer.values || hasText(answer) || isVector(answer)) return [];
  return answer.labels.map((_, k) => k).filter((k) => {
    const least = threshold === null ? (points && points[answer.labels[k]] != null ? points[answer.labels[k]] : 0) : threshold;
    return answer.scores[k] >= least;
  });
}

function drawAnswer(canvas, image, answer, options) {
  // A large photograph is drawn no larger than a screen needs it; masks are run lengths of the full size.
  const width = answer && answer.width || image.width, height = answer && answer.height || image.height;
  // A tiny image gets a canvas of several pixels for each of its own, so that what is written on it can be read.
  const scale = Math.max(1, Math.round(640 / Math.max(width, height)));
  if (scale > 1) {
    const small = document.createElement("canvas");
    drawPixels(small, image, answer, options, width, height);
    canvas.width = width * scale; canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  } else {
    drawPixels(canvas, image, answer, options, width, height);
  }
  if (answer && answer.boxes_xyxy && options.boxes !== false) drawBoxes(canvas, answer, options.rows, scale);
}

function drawPixels(canvas, image, answer, options, width, height) {
  canvas.width = width; canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0, width, height);
  if (!answer) return;
  const rows = options.rows;
  if (answer.segmentations) {
    const whole = pen.getImageData(0, 0, width, height);
    for (const k of rows) {
      if (hasAreas(answer) && isBackground(answer.labels[k])) continue;
      const colour = colourOf(answer.label_ids[k]);
      paintMask(whole.data, width, height, parseCounts(answer.segmentations[k].counts), colour, 0.5);
    }
    pen.putImageData(whole, 0, 0);
  }
  if (options.heat && options.opacity > 0) {
    pen.globalAlpha = options.opacity;
    pen.drawImage(options.heat, 0, 0, width, height);
    pen.globalAlpha = 1;
  }
}

function drawBoxes(canvas, answer, rows, scale) {
  // Letters are as large on a phone as on a screen.
  const shown = canvas.clientWidth ? canvas.width / canvas.clientWidth : 0;
  drawLabelledBoxes(canvas, rows.map((k) => ({
    box: answer.boxes_xyxy[k].map((v) => v * scale),
    text: `${answer.labels[k]} ${Math.round(answer.scores[k] * 100)}%`,
    colour: colourOf(answer.label_ids[k]),
  })), shown);
}

// From a grey heatmap to colours that can be seen over any image: transparent, yellow, red.
async function heatLayer(png64) {
  const image = await loadImage("data:image/png;base64," + png64);
  const canvas = document.createElement("canvas");
  canvas.width = image.width; canvas.height = image.height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const data = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < data.data.length; i += 4) {
    const v = data.data[i] / 255;
    data.data[i] = 255; data.data[i + 1] = Math.round(230 * (1 - v)); data.data[i + 2] = 0;
    data.data[i + 3] = Math.round(255 * Math.min(1, v * 1.4));
  }
  pen.putImageData(data, 0, 0);
  return canvas;
}

function loadImage(address) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("the browser cannot show this image"));
    image.src = address;
  });
}
