"use strict";
// Boxes that can be moved, resized and drawn on the image, by mouse, by touch and by keyboard. Lies as SVG over the canvas.

const HANDLES = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];
const editor = { answer: null, drag: null, drawing: false, lean: false, last: 0 };

function colourOfItem(a, item) {
  const k = model(a.model).labels.indexOf(item.held.label);
  return item.k !== null && item.held.label === a.labels[item.k] ? colourOf(a.label_ids[item.k]) : colourOf(k < 0 ? 7 : k);
}

function coarse() { return matchMedia("(pointer: coarse)").matches; }

function showEditor(a) {
  editor.answer = a && state.shot.image ? a : null;
  const sheet = $("sheet");
  sheet.toggleAttribute("hidden", !editor.answer);
  if (!editor.answer) { setDrawing(false); sheet.replaceChildren(); return; }
  placeSheet();
  drawSheet();
  const lean = correcting(editor.answer);
  if (editor.lean !== lean) { editor.lean = lean; render(); }
}

// The canvas has the size that the window leaves it.
function placeSheet() {
  const canvas = $("canvas-a"), sheet = $("sheet");
  for (const [side, value] of [["left", canvas.offsetLeft], ["top", canvas.offsetTop], ["width", canvas.offsetWidth], ["height", canvas.offsetHeight]]) sheet.style[side] = `${value}px`;
}

// How many pixels of the image one pixel of the screen is.
function unitOf(a) { return a.width / Math.max(1, $("canvas-a").offsetWidth); }

function drawSheet() {
  const a = editor.answer, sheet = $("sheet"), unit = unitOf(a), chosen = saidOf(a).chosen;
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.box : null;
  sheet.setAttribute("viewBox", `0 0 ${a.width} ${a.height}`);
  sheet.classList.toggle("drawing", editor.drawing);
  sheet.classList.toggle("held", chosen !== null);
  sheet.classList.toggle("quiet", !correcting(a));
  const items = itemsOf(a), shapes = items.map((item, at) => boxShape(a, item, at, unit, item.key === chosen));
  // The chosen box lies on top, so that its handles can be taken; small boxes lie above the large ones that hold them.
  const size = (i) => (i.held.box[2] - i.held.box[0]) * (i.held.box[3] - i.held.box[1]) * (i.key === chosen ? 0 : 1);
  const order = items.map((item, at) => at).sort((p, q) => size(items[q]) - size(items[p]));
  sheet.replaceChildren(...order.map((at) => shapes[at]));
  if (editor.drag && editor.drag.fresh) sheet.append(rectOf(editor.drag.fresh, { class: "fresh", "stroke-width": 2 * unit }));
  if (focused) { const again = sheet.querySelector(`[data-box="${focused}"]`); if (again) again.focus({ preventScroll: true }); }
  editBar(a);
}

function rectOf(box, attributes) {
  return draw("rect", { x: box[0], y: box[1], width: Math.max(0, box[2] - box[0]), height: Math.max(0, box[3] - box[1]), ...attributes });
}

function boxShape(a, item, at, unit, chosen) {
  const { box, gone, label } = item.held, verdict = verdictOf(a, item), colour = colourOfItem(a, item);
  const words = `Box ${at + 1}, ${gone ? "not an object" : label}. Arrow keys move it, with Shift they resize it, Delete removes it.`;
  const group = draw("g", { tabindex: 0, role: "button", "aria-pressed": String(chosen), "aria-label": words, "data-box": item.key });
  group.setAttribute("class", `box ${verdict}${chosen ? " chosen" : ""}`);
  const wide = (chosen ? 3 : 2) * unit;
  // A wider, unseen edge is easier to hit with a finger.
  group.append(rectOf(box, { class: "body", stroke: colour, "stroke-width": wide, "stroke-dasharray": gone ? `${6 * unit} ${4 * unit}` : item.k === null ? `${9 * unit} ${3 * unit}` : "none" }));
  if (gone) group.append(draw("path", { class: "cross", stroke: colour, "stroke-width": wide, d: `M${box[0]} ${box[1]}L${box[2]} ${box[3]}M${box[2]} ${box[1]}L${box[0]} ${box[3]}` }));
  if (chosen || verdict !== "right") {
    const size = 13 * unit, text = `${at + 1} ${gone ? "not an object" : label}`, long = text.length * size * 0.6 + 8 * unit;
    const x = Math.max(0, Math.min(box[0], a.width - long)), y = box[1] >= size * 1.6 ? box[1] - size * 1.6 : box[1];
    group.append(draw("rect", { class: "plate", x, y, width: long, height: size * 1.5, fill: colour }));
    const word = draw("text", { class: "word", x: x + 4 * unit, y: y + size * 1.1, text });
    word.style.fill = inkOn(colour);
    word.style.fontSize = `${size}px`;
    group.append(word);
  }
  if (chosen && !gone) {
    const r = Math.max(5 * unit, Math.min((coarse() ? 11 : 6) * unit, Math.min(box[2] - box[0], box[3] - box[1]) / 4));
    for (const [u, v] of HANDLES) {
      const x = box[0] + u * (box[2] - box[0]), y = box[1] + v * (box[3] - box[1]);
      group.append(draw("circle", { class: "handle", cx: x, cy: y, r, fill: "#fff", stroke: colour, "stroke-width": 2 * unit, "data-u": u, "data-v": v }));
    }
  }
  return group;
}

