"use strict";
// What a person says of an answer: a label that the model knows or a declared new one, and for each box, outline or class
// whether it is right. What was said is held per prediction, so that it is still there when the image is shown again.

const MANY = 15;
const NEW = "\u0000new";

// A choice of known labels that ends with "new class …": `chosen` is called with a label, `declare` with a new name.
function labelOptions(labels, declared) {
  const known = labels.map((l) => make("option", { value: l, text: l }));
  const added = declared.map((l) => make("option", { value: l, text: `${l} (new class)` }));
  return [...known, ...added, make("option", { value: NEW, text: "new class …" })];
}

// What was said of an answer so far.
function saidOf(a) {
  const shot = state.shot;
  shot.judged = shot.judged || {};
  return shot.judged[a.prediction_id] = shot.judged[a.prediction_id] || { rows: {}, added: [], declared: [], chosen: null };
}

function currentAnswer() { return state.shot && state.shot.answers[$("model").value]; }

// Labels that differ only in case, spaces or composition are one: the model's own spelling is taken.
function folded(name) { return name.normalize("NFC").trim().toLowerCase(); }

// Asks for the name of a new class in a dialog; gives the name, or null.
function askForClass(a) {
  return new Promise((done) => {
    const box = $("class-box"), field = $("new-class");
    field.value = "";
    box.returnValue = "";
    box.addEventListener("close", () => {
      const name = field.value.trim().slice(0, 200);
      if (box.returnValue !== "ok" || !name) { done(null); return; }
      const held = saidOf(a);
      const same = [...model(a.model).labels, ...held.declared].find((l) => folded(l) === folded(name));
      if (!same) held.declared.push(name);
      done(same || name);
    }, { once: true });
    box.showModal();
    field.focus();
  });
}

function fillChoice(labels) {
  const many = labels.length > MANY, wanted = $("find-label").value.trim().toLowerCase();
  const a = currentAnswer(), declared = a ? saidOf(a).declared : [];
  $("find-label").parentElement.hidden = !many;
  const shown = many && wanted ? labels.filter((l) => l.toLowerCase().includes(wanted)) : labels;
  const before = $("true-label").value;
  $("true-label").replaceChildren(make("option", { value: "", text: "choose …" }), ...labelOptions(shown, declared));
  if (many && wanted && shown.length) $("true-label").value = shown[0];
  else if ([...$("true-label").options].some((o) => o.value === before)) $("true-label").value = before;
}

function judgedRows(a) {
  return shownRows(a, threshold(), model(a.model).thresholds);
}

// ---- one item an object: the model's own, or one that a person added

function itemsOf(a) {
  const held = saidOf(a);
  const own = judgedRows(a).map((k) => {
    held.rows[k] = held.rows[k] || { label: a.labels[k], gone: false, box: a.boxes_xyxy ? [...a.boxes_xyxy[k]] : null, outline: "own", shape: null };
    return { key: `m${k}`, k, held: held.rows[k] };
  });
  return [...own, ...held.added.map((one) => ({ key: `a${one.id}`, k: null, held: one }))];
}

function itemOf(a, key) { return itemsOf(a).find((i) => i.key === key) || null; }

function boxMoved(a, item) { return item.k !== null && item.held.box.some((v, j) => Math.abs(v - a.boxes_xyxy[item.k][j]) > 0.5); }

function verdictOf(a, item) {
  const { held, k } = item;
  if (k === null) return "missing";
  if (held.gone) return "false_alarm";
  if (held.label !== a.labels[k]) return "wrong_label";
  return boxMoved(a, item) || held.outline !== "own" ? "wrong_box" : "right";
}

