"use strict";
// The page: one image, one or two models, answers that can be doubted. Talks to its own server and to nobody else.

const state = { models: [], known: false, early: null, shots: [], shot: null, stream: null, live: false, watching: 0 };
const HISTORY = 500;

function say(text, bad = false) { $("status").textContent = text; $("status").classList.toggle("bad", bad); }

function draw(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) if (k === "text") e.textContent = v; else e.setAttribute(k, v);
  e.append(...children);
  return e;
}

const model = (name) => state.models.find((m) => m.name === name);
const percent = (v, digits = 1) => (100 * v).toFixed(digits) + " %";

// Amounts that an answer holds, each with its name, and what is shown of it.
function amountsOf(a) {
  return Object.entries(a.values).map(([name, v]) => ({
    label: v.unit ? `${name} [${v.unit}]` : name,
    name,
    value: v.value,
    text: `${digits(v.value)}${v.unit ? " " + v.unit : ""}`,
    interval: v.interval ? `${digits(v.interval[0])} to ${digits(v.interval[1])}${v.unit ? " " + v.unit : ""}` : "",
  }));
}

const digits = (v) => String(Number(v.toPrecision(4)));

// ---- looking

// Everything is asked for once; the slider filters here, at once.
function query(name, more = {}) {
  const values = { ...more };
  if (model(name).options.includes("iou")) values.conf = "0.05";
  if (model(name).reads === "clip" && !values.explain) values.over_time = "true";
  const text = new URLSearchParams(values).toString();
  return `/v1/models/${encodeURIComponent(name)}/predict${text ? "?" + text : ""}`;
}

async function ask(name, blob, more) {
  const answer = await call(query(name, more), { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } });
  return answer.json();
}

async function look(blob, title) {
  const shot = { blob, title, address: URL.createObjectURL(blob), answers: {}, heats: {}, clip: readsClips(), unplayable: false };
  if (shot.clip) shot.image = null;
  else try { shot.image = await loadImage(shot.address); } catch (_) { shot.image = null; }
  await show(shot);
  remember(shot);
  return shot;
}

async function show(shot) {
  state.shot = shot;
  $("invite").hidden = true; stageFor(shot); $("controls").hidden = false; $("stage").classList.add("full");
  const names = [$("model").value, $("second").value].filter(Boolean);
  say("Looking …");
  shot.failed = "";
  render();
  if (state.shots.includes(shot)) listShots();
  try {
    await Promise.all(names.map(async (name) => { if (!shot.answers[name]) shot.answers[name] = await ask(name, shot.blob); }));
    if (state.shot !== shot) return;
    render();
    const a = shot.answers[names[0]];
    say(shot.image || shot.clip ? `Answered in ${Math.round(a.timing_ms.total)} ms.` : "Answered. Your browser cannot show this kind of image.");
  } catch (error) {
    shot.failed = error.message;
    if (state.shot === shot) { say(error.message, true); render(); timelines(shot); }
  }
}

// The newest image comes first; those of a batch keep their order.
function remember(shot, last = false) {
  if (last) state.shots.push(shot); else state.shots.unshift(shot);
  for (const old of state.shots.splice(HISTORY)) URL.revokeObjectURL(old.address);
  if (!state.listing) state.listing = setTimeout(listShots, last ? 100 : 0);
}

function listShots() {
  state.listing = 0;
  const list = $("history");
  list.replaceChildren(...state.shots.map((s) => {
    const a = s.answers[$("model").value];
    const text = a ? headline(a) : s.title;
    const button = make("button", { type: "button", title: s.title, "aria-label": `Show again: ${s.title}, ${text}` });
    if (s === state.shot) button.setAttribute("aria-current", "true");
    if (s.image) button.append(make("img", { src: s.address, alt: "", loading: "lazy" }));
    button.append(text);
    button.addEventListener("click", () => show(s));
    return make("li", {}, button);
  }));
  $("history-box").hidden = state.shots.length < 2;
}

