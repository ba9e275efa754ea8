"use strict";
// Inpaint: a mask is painted or a box dragged on an image, the server fills it, both are compared. Uses what app.js declares.

const MOST_SHOWN = 1600;
const hole = { image: null, name: "", marks: [], mask: null, tool: "brush", stroke: null, at: null, keyed: false, result: null, split: 0.5, busy: false, scale: 1 };

const fillsHoles = (m) => Boolean(m) && Object.keys(m.inputs).sort().join() === "image,mask";

function tellFill(text, bad = false) { $("fill-status").textContent = text; $("fill-status").classList.toggle("bad", bad); }

function beginFill() {
  $("tab-fill").addEventListener("click", () => view("fill"));
  $("fill-file").addEventListener("change", () => { const [file] = $("fill-file").files; $("fill-file").value = ""; if (file) fillImage(file, file.name); });
  for (const tool of ["brush", "erase", "box"]) $("fill-" + tool).addEventListener("click", () => chooseTool(tool));
  $("fill-size").addEventListener("input", () => { $("fill-size-value").textContent = $("fill-size").value; showFill(); });
  $("fill-undo").addEventListener("click", () => { hole.marks.pop(); paintHole(); });
  $("fill-clear").addEventListener("click", () => { hole.marks = []; paintHole(); });
  $("fill-go").addEventListener("click", runFill);
  $("fill-split").addEventListener("input", () => { hole.split = Number($("fill-split").value) / 100; showFill(); });
  $("fill-back").addEventListener("click", () => { hole.result = null; fillControls(); tellFill("Change the mask and fill again."); $("fill-canvas").focus(); });
  $("fill-keep").addEventListener("click", keepResult);
  $("fill-save").addEventListener("click", saveResult);
  const canvas = $("fill-canvas"), area = $("view-fill");
  canvas.addEventListener("pointerdown", fillDown);
  canvas.addEventListener("pointermove", fillMove);
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, fillUp);
  canvas.addEventListener("keydown", fillKey);
  canvas.addEventListener("blur", () => { hole.keyed = false; showFill(); });
  for (const kind of ["dragenter", "dragover"]) area.addEventListener(kind, (e) => { e.preventDefault(); $("fill-frame").classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) area.addEventListener(kind, () => $("fill-frame").classList.remove("over"));
  area.addEventListener("drop", (e) => { e.preventDefault(); takeFiles(e.dataTransfer.files); });
  fillMethods();
}

// A net is a choice only where the chosen model is one for holes.
function fillMethods() {
  $("fill-net").hidden = $("fill-net").disabled = !fillsHoles(model($("model").value));
  if ($("fill-net").disabled && $("fill-method").value === "net") $("fill-method").value = "auto";
}

// The image of the other view is offered here too.
function enterFill() {
  fillMethods();
  if (!hole.image && state.shot && state.shot.image && state.shot.blob) fillImage(state.shot.blob, state.shot.title);
}

async function fillImage(blob, name) {
  const address = URL.createObjectURL(blob);
  let image;
  try { image = await loadImage(address); } catch (_) { tellFill(`${name} is not an image that this browser can read.`, true); return; } finally { URL.revokeObjectURL(address); }
  if (hole.busy) return;
  const mask = document.createElement("canvas");
  mask.width = image.width; mask.height = image.height;
  Object.assign(hole, { image, blob, name, mask, marks: [], stroke: null, result: null, at: [Math.floor(image.width / 2), Math.floor(image.height / 2)], scale: Math.min(1, MOST_SHOWN / Math.max(image.width, image.height)) });
  const canvas = $("fill-canvas");
  canvas.width = Math.max(1, Math.round(image.width * hole.scale)); canvas.height = Math.max(1, Math.round(image.height * hole.scale));
  // A tiny image is shown large enough to be painted on.
  canvas.style.width = Math.max(image.width, image.height) < 240 ? `min(100%, ${320 * image.width / Math.max(image.width, image.height)}px)` : "";
  $("fill-size").max = String(Math.max(8, Math.round(Math.max(image.width, image.height) / 5)));
  $("fill-size").value = String(Math.max(3, Math.round(Math.max(image.width, image.height) / 40)));
  $("fill-size-value").textContent = $("fill-size").value;
  $("fill-invite").hidden = true; canvas.hidden = false; $("fill-another").textContent = "Another image …";
  fillControls();
  tellFill(`${name}, ${image.width} × ${image.height} pixels. Paint over what is to be filled.`);
}