// One choice says all of an object: right, another label, not an object, and for outlines that they are wrong.
function verdictChoice(a, item, name) {
  const { held, k } = item, labels = model(a.model).labels;
  const choice = make("select", { "aria-label": `${name}: what it is` });
  if (k !== null) choice.append(make("option", { value: "\u0000right", text: `right: ${a.labels[k]}` }));
  if (k !== null) choice.append(make("option", { value: "\u0000gone", text: "not an object" }));
  if (k !== null && a.segmentations) choice.append(make("option", { value: "\u0000outline", text: "outline is wrong" }));
  const others = make("optgroup", { label: k === null ? "it is" : "wrong class, it is" });
  others.append(...labelOptions(labels.filter((l) => k === null || l !== a.labels[k]), saidOf(a).declared));
  choice.append(others);
  const verdict = verdictOf(a, item);
  choice.value = verdict === "false_alarm" ? "\u0000gone" : verdict === "wrong_box" && held.outline === "wrong" ? "\u0000outline"
    : verdict === "right" || verdict === "wrong_box" ? "\u0000right" : held.label;
  choice.addEventListener("change", async () => {
    const value = choice.value;
    held.gone = value === "\u0000gone";
    if (value === "\u0000outline") { held.label = a.labels[k]; held.outline = "wrong"; held.shape = null; }
    else if (value === "\u0000right") { held.label = a.labels[k]; held.outline = held.outline === "wrong" ? "own" : held.outline; }
    else if (value === NEW) { const label = await askForClass(a); if (label !== null) held.label = label; }
    else if (!held.gone) held.label = value;
    offerFeedback(a);
  });
  return choice;
}

function nameOf(a, item, at) {
  return `${at + 1}. ${item.k === null ? item.held.label : a.labels[item.k]}`;
}

function objectRow(a, item, at) {
  const name = nameOf(a, item, at), verdict = verdictOf(a, item), held = saidOf(a);
  const pick = make("button", { type: "button", class: "name", "aria-pressed": String(held.chosen === item.key), title: "Show it on the image" });
  const swatch = make("span", { class: "swatch" });
  swatch.style.background = colourOfItem(a, item);
  pick.append(swatch, name);
  pick.addEventListener("click", () => { chooseItem(a, held.chosen === item.key ? null : item.key); });
  const parts = [pick, verdictChoice(a, item, name)];
  if (verdict !== "right") {
    const words = { wrong_box: boxMoved(a, item) ? "moved" : "outline", missing: "added" };
    const undo = make("button", { type: "button", class: "small", "aria-label": `${name}: ${item.k === null ? "remove" : "undo"}`, text: item.k === null ? "Remove" : "Undo" });
    undo.addEventListener("click", () => undoItem(a, item));
    if (words[verdict]) parts.push(make("span", { class: "chip", text: words[verdict] }));
    parts.push(undo);
  }
  return make("li", { "data-key": item.key, class: verdict }, ...parts);
}

function undoItem(a, item) {
  const held = saidOf(a);
  if (item.k === null) {
    held.added = held.added.filter((one) => one !== item.held);
    if (held.chosen === item.key) held.chosen = null;
  } else {
    held.rows[item.k] = undefined;
  }
  offerFeedback(a);
}

function classRow(a, k) {
  // What the model called background may hide what it missed.
  const held = saidOf(a), name = isBackground(a.labels[k]) ? `${a.labels[k]} (nothing missed)` : a.labels[k];
  held.rows[k] = held.rows[k] || { right: true };
  const choice = make("select", { "aria-label": `${a.labels[k]}: verdict` });
  choice.append(make("option", { value: "right", text: "right" }), make("option", { value: "wrong", text: "wrong" }));
  choice.value = held.rows[k].right ? "right" : "wrong";
  choice.addEventListener("change", () => { held.rows[k].right = choice.value === "right"; });
  const swatch = make("span", { class: "swatch" });
  swatch.style.background = isBackground(a.labels[k]) ? "transparent" : colourOf(a.label_ids[k]);
  return make("li", {}, make("span", { class: "name" }, swatch, name), choice);
}

function amountRow(v) {
  const field = make("input", { type: "number", step: "any", value: String(v.value), "aria-label": `True ${v.label}` });
  field.dataset.label = v.label;
  return make("li", {}, make("span", { class: "name", text: v.label }), field);
}

function amountsContent(a) {
  const fields = [...$("rows").querySelectorAll("input")];
  const values = Object.fromEntries(fields.map((f) => [f.dataset.label, Number(f.value)]));
  const same = amountsOf(a).every((v) => values[v.label] === v.value);
  return same ? { correct: true } : { values };
}