function headline(a) {
  if (isVector(a)) return `vector of ${a.dimensions} numbers`;
  if (a.values) return amountsOf(a).map((v) => `${v.name} ${v.text}`).join(", ");
  if (hasText(a)) return a.text || "no text";
  if (isOneLabel(a)) return a.labels[0];
  if (hasAreas(a)) return a.labels.filter((l) => !isBackground(l)).join(", ") || "nothing";
  const rows = shownRows(a, threshold(), model(a.model) && model(a.model).thresholds);
  if (a.present) return rows.map((k) => a.labels[k]).join(", ") || "no tag";
  return rows.length ? `${rows.length} × ${[...new Set(rows.map((k) => a.labels[k]))].slice(0, 3).join(", ")}` : "nothing";
}

// null: each class's stored operating point, until somebody moves the slider.
let chosenThreshold = null;
function threshold() { return chosenThreshold; }

function render() {
  const shot = state.shot;
  if (!shot) return;
  const first = $("model").value, second = $("second").value;
  for (const [letter, name] of [["a", first], ["b", second]]) {
    const figure = $("figure-" + letter);
    figure.hidden = !name || !shot.image;
    if (!name || !shot.image) continue;
    const a = shot.answers[name], points = model(name).thresholds;
    const rows = a ? shownRows(a, isOneLabel(a) ? 0 : threshold(), points) : [];
    const heat = shot.heats[name];
    // A tiny image is shown large enough to be seen, with its pixels as they are.
    const small = Math.max(shot.image.width, shot.image.height) < 240;
    $("canvas-" + letter).style.width = small ? `min(100%, ${320 * shot.image.width / Math.max(shot.image.width, shot.image.height)}px)` : "";
    $("canvas-" + letter).style.imageRendering = small ? "pixelated" : "";
    // Boxes that can be corrected are drawn above the canvas.
    const lean = letter === "a" && a && a.boxes_xyxy && correcting(a);
    if (letter === "a") editor.lean = lean;
    drawAnswer($("canvas-" + letter), shot.image, a, { rows, boxes: !lean, heat: heat && heat.layer, opacity: Number($("heat").value) });
    const words = a ? describe(a, rows) : "";
    $("canvas-" + letter).setAttribute("role", "img");
    $("canvas-" + letter).setAttribute("aria-label", `${shot.title}. ${words}`);
    $("caption-" + letter).textContent = second ? `${name}: ${words}` : "";
  }
  const a = shot.answers[first];
  const filtered = a && !isOneLabel(a) && !a.values && !hasText(a) && !isVector(a);
  $("threshold-row").hidden = !filtered; $("usual").hidden = !filtered;
  $("explain").disabled = !a;
  timelines(shot);
  $("heat-row").hidden = !shot.heats[first];
  $("wrong").hidden = !a; $("code").hidden = !a;
  offerCoco();
  $("answer").replaceChildren(...(a ? answerCard(a) : []));
  if (second && shot.answers[second]) $("answer").append(...answerCard(shot.answers[second], true));
  if (a) { code(); offerFeedback(a); } else { showEditor(null); $("edit-bar").hidden = true; }
}

function describe(a, rows) {
  if (a.values || isVector(a)) return headline(a);
  if (hasText(a)) return a.text ? `${a.text}, ${percent(a.probability)}` : headline(a);
  if (isOneLabel(a)) return `${a.labels[0]}, ${percent(a.scores[0])}`;
  if (hasAreas(a)) {
    const parts = rows.filter((k) => !isBackground(a.labels[k])).map((k) => `${a.labels[k]} ${percent(a.areas[k])} of the image`);
    return parts.join(", ") || "background only";
  }
  if (a.present) return rows.map((k) => a.labels[k]).join(", ") || "no tag";
  const counts = {};
  for (const k of rows) counts[a.labels[k]] = (counts[a.labels[k]] || 0) + 1;
  return Object.entries(counts).map(([l, n]) => `${l} × ${n}`).join(", ") || "nothing found";
}