function chooseItem(a, key, focus = false) {
  saidOf(a).chosen = key;
  offerFeedback(a);
  if (key === null) return;
  const row = $("rows").querySelector(`[data-key="${key}"]`);
  // Only the list scrolls: the image must stay where it is while its boxes are corrected.
  if (row) $("rows").scrollTop = row.offsetTop - $("rows").offsetTop - $("rows").clientHeight / 2;
  const shape = $("sheet").querySelector(`[data-box="${key}"]`);
  if (focus && shape) shape.focus({ preventScroll: true });
  if (!focus) $("canvas-a").scrollIntoView({ block: "nearest" });
}

function setDrawing(on) {
  editor.drawing = on;
  $("add-box").setAttribute("aria-pressed", String(on));
  $("add-box").textContent = on ? "Stop drawing" : "Draw a missing box";
  $("sheet").classList.toggle("drawing", on);
}

// What can be done with the chosen box, beneath the image.
function editBar(a) {
  const item = saidOf(a).chosen === null ? null : itemOf(a, saidOf(a).chosen);
  $("chosen-box").hidden = !item;
  $("edit-hint").textContent = editor.drawing ? "Drag over the object that was missed."
    : item ? `Drag it or its handles${coarse() ? "" : "; arrow keys move it, Shift and arrow keys resize it"}.` : "Choose a box to correct it.";
  if (!item) return;
  const at = itemsOf(a).findIndex((i) => i.key === item.key), name = nameOf(a, item, at);
  $("chosen-choice").replaceChildren(make("span", { text: name + " " }), verdictChoice(a, item, `chosen box ${at + 1}`));
  $("shape-file-row").hidden = !a.segmentations || item.held.gone;
  $("undo-box").textContent = item.k === null ? "Remove" : "Undo";
  $("undo-box").disabled = verdictOf(a, item) === "right";
}

function addBox(a, box) {
  const held = saidOf(a), labels = model(a.model).labels, id = editor.last += 1;
  // The class that was found most is the likeliest to have been missed; a background is no object.
  const counts = judgedRows(a).map((k) => a.labels[k]);
  const most = counts.sort((p, q) => counts.filter((l) => l === q).length - counts.filter((l) => l === p).length)[0];
  held.added.push({ id, label: state.lastLabel && labels.includes(state.lastLabel) ? state.lastLabel : most || labels.find((l) => !isBackground(l)) || labels[0], gone: false, box, outline: "none", shape: null });
  setDrawing(false);
  chooseItem(a, `a${id}`, true);
}

function imagePoint(event) {
  const frame = $("canvas-a").getBoundingClientRect(), a = editor.answer;
  const clip = (v, most) => Math.max(0, Math.min(most, v));
  return [clip((event.clientX - frame.left) * a.width / frame.width, a.width), clip((event.clientY - frame.top) * a.height / frame.height, a.height)];
}

function movedBox(box, dx, dy, a) {
  const x = Math.max(-box[0], Math.min(dx, a.width - box[2])), y = Math.max(-box[1], Math.min(dy, a.height - box[3]));
  return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
}

// Moves an edge or a corner; edges that pass each other change places.
function sizedBox(box, u, v, x, y) {
  const [x0, y0, x1, y1] = box;
  const across = u === 0 ? [x, x1] : u === 1 ? [x0, x] : [x0, x1], down = v === 0 ? [y, y1] : v === 1 ? [y0, y] : [y0, y1];
  const wide = [Math.min(...across), Math.max(...across)], tall = [Math.min(...down), Math.max(...down)];
  return [wide[0], tall[0], Math.max(wide[1], wide[0] + 1), Math.max(tall[1], tall[0] + 1)];
}

function changeBox(a, item, box) {
  item.held.box = box;
  item.held.shape = null;
  if (a.segmentations && item.k !== null) item.held.outline = boxMoved(a, item) ? "wrong" : "own";
}

function pressed(event) {
  const a = editor.answer;
  if (!a || event.button > 0 || !event.isPrimary) return;
  const [x, y] = imagePoint(event);
  if (editor.drawing) {
    event.preventDefault();
    editor.drag = { fresh: [x, y, x, y], from: [x, y] };
    $("sheet").setPointerCapture(event.pointerId);
    return;
  }
  const shape = event.target.closest("[data-box]");
  if (!shape) return;
  const key = shape.dataset.box, item = itemOf(a, key);
  if (saidOf(a).chosen !== key) { chooseItem(a, key, true); if (event.pointerType === "touch") return; }
  if (item.held.gone) return;
  event.preventDefault();
  const handle = event.target.classList.contains("handle") ? [Number(event.target.dataset.u), Number(event.target.dataset.v)] : null;
  editor.drag = { item, handle, from: [x, y], box: [...item.held.box] };
  $("sheet").setPointerCapture(event.pointerId);
}