function fillControls() {
  const compared = Boolean(hole.result), some = hole.marks.length > 0;
  $("fill-tools").hidden = !hole.image || compared;
  $("fill-compare").hidden = !compared;
  $("fill-go").disabled = hole.busy || !some;
  $("fill-undo").disabled = $("fill-clear").disabled = hole.busy || !some;
  $("fill-canvas").setAttribute("aria-label", compared
    ? "The image before, on the left, and after, on the right. Left and right arrow move the line between them."
    : "The image. Arrow keys move the brush, with Shift they paint; Space paints, or sets a corner of a box; Control Z undoes.");
  showFill();
}

function chooseTool(tool) {
  hole.tool = tool; hole.stroke = null;
  for (const one of ["brush", "erase", "box"]) $("fill-" + one).setAttribute("aria-pressed", String(one === tool));
  $("fill-size-row").hidden = tool === "box";
  showFill();
}

// ---- drawing

function drawMark(pen, mark) {
  pen.globalCompositeOperation = mark.kind === "erase" ? "destination-out" : "source-over";
  pen.fillStyle = pen.strokeStyle = "#fff";
  if (mark.kind === "box") {
    const [[x0, y0], [x1, y1]] = mark.points;
    pen.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0) + 1, Math.abs(y1 - y0) + 1);
    return;
  }
  pen.lineWidth = mark.size; pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(mark.points[0][0] + 0.5, mark.points[0][1] + 0.5);
  for (const [x, y] of mark.points) pen.lineTo(x + 0.5, y + 0.5);
  pen.stroke();
  // A stroke of no length draws nothing.
  const [x, y] = mark.points[0];
  pen.beginPath(); pen.arc(x + 0.5, y + 0.5, mark.size / 2, 0, 2 * Math.PI); pen.fill();
}

function paintHole() {
  const pen = hole.mask.getContext("2d");
  pen.globalCompositeOperation = "source-over";
  pen.clearRect(0, 0, hole.mask.width, hole.mask.height);
  for (const mark of hole.marks) drawMark(pen, mark);
  fillControls();
}

function showFill() {
  if (!hole.image) return;
  const canvas = $("fill-canvas"), pen = canvas.getContext("2d"), { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  pen.drawImage(hole.image, 0, 0, width, height);
  if (hole.result) {
    const x = Math.round(hole.split * width);
    pen.save();
    pen.beginPath(); pen.rect(x, 0, width - x, height); pen.clip();
    pen.clearRect(x, 0, width - x, height);
    pen.drawImage(hole.result.image, 0, 0, width, height);
    pen.restore();
    outlined(pen, (p) => { p.moveTo(x, 0); p.lineTo(x, height); });
    outlined(pen, (p) => p.arc(x, height / 2, Math.max(6, width / 60), 0, 2 * Math.PI));
    return;
  }
  const veil = document.createElement("canvas");
  veil.width = width; veil.height = height;
  const tint = veil.getContext("2d");
  tint.drawImage(hole.mask, 0, 0, width, height);
  if (hole.stroke) { tint.save(); tint.scale(width / hole.image.width, height / hole.image.height); drawMark(tint, hole.stroke); tint.restore(); }
  tint.globalCompositeOperation = "source-in";
  tint.fillStyle = "#e11d48";
  tint.fillRect(0, 0, width, height);
  pen.globalAlpha = 0.6;
  pen.drawImage(veil, 0, 0);
  pen.globalAlpha = 1;
  if (hole.keyed) {
    const [x, y] = hole.at.map((v) => (v + 0.5) * hole.scale), r = Math.max(4, brushSize() * hole.scale / 2);
    outlined(pen, (p) => p.arc(x, y, hole.tool === "box" ? 5 : r, 0, 2 * Math.PI));
  }
}

// White with a dark rim: it is seen on every image.
function outlined(pen, path) {
  for (const [colour, wide] of [["#000", 4], ["#fff", 2]]) { pen.strokeStyle = colour; pen.lineWidth = wide; pen.beginPath(); path(pen); pen.stroke(); }
}

const brushSize = () => Number($("fill-size").value);

// ---- pointer and keys

function fillAt(e) {
  const frame = $("fill-canvas").getBoundingClientRect();
  const within = (v, from, span, most) => Math.max(0, Math.min(most - 1, Math.floor((v - from) / span * most)));
  return [within(e.clientX, frame.left, frame.width, hole.image.width), within(e.clientY, frame.top, frame.height, hole.image.height)];
}

function fillDown(e) {
  if (!hole.image || hole.busy || e.button > 0 || !e.isPrimary) return;
  $("fill-canvas").setPointerCapture(e.pointerId);
  hole.keyed = false;
  if (hole.result) { moveSplit((fillAt(e)[0] + 0.5) / hole.image.width); hole.stroke = "split"; return; }
  startMark(fillAt(e));
}

function fillMove(e) {
  if (!hole.stroke || !$("fill-canvas").hasPointerCapture(e.pointerId)) return;
  if (hole.stroke === "split") moveSplit((fillAt(e)[0] + 0.5) / hole.image.width); else extendMark(fillAt(e));
}

function fillUp(e) {
  if (!hole.stroke || !$("fill-canvas").hasPointerCapture(e.pointerId)) return;
  if (hole.stroke === "split") hole.stroke = null; else if (e.type === "pointercancel") { hole.stroke = null; showFill(); } else endMark();
}

function startMark(at) { hole.at = at; hole.stroke = { kind: hole.tool, size: brushSize(), points: [at, at] }; showFill(); }

function extendMark(at) {
  hole.at = at;
  if (hole.stroke.kind === "box") hole.stroke.points[1] = at; else hole.stroke.points.push(at);
  showFill();
}

function endMark() {
  hole.marks.push(hole.stroke);
  hole.stroke = null;
  paintHole();
}

function moveSplit(share) {
  hole.split = Math.max(0, Math.min(1, share));
  $("fill-split").value = String(Math.round(100 * hole.split));
  showFill();
}

const HOLE_STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function fillKey(e) {
  if (!hole.image || hole.busy) return;
  const step = HOLE_STEPS[e.key];
  if (hole.result) {
    if (step && step[0]) { e.preventDefault(); moveSplit(hole.split + 0.02 * step[0]); }
    return;
  }
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "z") { e.preventDefault(); hole.stroke = null; hole.marks.pop(); paintHole(); return; }
  if (e.key === "Escape" && hole.stroke) { hole.stroke = null; showFill(); tellFill("The box was not set."); return; }
  if (e.key === " " || e.key === "Enter") {
    e.preventDefault();
    hole.keyed = true;
    const [x, y] = hole.at;
    if (hole.tool !== "box") { startMark(hole.at); endMark(); tellFill(`${hole.tool === "erase" ? "Erased" : "Painted"} at ${x}, ${y}.`); }
    else if (!hole.stroke) { startMark(hole.at); tellFill(`First corner at ${x}, ${y}. Move, then press Space for the opposite corner; Escape cancels.`); }
    else { extendMark(hole.at); endMark(); tellFill(`Opposite corner at ${x}, ${y}.`); }
    return;
  }
  if (!step) return;
  e.preventDefault();
  hole.keyed = true;
  const far = Math.max(1, Math.round(hole.tool === "box" ? hole.image.width / 100 : brushSize() / 2)), before = hole.at;
  hole.at = [Math.max(0, Math.min(hole.image.width - 1, before[0] + far * step[0])), Math.max(0, Math.min(hole.image.height - 1, before[1] + far * step[1]))];
  if (hole.tool === "box") { if (hole.stroke) extendMark(hole.at); else showFill(); return; }
  if (e.shiftKey) { const to = hole.at; startMark(before); extendMark(to); endMark(); } else showFill();
}