function answerCard(a, second = false) {
  const points = model(a.model) ? model(a.model).thresholds : {};
  const rows = shownRows(a, isOneLabel(a) ? 0 : threshold(), points);
  const parts = [];
  if (second) parts.push(make("hr"));
  parts.push(make("p", { class: "top", text: isOneLabel(a) ? a.labels[0] : describe(a, rows) }));
  const calibrated = a.values || isVector(a) ? "" : a.calibration && a.calibration !== "none" ? "calibrated" : "as the model gives them";
  parts.push(make("p", { class: "sub", text: calibrated ? `${a.model}; scores ${calibrated}` : a.model }));
  if (a.unfamiliar && a.unfamiliar.flagged) {
    parts.push(make("p", {}, make("span", { class: "chip warn", text: `Unlike the ${model(a.model) ? model(a.model).reads : "image"}s it was validated on (p = ${a.unfamiliar.p}): do not rely on the prediction` })));
  }
  if (a.unfamiliar === null && a.unfamiliar_reason) {
    parts.push(make("p", { class: "sub", text: `Not checked for unfamiliar ${model(a.model) ? model(a.model).reads : "image"}s: ${a.unfamiliar_reason}` }));
  }
  for (const note of a.notes || []) parts.push(make("p", { class: "sub", text: note }));
  for (const one of a.refused || []) {
    parts.push(make("p", {}, make("span", { class: "chip warn", text: `Refused as ${one.reason}: ${one.text}` })));
  }
  if (isOneLabel(a) && a.accepted && !a.accepted.length && !a.refused) {
    parts.push(make("p", {}, make("span", { class: "chip warn", text: "No class reaches its operating point" })));
  }
  if (isVector(a)) {
    parts.push(make("p", { class: "sub", text: `Typicality ${digits(a.typicality)}: how near the nearest training image is, 1 at most. A vector says nothing by itself; it is compared with others.` }));
  }
  if (a.values) {
    const held = amountsOf(a).map((v) => make("li", {}, make("span", { class: "name", text: v.name }),
      make("span", { class: "value", text: v.text }), make("span", { class: "sub", text: v.interval ? `90 % interval ${v.interval}` : `no interval: ${a.intervals || "none"}` })));
    parts.push(make("ul", { class: "bars" }, ...held));
  }
  if (hasText(a)) {
    const each = a.characters.slice(0, 80).map((c) => make("li", {}, make("span", { class: "name", text: c.character === " " ? "space" : c.character }),
      make("span", { class: "value", text: percent(c.score) }),
      make("meter", { min: "0", max: "1", value: String(c.score), "aria-label": `${c.character} ${percent(c.score)}` })));
    parts.push(make("ul", { class: "bars" }, ...each));
  }
  const list = make("ul", { class: "bars" });
  const order = isOneLabel(a) ? rows.slice(0, 5) : rows.filter((k) => !hasAreas(a) || !isBackground(a.labels[k])).slice(0, 40);
  for (const k of order) {
    const value = hasAreas(a) ? a.areas[k] : a.scores[k];
    const name = make("span", { class: "name" });
    if (!isOneLabel(a)) {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = colourOf(a.label_ids[k]);
      name.append(swatch);
    }
    name.append(a.labels[k]);
    list.append(make("li", {}, name, make("span", { class: "value", text: percent(value) }),
      make("meter", { min: "0", max: "1", value: String(value), "aria-label": `${a.labels[k]} ${percent(value)}` })));
  }
  parts.push(list);
  if (a.explanations && a.explanations[0]) {
    const e = a.explanations[0];
    parts.push(make("p", { class: "sub", text: e.faithful ? `Heat for ${e.label}: covering it changes the prediction more than any of 19 random maps.` : `Heat for ${e.label}: it does not beat all of 19 random maps, so do not rely on it.` }));
  }
  parts.push(make("p", { class: "hash", text: `prediction ${a.prediction_id} · bundle ${a.digest.slice(0, 16)}` }));
  return parts;
}