function textRow(a) {
  const caption = isVector(a);
  const field = make("input", { type: "text", value: a.text || "", "aria-label": caption ? "Caption" : "True text" });
  return make("li", {}, make("span", { class: "name", text: caption ? "caption" : "text" }), field);
}

function textContent(a) {
  const text = $("rows").querySelector("input").value.trim();
  return text === a.text ? { correct: true } : { text };
}

function offerFeedback(a) {
  const classes = isOneLabel(a), masks = hasAreas(a), boxes = Boolean(a.boxes_xyxy);
  $("is-right").hidden = isVector(a);
  $("say-label").hidden = !classes; $("say-rows").hidden = classes; $("say-mask").hidden = !masks;
  $("add-box").hidden = !boxes; $("edit-bar").hidden = !boxes || !state.shot.image;
  if (state.said !== a.prediction_id) { state.said = a.prediction_id; $("said").textContent = ""; }
  fillChoice(model(a.model).labels);
  if (classes) { showEditor(null); return; }
  if (a.values) {
    $("rows").replaceChildren(...amountsOf(a).map((v) => amountRow(v)));
    $("send-rows").hidden = false;
    $("rows-note").textContent = "Write the true value of each; what you leave is taken as right.";
    showEditor(null);
    return;
  }
  if (hasText(a) || isVector(a)) {
    $("rows").replaceChildren(textRow(a));
    $("send-rows").hidden = false;
    $("rows-note").textContent = isVector(a) ? "Write what the image shows: a caption to learn from." : "Write what the line says.";
    showEditor(null);
    return;
  }
  const rows = a.present ? a.labels.map((_, k) => tagRow(a, k)) : masks ? judgedRows(a).map((k) => classRow(a, k)) : itemsOf(a).map((item, at) => objectRow(a, item, at));
  $("rows").replaceChildren(...rows);
  $("send-rows").hidden = !rows.length;
  $("rows-note").textContent = a.present ? "Say of each tag whether the image has it; what you leave is taken as shown."
    : masks ? "Say of each class whether its pixels are right, or upload a corrected mask."
    : a.segmentations ? "Boxes that you do not change count as right. A box that you draw marks a missing object; with a mask of it, it can be learnt."
      : "Boxes that you do not change count as right. Choose a box to move or resize it on the image.";
  if (masks) $("mask-classes").textContent = model(a.model).labels.map((l, k) => `${k} = ${l}`).join(", ") + ", 255 = ignore";
  showEditor(boxes ? a : null);
}

// Whether boxes are being corrected: they are drawn above the canvas then, and not in it.
function correcting(a) {
  const held = saidOf(a);
  return editor.drawing || held.chosen !== null || itemsOf(a).some((item) => verdictOf(a, item) !== "right");
}

function rowsContent(a) {
  if (a.values) return amountsContent(a);
  if (hasText(a) || isVector(a)) return textContent(a);
  if (a.present) return tagsContent(a);
  if (hasAreas(a)) {
    const rows = judgedRows(a), held = saidOf(a);
    const classes = Object.fromEntries(rows.map((k) => [a.labels[k], held.rows[k].right]));
    return rows.length ? { classes, correct: Object.values(classes).every(Boolean) } : { correct: true };
  }
  const labels = model(a.model).labels, used = new Set();
  const objects = itemsOf(a).map((item) => {
    const verdict = verdictOf(a, item), { held, k } = item;
    if (verdict !== "false_alarm" && !labels.includes(held.label)) used.add(held.label);
    const one = { label: verdict === "false_alarm" ? a.labels[k] : held.label, box_xyxy: held.box, verdict };
    if (k !== null) one.predicted = a.labels[k];
    if (held.shape) { one.segmentation = held.shape; delete one.box_xyxy; }
    else if (a.segmentations && k !== null && held.outline === "own" && !boxMoved(a, item)) one.segmentation = a.segmentations[k];
    return one;
  });
  const content = { objects, correct: objects.every((o) => o.verdict === "right") };
  return used.size ? { ...content, new_classes: [...used] } : content;
}

