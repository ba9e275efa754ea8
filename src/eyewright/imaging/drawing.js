"use strict";
// Colours and labelled boxes on a canvas, for every page that draws what a model found.

// The colours of colour_of in drawing.py, so that a class looks the same here, in reports and on drawn files.
function colourOf(id) {
  const hue = 6 * ((((0.58 + id * 0.381966) % 1) + 1) % 1), most = 0.96, least = most * (1 - 0.72);
  const part = (shift) => {
    const at = (shift + hue) % 6;
    const value = most - (most - least) * Math.max(0, Math.min(at, 4 - at, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return "#" + part(5) + part(3) + part(1);
}

// Dark or white, whichever can be read on a colour.
function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  return 0.3 * r + 0.59 * g + 0.11 * b > 140 ? "#0f0f0f" : "#ffffff";
}

// Draws boxes, each { box: [x0, y0, x1, y1], text, colour }, those of highest score first. `shown` is how many of the
// canvas's pixels lie in one pixel of the screen, 0 where that is not known.
function drawLabelledBoxes(canvas, items, shown = 0) {
  const pen = canvas.getContext("2d"), width = canvas.width, height = canvas.height;
  const unit = Math.max(Math.max(width, height) / 700, 0.85 * shown);
  pen.lineWidth = Math.max(1.5, 2.5 * unit);
  pen.font = `600 ${Math.max(11, 15 * unit)}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  for (const { box: [x0, y0, x1, y1], colour } of items) {
    pen.strokeStyle = colour;
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  // Those of highest score choose their place first; no text lies on another one where there is room.
  const tall = Math.max(15, 20 * unit), taken = [];
  for (const { box, text, colour } of items) {
    const wide = pen.measureText(text).width + 8 * unit;
    const [x, y] = placeOf(box, wide, tall, width, height, taken);
    taken.push([x, y, x + wide, y + tall, text, colour]);
  }
  // Where there is no room, those of highest score lie on top.
  for (const [x, y, right, , text, colour] of taken.reverse()) {
    pen.fillStyle = colour;
    pen.fillRect(x, y, right - x, tall);
    pen.fillStyle = inkOn(colour);
    pen.fillText(text, x + 4 * unit, y + 2.5 * unit);
  }
}

// Where a text of a box lies: above it, below it, or inside it at its top or bottom, where it covers least of what is `taken`.
function placeOf([x0, y0, x1, y1], wide, tall, width, height, taken) {
  const lefts = [x0, x1 - wide].map((x) => Math.max(0, Math.min(x, width - wide)));
  const places = [y0 - tall, y1, y0, y1 - tall].flatMap((y) => lefts.map((x) => [x, y])).filter(([, y]) => y >= 0 && y + tall <= height);
  const covered = ([x, y]) => taken.reduce((sum, t) => sum + Math.max(0, Math.min(x + wide, t[2]) - Math.max(x, t[0])) * Math.max(0, Math.min(y + tall, t[3]) - Math.max(y, t[1])), 0);
  const least = Math.min(...places.map(covered));
  return places.find((p) => covered(p) === least) || [lefts[0], Math.max(0, y0)];
}