async function explain() {
  const shot = state.shot, name = $("model").value;
  if (!shot) return;
  $("explain").disabled = true;
  say(shot.clip ? "Covering moments of the clip and predicting again …" : "Covering parts of the image and predicting again …");
  try {
    const found = await ask(name, shot.blob, { explain: "true" });
    const e = found.explanations[0];
    if (!e) { say("There is nothing to explain: nothing was found."); return; }
    if (!shot.clip) shot.heats[name] = { layer: await heatLayer(e.heat_png) };
    shot.answers[name].explanations = found.explanations;
    say(e.faithful ? `${shot.clip ? "Moments" : "Regions"} that support ${e.label}.` : `The heatmap for ${e.label} is not reliable: it is no better than chance.`);
  } catch (error) {
    say(error.message, true);
  } finally {
    $("explain").disabled = false;
    render();
  }
}

// ---- the same from a program

function code() {
  const name = $("model").value, address = `${location.origin}/v1/models/${encodeURIComponent(name)}/predict`;
  const bearer = token() ? ` -H "Authorization: Bearer $EYEWRIGHT_TOKEN"` : "";
  const a = state.shot && state.shot.answers[name];
  const printed = a && isVector(a) ? `answer["embedding"]` : a && a.values ? `answer["values"]` : a && a.present ? `answer["present"]` : `answer["labels"], answer["scores"]`;
  const file = readsClips() ? "clip.mp4" : "image.jpg";
  state.curl = `curl${bearer} --data-binary @${file} "${address}"`;
  state.python = `import json, os\nfrom urllib import request\n\nasked = request.Request(\n    "${address}",\n    data=open("${file}", "rb").read(),\n    headers={"Content-Type": "application/octet-stream"${token() ? `,\n             "Authorization": "Bearer " + os.environ["EYEWRIGHT_TOKEN"]` : ""}},\n)\nanswer = json.load(request.urlopen(asked, timeout=60))\nprint(${printed})`;
  if (!$("code-text").textContent) $("code-text").textContent = state.curl;
}

async function copy(text, what) {
  $("code-text").textContent = text;
  try { await navigator.clipboard.writeText(text); say(`${what} is copied.`); } catch (_) { say(`The browser does not let pages copy: mark the text of ${what} below.`); }
}

// ---- the camera

