"use strict";
// Many images: files, folders and videos, predicted one after another; keys to step through them; corrections as COCO.

const MOST = 500, FRAMES = 120, AT_ONCE = 2, SAMPLES = 8, LISTED = 50;
const batch = { waiting: [], total: 0, done: 0, failed: 0, at: 0, stopped: false, lost: [] };

const isPicture = (f) => f.type.startsWith("image/") || /\.(tiff?|hei[cf]|jxl|jp2|tga|pnm|ppm|pgm|avif|webp)$/i.test(f.name);
const isVideo = (f) => f.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|flv|ts|ogv|wmv|3gp)$/i.test(f.name || "");

// The files of what was dropped, those in folders too, sorted by their paths.
async function droppedFiles(transfer) {
  // The list is gone as soon as this function waits.
  const roots = [...transfer.items].map((i) => i.webkitGetAsEntry && i.webkitGetAsEntry()).filter(Boolean);
  if (!roots.some((r) => r.isDirectory)) return [...transfer.files];
  const found = [];
  async function walk(entry) {
    if (entry.isFile) { found.push([entry.fullPath, await new Promise((done, fail) => entry.file(done, fail))]); return; }
    const reader = entry.createReader();
    for (;;) {
      // A reader gives some entries a call, and none at the end.
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return;
      for (const one of some) await walk(one);
    }
  }
  for (const root of roots) await walk(root);
  return found.sort((a, b) => (a[0] < b[0] ? -1 : 1)).map(([, file]) => file);
}

async function takeMany(files) {
  const usable = [...files].filter((f) => isPicture(f) || isVideo(f)), other = files.length - usable.length;
  if (!usable.length) { say("Expected images or videos, found none.", true); return; }
  if (usable.length === 1 && isPicture(usable[0])) { await look(usable[0], usable[0].name || "pasted image"); return; }
  const idle = batch.done + batch.failed >= batch.total;
  if (idle) Object.assign(batch, { total: 0, done: 0, failed: 0, stopped: false, lost: [] });
  for (const f of files) if (!usable.includes(f)) batch.lost.push(`${f.webkitRelativePath || f.name}: not an image or video`);
  for (const file of usable) {
    if (isVideo(file)) await addFrames(file); else add(file, file.webkitRelativePath || file.name);
    if (batch.stopped) break;
  }
  if (other) told();
  while (batch.at < AT_ONCE && batch.waiting.length) next();
}

function add(blob, title) {
  if (state.shots.length + batch.waiting.length >= MOST) {
    batch.stopped = true;
    say(`This page holds ${MOST} images; for more, use eyewright predict.`, true);
    return;
  }
  batch.waiting.push({ blob, title }); batch.total += 1;
  told();
}