function dragged(event) {
  const a = editor.answer, drag = editor.drag;
  if (!a || !drag) return;
  const [x, y] = imagePoint(event);
  if (drag.fresh) drag.fresh = sizedBox([drag.from[0], drag.from[1], drag.from[0], drag.from[1]], 1, 1, x, y);
  else if (drag.handle) changeBox(a, drag.item, sizedBox(drag.box, ...drag.handle, x, y));
  else if (Math.hypot(x - drag.from[0], y - drag.from[1]) > 3 * unitOf(a) || drag.moved) {
    drag.moved = true;
    changeBox(a, drag.item, movedBox(drag.box, x - drag.from[0], y - drag.from[1], a));
  }
  drawSheet();
}

function released() {
  const a = editor.answer, drag = editor.drag;
  editor.drag = null;
  if (!a || !drag) return;
  if (!drag.fresh) { offerFeedback(a); return; }
  const least = 4 * unitOf(a), [x0, y0, x1, y1] = drag.fresh;
  // A tap instead of a drag sets a box that can be sized then.
  const side = Math.min(a.width, a.height) * 0.15;
  const box = x1 - x0 < least && y1 - y0 < least ? movedBox([0, 0, side, side], x0 - side / 2, y0 - side / 2, a) : [x0, y0, Math.min(a.width, Math.max(x1, x0 + 1)), Math.min(a.height, Math.max(y1, y0 + 1))];
  addBox(a, box);
}

function keyed(event) {
  const a = editor.answer, shape = event.target.closest && event.target.closest("[data-box]");
  if (!a || !shape) return;
  const item = itemOf(a, shape.dataset.box), step = Math.max(1, Math.round(Math.max(a.width, a.height) / 200));
  const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key === "Enter" || event.key === " ") chooseItem(a, saidOf(a).chosen === item.key ? null : item.key, true);
  else if (event.key === "Escape") chooseItem(a, null);
  else if (event.key === "Delete" || event.key === "Backspace") {
    if (item.k === null) { undoItem(a, item); $("add-box").focus(); } else { item.held.gone = !item.held.gone; offerFeedback(a); }
  } else if (ways[event.key] && !item.held.gone) {
    const [dx, dy] = ways[event.key], box = item.held.box;
    saidOf(a).chosen = item.key;
    const x = Math.max(box[0] + 1, Math.min(a.width, box[2] + dx)), y = Math.max(box[1] + 1, Math.min(a.height, box[3] + dy));
    changeBox(a, item, event.shiftKey ? [box[0], box[1], x, y] : movedBox(box, dx, dy, a));
    offerFeedback(a);
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

function wireBoxes() {
  const sheet = $("sheet");
  sheet.addEventListener("pointerdown", pressed);
  sheet.addEventListener("pointermove", dragged);
  sheet.addEventListener("pointerup", released);
  sheet.addEventListener("pointercancel", () => { editor.drag = null; if (editor.answer) offerFeedback(editor.answer); });
  sheet.addEventListener("keydown", keyed);
  new ResizeObserver(() => { if (editor.answer) { placeSheet(); drawSheet(); } }).observe($("canvas-a"));
  $("add-box").addEventListener("click", (event) => {
    const a = editor.answer;
    if (!a) return;
    // Pressed by a key: there is nothing to drag with, so a box is put in the middle.
    if (event.detail === 0) { addBox(a, [a.width * 0.35, a.height * 0.35, a.width * 0.65, a.height * 0.65]); return; }
    setDrawing(!editor.drawing);
    saidOf(a).chosen = null;
    offerFeedback(a);
    $("canvas-a").scrollIntoView({ block: "nearest" });
  });
  $("undo-box").addEventListener("click", () => {
    const a = editor.answer, item = a && saidOf(a).chosen !== null ? itemOf(a, saidOf(a).chosen) : null;
    if (item) undoItem(a, item);
  });
  $("shape-file").addEventListener("change", async () => {
    const a = editor.answer, file = $("shape-file").files[0], item = a && saidOf(a).chosen !== null ? itemOf(a, saidOf(a).chosen) : null;
    $("shape-file").value = "";
    if (!file || !item) return;
    try {
      const { shape, box } = await shapeOf(file, a.width, a.height);
      item.held.shape = shape; item.held.box = box; item.held.outline = "given";
      tell(`The outline of box ${itemsOf(a).findIndex((i) => i.key === item.key) + 1} is taken from ${file.name}.`);
    } catch (error) { tell(error.message, true); }
    offerFeedback(a);
  });
}