async function camera() {
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`, true);
    return;
  }
  $("video").srcObject = state.stream;
  await $("video").play();
  $("invite").hidden = true; $("canvases").hidden = true; $("video").hidden = false; $("controls").hidden = false;
  for (const id of ["snap", "live", "stop-camera"]) $(id).hidden = false;
  say("The camera is on.");
}

function cameraOff() {
  state.live = false;
  $("live").setAttribute("aria-pressed", "false");
  if (state.stream) for (const track of state.stream.getTracks()) track.stop();
  state.stream = null;
  $("video").hidden = true; $("video").srcObject = null;
  for (const id of ["snap", "live", "stop-camera"]) $(id).hidden = true;
  if (state.shot) stageFor(state.shot); else $("canvases").hidden = true;
  $("invite").hidden = Boolean(state.shot); $("controls").hidden = !state.shot;
}

function frame() {
  const canvas = document.createElement("canvas");
  canvas.width = $("video").videoWidth; canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

async function snap() {
  const blob = await frame();
  cameraOff();
  await look(blob, "camera");
}

async function live() {
  state.live = !state.live;
  $("live").setAttribute("aria-pressed", String(state.live));
  $("canvases").hidden = !state.live; $("video").hidden = state.live;
  while (state.live) {
    const blob = await frame();
    const shot = { blob, title: "camera, live", address: "", answers: {}, heats: {} };
    shot.image = await createImageBitmap(blob);
    try {
      const names = [$("model").value, $("second").value].filter(Boolean);
      await Promise.all(names.map(async (n) => { shot.answers[n] = await ask(n, blob); }));
    } catch (error) { say(error.message, true); break; }
    if (!state.live) break;
    state.shot = shot;
    render();
  }
}

// ---- about the model

function about() {
  const m = model($("model").value);
  if (!m) return;
  const measured = Object.entries(m.metrics).filter(([, v]) => v && v.value != null);
  const further = measured.filter(([name]) => !m.metric_titles[name]);
  const metrics = [metricTable(m, measured.filter(([name]) => m.metric_titles[name]))];
  if (further.length) metrics.push(make("details", {}, make("summary", { text: `${further.length} further metric${further.length === 1 ? "" : "s"}` }), metricTable(m, further)));
  const facts = make("table", {}, make("tbody", {}, ...[["task", m.task], ["takes", takes(m)], ["exported", m.exported || "unknown"], ["calibration", m.calibration || "none"], ["policy", Object.entries(m.policy).map(([k, v]) => `${k} = ${v}`).join(", ") || "none"], ["bundle", m.digest]].map(([k, v]) => make("tr", {}, make("th", { text: k }), make("td", { text: v })))));
  const links = make("p", { class: "row" }, ...m.pages.map((kind) => {
    const button = make("button", { type: "button", text: kind === "report" ? "Open the report" : "Open the model card" });
    button.addEventListener("click", () => openPage(m.name, kind));
    return button;
  }));
  $("about").replaceChildren(make("div", { class: "cards" },
    card(m.title, facts, links),
    card("Test metrics, measured before export", ...metrics),
    ...(m.label_words.length ? [card(`${m.labels.length} ${m.label_words[m.labels.length === 1 ? 0 : 1]}`, make("p", {}, ...m.labels.slice(0, 300).map((l) => make("span", { class: "chip", text: l }))))] : [])));
}

// Rates in per cent, amounts with their unit and the digits that their interval leaves certain, as in the report.
function metricTable(m, measured) {
  const rows = measured.map(([name, v]) => {
    const rate = m.rates.includes(name), half = v.low == null ? 0 : (v.high - v.low) / 2;
    const places = half > 0 ? Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(half)))) : null;
    const shown = (x) => (rate ? (100 * x).toFixed(1) : places === null ? digits(x) : x.toFixed(places));
    const unit = rate ? "%" : m.units[name] || "";
    const value = [shown(v.value), unit].filter(Boolean).join(" "), interval = v.low == null ? "" : `${shown(v.low)} to ${shown(v.high)}`;
    const title = m.metric_titles[name] || name.replaceAll("_", " ");
    return make("tr", {}, make("td", { text: title }), ...[value, interval, v.n.toLocaleString()].map((text) => make("td", { class: "n", text })));
  });
  const head = make("tr", {}, make("th", { text: "metric" }), ...["value", "95 % interval", "n"].map((text) => make("th", { class: "n", text })));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function takes(m) {
  if (m.size_hw) return `${m.size_hw[1]} × ${m.size_hw[0]} pixels, ${m.channels === 1 ? "grey" : "colour"}`;
  return Object.entries(m.inputs).map(([name, one]) => `${name}: ${one.words} (${one.dtype} ${one.shape.join(" × ")})`).join("; ") || "nothing";
}

async function openPage(name, kind) {
  // Without a token the address itself can be opened; with one the page has to fetch it.
  const path = `/v1/models/${encodeURIComponent(name)}/${kind}`;
  if (!token()) { window.open(path, "_blank", "noopener"); return; }
  try {
    const blob = await (await call(path)).blob();
    const link = make("a", { href: URL.createObjectURL(blob), download: `${name}-${kind}.${kind === "report" ? "html" : "md"}` });
    link.click();
  } catch (error) { say(error.message, true); }
}

// ---- wiring

function view(name) {
  for (const v of ["look", "search", "live", "fill", "watch", "about"]) {
    $("view-" + v).hidden = v !== name;
    $("tab-" + v).setAttribute("aria-pressed", String(v === name));
  }
  clearInterval(state.watching);
  leaveLive();
  if (name === "live") enterLive();
  if (name === "watch") { watch(); state.watching = setInterval(watch, 5000); }
  if (name === "about") about();
  if (name === "fill") enterFill();
}

function takeFiles(files) {
  if (!state.known) {
    // The page was quicker than the server: they are taken when the models are known.
    state.early = [...files];
    return;
  }
  if (!$("view-search").hidden) {
    const file = [...files].find(isPicture);
    if (!file) { say("This is not an image.", true); return; }
    searchImage(file, file.name || "pasted image");
    return;
  }
  if (!$("view-fill").hidden) {
    const file = [...files].find(isPicture);
    if (file) fillImage(file, file.name || "pasted image"); else tellFill("This is not an image.", true);
    return;
  }
  if (state.stream) cameraOff();
  if (readsClips()) takeClips([...files]); else takeMany([...files]);
}

async function begin() {
  try {
    state.models = (await (await call("/v1/models")).json()).models;
  } catch (error) { say(error.message, true); return; }
  for (const m of state.models) {
    $("model").append(make("option", { value: m.name, text: m.name }));
    $("second").append(make("option", { value: m.name, text: m.name }));
  }
  $("second-pick").hidden = state.models.length < 2;
  fillLabels();
  // Somebody may have opened the part before the models were known.
  if (!$("view-about").hidden) about();
  beginLive();
  beginSearch();
  beginFill();
  // A model for holes has to be told where they are.
  if (state.models.length && state.models.every(fillsHoles)) view("fill");
  state.known = true;
  const early = state.early;
  state.early = null;
  if (early) takeFiles(early);
}

function fillLabels() {
  const m = model($("model").value);
  inviteFor();
  fillChoice(m.labels);
  teach();
  // Half the widths of intervals are no scores, and nothing is filtered by them.
  const points = Object.values(m.thresholds).filter((v) => v != null);
  const usual = points.length ? points.reduce((a, b) => a + b, 0) / points.length : 0.5;
  // A stranger's model brings no stored points.
  chosenThreshold = points.length || !m.options.includes("iou") ? null : 0.4;
  $("usual").disabled = !points.length;
  $("threshold").value = String(chosenThreshold === null ? usual : chosenThreshold);
  $("threshold-value").textContent = points.length ? "stored" : Number($("threshold").value).toFixed(2);
}

document.addEventListener("DOMContentLoaded", () => {
  const stage = $("stage");
  $("choose").addEventListener("click", () => $("file").click());
  $("another").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { takeFiles($("file").files); $("file").value = ""; });
  stage.addEventListener("keydown", (e) => { if ((e.key === "Enter" || e.key === " ") && e.target === stage) { e.preventDefault(); $("file").click(); } });
  for (const kind of ["dragenter", "dragover"]) stage.addEventListener(kind, (e) => { e.preventDefault(); stage.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) stage.addEventListener(kind, () => stage.classList.remove("over"));
  stage.addEventListener("drop", async (e) => { e.preventDefault(); takeFiles(await droppedFiles(e.dataTransfer)); });
  document.addEventListener("paste", (e) => { if (e.clipboardData && e.clipboardData.files.length) takeFiles(e.clipboardData.files); });
  $("webcam").addEventListener("click", camera);
  $("snap").addEventListener("click", snap);
  $("live").addEventListener("click", live);
  $("stop-camera").addEventListener("click", cameraOff);
  $("threshold").addEventListener("input", () => { chosenThreshold = Number($("threshold").value); $("threshold-value").textContent = chosenThreshold.toFixed(2); render(); });
  $("usual").addEventListener("click", () => { fillLabels(); render(); });
  $("heat").addEventListener("input", () => { $("heat-value").textContent = Number($("heat").value).toFixed(2); render(); });
  $("explain").addEventListener("click", explain);
  $("model").addEventListener("change", () => { fillLabels(); showAgain(); fillMethods(); if (!$("view-about").hidden) about(); });
  $("second").addEventListener("change", () => { if (state.shot) show(state.shot); });
  $("is-right").addEventListener("click", sayRight);
  $("wrong").addEventListener("submit", (e) => {
    e.preventDefault();
    sendLabel();
  });
  $("find-label").addEventListener("input", () => fillChoice(model($("model").value).labels));
  $("send-rows").addEventListener("click", sendRows);
  $("true-label").addEventListener("change", choseLabel);
  $("save-mask").addEventListener("click", saveMask);
  $("mask-file").addEventListener("change", () => { sendMask($("mask-file").files[0]); $("mask-file").value = ""; });
  wireBoxes();
  wireBatch();
  $("copy-curl").addEventListener("click", () => copy(state.curl, "The curl line"));
  $("copy-python").addEventListener("click", () => copy(state.python, "The Python"));
  for (const v of ["look", "live", "watch", "about"]) $("tab-" + v).addEventListener("click", () => view(v));
  begin();
});