function sendRows() {
  const a = currentAnswer();
  if (a) feedback(rowsContent(a));
}

async function sendLabel() {
  const a = currentAnswer();
  if (!a) return;
  const label = $("true-label").value;
  if (!label || label === NEW) { tell("Choose what it is.", true); return; }
  const known = model(a.model).labels.includes(label);
  await feedback(known ? { label } : { label, new_classes: [label] });
}

async function choseLabel() {
  const a = currentAnswer();
  if (!a || $("true-label").value !== NEW) return;
  const label = await askForClass(a);
  $("find-label").value = "";
  fillChoice(model(a.model).labels);
  $("true-label").value = label === null ? "" : label;
}

function sayRight() {
  const a = currentAnswer();
  if (!a) return;
  if (isOneLabel(a) || a.values || hasText(a)) { feedback({ correct: true }); return; }
  const held = saidOf(a);
  held.rows = {}; held.added = []; held.chosen = null;
  offerFeedback(a);
  sendRows();
}

// ---- tags: any number of them is right

const HAS = "has it", LACKS = "has not", OPEN = "not sure";

function tagSaid(a, k) {
  const held = saidOf(a);
  held.rows[k] = held.rows[k] || { said: a.present.includes(a.labels[k]) ? HAS : LACKS };
  return held.rows[k];
}

function tagRow(a, k) {
  const one = tagSaid(a, k), choice = make("select", { "aria-label": `${a.labels[k]}: whether the image has it` });
  choice.append(...[HAS, LACKS, OPEN].map((v) => make("option", { value: v, text: v })));
  choice.value = one.said;
  choice.addEventListener("change", () => { one.said = choice.value; });
  return make("li", {}, make("span", { class: "name", text: a.labels[k] }), choice);
}

function tagsContent(a) {
  const sure = a.labels.map((l, k) => [l, tagSaid(a, k).said]).filter(([, said]) => said !== OPEN);
  const tags = Object.fromEntries(sure.map(([l, said]) => [l, said === HAS]));
  const same = Object.entries(tags).every(([l, has]) => has === a.present.includes(l));
  return sure.length === a.labels.length ? { tags, correct: same } : same ? { tags } : { tags, correct: false };
}

// ---- sending

function tell(text, bad = false) {
  say(text, bad);
  $("said").textContent = text;
  $("said").classList.toggle("bad", bad);
}

async function feedback(content) {
  const a = currentAnswer();
  if (!a) return;
  const shot = state.shot, body = JSON.stringify({ prediction_id: a.prediction_id, ...content });
  if (await sendSaid("/v1/feedback", body, "application/json")) {
    shot.sent = { ...shot.sent, [a.prediction_id]: content };
    offerCoco();
  }
}

async function sendSaid(path, body, kind) {
  const buttons = [...$("wrong").querySelectorAll("button")];
  for (const b of buttons) b.disabled = true;
  try {
    const told = await (await call(path, { method: "POST", headers: { "Content-Type": kind }, body })).json();
    tell(told.image_kept ? "Thank you: it is stored with the prediction."
      : "Thank you: it is stored with the prediction. The image itself is not, so no model can be trained on it: start the server with --keep images=100%.");
    return true;
  } catch (error) {
    tell(error.message, true);
    return false;
  } finally {
    for (const b of buttons) b.disabled = false;
  }
}

async function sendMask(file) {
  const a = currentAnswer();
  if (!a || !file) return;
  tell(`Sending ${file.name} …`);
  await sendSaid(`/v1/feedback?${new URLSearchParams({ prediction_id: a.prediction_id })}`, file, file.type || "image/png");
}

async function saveMask() {
  const a = currentAnswer();
  if (!a) return;
  const labels = model(a.model).labels;
  const data = await indexedPng(classMap(a, labels), a.width, a.height, labels.map((l, k) => isBackground(l) ? "#000000" : colourOf(k)));
  const link = make("a", { href: URL.createObjectURL(data), download: `${(state.shot.title || "image").replace(/\.\w+$/, "")}-mask.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  tell("The mask is saved. Change it with an editor that keeps its palette, then upload it.");
}