// A frame a second, or as many as the page takes of a long video; each is an image of its own.
async function addFrames(file) {
  const video = document.createElement("video"), canvas = document.createElement("canvas");
  video.muted = true; video.preload = "auto"; video.src = URL.createObjectURL(file);
  try {
    await new Promise((done, fail) => { video.onloadeddata = done; video.onerror = () => fail(new Error()); });
    const length = Number.isFinite(video.duration) ? video.duration : 0, step = Math.max(1, length / FRAMES);
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    for (let t = 0; (t < length || t === 0) && !batch.stopped; t += step) {
      if (t) await new Promise((done) => { video.onseeked = done; video.currentTime = t; });
      canvas.getContext("2d").drawImage(video, 0, 0);
      const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
      add(frame, `${file.name} at ${t.toFixed(1)} s`);
    }
  } catch (_) {
    say(`Your browser cannot play ${file.name}: use eyewright predict BUNDLE VIDEO.`, true);
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

async function next() {
  const one = batch.waiting.shift(), name = $("model").value;
  batch.at += 1;
  const shot = { ...one, address: URL.createObjectURL(one.blob), answers: {}, heats: {} };
  try { shot.image = await loadImage(shot.address); } catch (_) { shot.image = null; }
  try {
    shot.answers[name] = await ask(name, shot.blob);
    batch.done += 1;
    remember(shot, true);
    if (batch.done === 1) await show(shot);
  } catch (error) {
    batch.failed += 1;
    URL.revokeObjectURL(shot.address);
    batch.lost.push(`${shot.title}: ${error.message}`);
  }
  batch.at -= 1;
  told();
  if (batch.waiting.length) next();
}

function told() {
  const ended = batch.done + batch.failed, running = ended < batch.total;
  $("batch").hidden = !batch.total;
  $("batch-bar").max = batch.total; $("batch-bar").value = ended;
  $("batch-stop").hidden = !running;
  $("batch-text").textContent = `${batch.done} of ${batch.total} images predicted.`;
  // A message would be gone with the next prediction: what was not predicted stays until other files are chosen.
  $("batch-lost").hidden = !batch.lost.length;
  $("batch-lost-what").textContent = `${batch.lost.length} ${batch.lost.length === 1 ? "file" : "files"} not predicted`;
  $("batch-lost-list").replaceChildren(...batch.lost.slice(0, LISTED).map((text) => make("li", { text })),
    ...(batch.lost.length > LISTED ? [make("li", { text: `and ${batch.lost.length - LISTED} more` })] : []));
}

function stopBatch() {
  batch.total -= batch.waiting.length;
  batch.waiting = []; batch.stopped = true;
  told();
}

// ---- stepping through the images

function step(by) {
  const at = state.shots.indexOf(state.shot), other = state.shots[at + by];
  if (other) show(other);
}

// Keys of the stage alone: elsewhere they belong to fields, boxes and screen readers.
function stageKey(e) {
  if (e.target !== $("stage") || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "ArrowRight") step(1);
  else if (e.key === "ArrowLeft") step(-1);
  else if (e.key.toLowerCase() === "r" && state.shot && !$("is-right").hidden) sayRight();
  else return;
  e.preventDefault();
}

// ---- what was corrected, as COCO

// The smallest box around run lengths, x y width height, and how many pixels they hold.
function measureRuns(counts, height) {
  let position = 0, on = false, x0 = Infinity, y0 = Infinity, x1 = -1, y1 = -1, area = 0;
  for (const run of parseCounts(counts)) {
    if (on && run) {
      const last = position + run - 1, left = Math.floor(position / height), right = Math.floor(last / height);
      area += run;
      x0 = Math.min(x0, left); x1 = Math.max(x1, right);
      y0 = Math.min(y0, left === right ? position % height : 0); y1 = Math.max(y1, left === right ? last % height : height - 1);
    }
    position += run; on = !on;
  }
  return { bbox: area ? [x0, y0, x1 - x0 + 1, y1 - y0 + 1] : [0, 0, 0, 0], area };
}

function correctedCoco() {
  const name = $("model").value, labels = [...model(name).labels], images = [], annotations = [];
  for (const shot of state.shots) {
    const a = shot.answers[name], sent = a && shot.sent && shot.sent[a.prediction_id];
    if (!sent || !sent.objects) continue;
    images.push({ id: images.length + 1, file_name: shot.title, width: a.width, height: a.height });
    for (const o of sent.objects) {
      if (o.verdict === "false_alarm") continue;
      if (!labels.includes(o.label)) labels.push(o.label);
      const box = o.box_xyxy && [o.box_xyxy[0], o.box_xyxy[1], o.box_xyxy[2] - o.box_xyxy[0], o.box_xyxy[3] - o.box_xyxy[1]];
      const place = o.segmentation ? { ...measureRuns(o.segmentation.counts, o.segmentation.size[0]), segmentation: o.segmentation }
        : { bbox: box, area: box[2] * box[3], segmentation: [] };
      annotations.push({ id: annotations.length + 1, image_id: images.length, category_id: labels.indexOf(o.label) + 1, iscrowd: 0, ...place });
    }
  }
  return { info: { description: "Corrected on the page of Eyewright." }, images, annotations, categories: labels.map((l, k) => ({ id: k + 1, name: l, supercategory: "" })) };
}

function offerCoco() {
  const boxes = model($("model").value).options.includes("iou"), n = boxes ? correctedCoco().images.length : 0;
  $("save-coco").hidden = !n;
  $("save-coco").textContent = `Save ${n} checked ${n === 1 ? "image" : "images"} as COCO`;
}

function saveCoco() {
  const data = new Blob([JSON.stringify(correctedCoco())], { type: "application/json" });
  const link = make("a", { href: URL.createObjectURL(data), download: "corrected.coco.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ---- before the first image

function teach() {
  const m = model($("model").value);
  if (!m) return;
  offerSamples();
  if (!m.label_words.length) { $("teach-model").textContent = `${m.name} is ready.`; return; }
  const shown = m.labels.slice(0, 8).join(", ") + (m.labels.length > 8 ? `, and ${m.labels.length - 8} more` : "");
  $("teach-model").textContent = `${m.name} knows ${m.labels.length} ${m.label_words[m.labels.length === 1 ? 0 : 1]}: ${shown}.`;
}

// Images that come with the model, for somebody who has no image yet.
async function offerSamples() {
  const m = model($("model").value), row = $("sample-row");
  if (!m || row.dataset.of === m.digest) return;
  row.dataset.of = m.digest; row.replaceChildren(); $("samples").hidden = true;
  for (let k = 0; k < Math.min(m.samples, SAMPLES); k++) {
    let blob;
    try { blob = await (await call(`/v1/models/${encodeURIComponent(m.name)}/samples/${k}`)).blob(); } catch (_) { return; }
    if (row.dataset.of !== m.digest) return;
    const title = `sample ${k + 1}`, image = make("img", { src: URL.createObjectURL(blob), alt: "" });
    const take = make("button", { type: "button", class: "sample", "aria-label": `Predict ${title}` }, image);
    take.addEventListener("click", (e) => { e.stopPropagation(); takeFiles([new File([blob], `${title}.png`, { type: "image/png" })]); });
    row.append(take); $("samples").hidden = false;
  }
}

function wireBatch() {
  $("choose-folder").addEventListener("click", () => $("folder").click());
  $("folder").addEventListener("change", () => { takeFiles($("folder").files); $("folder").value = ""; });
  $("batch-stop").addEventListener("click", stopBatch);
  $("save-coco").addEventListener("click", saveCoco);
  $("stage").addEventListener("keydown", stageKey);
}