// ---- filling

async function maskFile() {
  const canvas = document.createElement("canvas");
  canvas.width = hole.mask.width; canvas.height = hole.mask.height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(hole.mask, 0, 0);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The mask is too large for the browser."))), "image/png"));
}

async function runFill() {
  if (!hole.marks.length || hole.busy) return;
  hole.busy = true;
  fillControls();
  tellFill("Filling …");
  const started = performance.now();
  try {
    const form = new FormData();
    form.append("file", hole.blob, "image"); form.append("mask", await maskFile(), "mask.png");
    form.append("method", $("fill-method").value); form.append("grow", String(Number($("fill-grow").value) || 0));
    const answer = await call(`/v1/models/${encodeURIComponent($("model").value)}/inpaint`, { method: "POST", body: form });
    const blob = await answer.blob(), address = URL.createObjectURL(blob);
    let image;
    try { image = await loadImage(address); } finally { URL.revokeObjectURL(address); }
    hole.result = { blob, image };
    const n = Number(answer.headers.get("x-eyewright-pixels"));
    tellFill(`${n.toLocaleString()} pixels (${percent(n / (image.width * image.height))}) filled by ${answer.headers.get("x-eyewright-method")} in ${((performance.now() - started) / 1000).toFixed(1)} s. What is filled is a guess; all other pixels are as they were.`);
    moveSplit(0.5);
  } catch (error) { tellFill(error.message, true); }
  hole.busy = false;
  fillControls();
  if (hole.result) $("fill-canvas").focus({ preventScroll: true });
}

async function keepResult() {
  const { blob } = hole.result;
  await fillImage(blob, hole.name);
  $("fill-canvas").focus();
}

function saveResult() {
  const address = URL.createObjectURL(hole.result.blob);
  make("a", { href: address, download: `${hole.name.replace(/\.[^.]*$/, "") || "image"}-filled.png` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
