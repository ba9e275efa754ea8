// The page: a picture comes in, the model runs in this browser, the answer is drawn. Nothing leaves the device.

import { prepare } from "./prepare.js";
import { decode } from "./decode.js";

const $ = (id) => document.getElementById(id);
const SIDE = 20000, PIXELS = 40e6;
let contract = null, ort = null, session = null, backend = "wasm", busy = false, stream = null;

function say(text, bad) { $("status").textContent = text; $("status").classList.toggle("bad", Boolean(bad)); }

async function load() {
  contract = await (await fetch("contract.json")).json();
  document.title = contract.name;
  $("title").textContent = contract.name;
  $("about").textContent = `${contract.task}, ${contract.labels.length} classes, ${contract.precision}; ${(contract.bytes / 1e6).toFixed(1)} MB of model`;
  const gpu = contract.webgpu && navigator.gpu ? await navigator.gpu.requestAdapter().catch(() => null) : null;
  backend = gpu ? "webgpu" : "wasm";
  try { await open(); } catch (error) {
    if (backend === "wasm") throw error;
    // A graphics processor that is there and does not work is as good as none.
    backend = "wasm";
    await open();
  }
  say(`Ready, on ${backend === "webgpu" ? "the GPU" : "the CPU"} of this device.`);
  $("choose").disabled = $("camera").disabled = false;
  document.body.dataset.ready = backend;
}

async function open() {
  ort = await import(backend === "webgpu" ? "./runtime/ort.webgpu.min.mjs" : "./runtime/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("./runtime/", location.href).href;
  // Threads need headers that a plain file server does not send.
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  ort.env.logLevel = "error";
  const bytes = new Uint8Array(await (await fetch(contract.model)).arrayBuffer());
  session = await ort.InferenceSession.create(bytes, { executionProviders: [backend], graphOptimizationLevel: "all" });
}

async function pixelsOf(source) {
  const bitmap = source instanceof Blob ? await createImageBitmap(source, { imageOrientation: "from-image", premultiplyAlpha: "default" }) : source;
  const { width, height } = bitmap;
  if (!width || width > SIDE || height > SIDE || width * height > PIXELS) throw new Error(`expected an image of at most ${PIXELS / 1e6} million pixels, found ${width}x${height}; shrink it`);
  const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  const four = pen.getImageData(0, 0, width, height).data, data = new Uint8Array(width * height * 3);
  for (let i = 0, k = 0; i < four.length; i += 4, k += 3) { data[k] = four[i]; data[k + 1] = four[i + 1]; data[k + 2] = four[i + 2]; }
  return { bitmap, image: { data, width, height, channels: 3 } };
}

async function run(pixels) {
  const [height, width] = contract.preparation.size_hw;
  const tensor = new ort.Tensor("uint8", pixels, [1, height, width, contract.preparation.channels]);
  const found = await session.run({ [contract.input]: tensor });
  return Object.fromEntries(contract.outputs.map((name) => [name, found[name]]));
}

export async function predict(source) {
  const { bitmap, image } = await pixelsOf(source);
  const { pixels, placement } = prepare(image, contract.preparation);
  const began = performance.now();
  const raw = await run(pixels);
  const milliseconds = performance.now() - began;
  return { bitmap, answer: decode(contract, raw, placement), milliseconds, pixels };
}

function draw(canvas, bitmap, answer) {
  canvas.width = bitmap.width || bitmap.videoWidth; canvas.height = bitmap.height || bitmap.videoHeight;
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  if (answer.mask) {
    const shown = pen.getImageData(0, 0, canvas.width, canvas.height), d = shown.data;
    for (let i = 0; i < answer.mask.length; i++) {
      const c = answer.mask[i];
      if (!c) continue;
      const hex = parseInt(colourOf(c).slice(1), 16);
      d[4 * i] += ((hex >> 16) - d[4 * i]) * 0.5; d[4 * i + 1] += (((hex >> 8) & 255) - d[4 * i + 1]) * 0.5; d[4 * i + 2] += ((hex & 255) - d[4 * i + 2]) * 0.5;
    }
    pen.putImageData(shown, 0, 0);
  }
  const shown = canvas.clientWidth ? canvas.width / canvas.clientWidth : 0;
  drawLabelledBoxes(canvas, (answer.boxes_xyxy || []).map((box, k) => ({
    box, text: `${answer.labels[k]} ${Math.round(100 * answer.scores[k])}%`, colour: colourOf(answer.label_ids[k]),
  })), shown);
}

function list(answer) {
  const rows = answer.labels.slice(0, 8).map((label, k) => {
    const item = document.createElement("li"), name = document.createElement("span"), value = document.createElement("b"), bar = document.createElement("meter");
    name.textContent = label;
    value.textContent = answer.areas ? `${(100 * answer.areas[k]).toFixed(1)} % of the image` : `${(100 * answer.scores[k]).toFixed(1)} %`;
    bar.max = 1; bar.value = answer.areas ? answer.areas[k] : answer.scores[k];
    item.append(name, value, bar);
    return item;
  });
  $("answer").replaceChildren(...rows);
  if (!rows.length) { const none = document.createElement("li"); none.textContent = "Nothing was found."; $("answer").append(none); }
}

async function look(source) {
  if (busy || !session) return;
  busy = true;
  try {
    const { bitmap, answer, milliseconds } = await predict(source);
    $("canvas").hidden = false;
    draw($("canvas"), bitmap, answer);
    list(answer);
    const words = answer.labels.slice(0, 3).map((l, k) => `${l} ${Math.round(100 * answer.scores[k])} %`).join(", ") || "nothing found";
    $("canvas").setAttribute("aria-label", words);
    say(`Answered in ${milliseconds.toFixed(1)} ms, in this browser.`);
  } catch (error) { say(error.message || String(error), true); } finally { busy = false; }
}

async function camera() {
  if (stream) { for (const track of stream.getTracks()) track.stop(); stream = null; $("camera").textContent = "Use the camera"; return; }
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }); } catch { say("The camera cannot be used.", true); return; }
  $("camera").textContent = "Stop the camera";
  const video = document.createElement("video");
  video.srcObject = stream; video.muted = true; video.playsInline = true;
  await video.play();
  while (stream) {
    const frame = await createImageBitmap(video);
    await look(frame);
    frame.close();
    await new Promise((next) => requestAnimationFrame(next));
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const drop = $("drop");
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { if ($("file").files[0]) look($("file").files[0]); $("file").value = ""; });
  $("camera").addEventListener("click", camera);
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (e) => { e.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (e) => { e.preventDefault(); const f = e.dataTransfer.files[0]; if (f) look(f); });
  document.addEventListener("paste", (e) => { const f = e.clipboardData && e.clipboardData.files[0]; if (f) look(f); });
  // What a program may call from the page's console or a test.
  globalThis.eyewright = { predict, run, contract: () => contract };
  load().catch((error) => say(`The model cannot be opened: ${error.message}`, true));
});
