"use strict";
// Models of clips: a video from the disk is played by the browser and sent as it is. Uses what app.js declares.

const readsClips = () => { const m = model($("model").value); return Boolean(m) && m.reads === "clip"; };

const STEPS = " Left and right arrow step through them, R says that a prediction is right.";

// What is asked for depends on the model that is chosen.
function inviteFor() {
  const clips = readsClips();
  $("invite-what").textContent = clips ? "Drop video clips here" : "Drop images, a folder or a video here";
  $("invite-how").textContent = clips ? "or" : "or paste an image, or";
  $("another").textContent = clips ? "More clips" : "More images";
  $("stage").setAttribute("aria-label", (clips ? "Drop or choose video clips." : "Drop, paste or choose images.") + STEPS);
  $("file").accept = clips ? "video/*,.mkv,.avi,image/*" : "image/*,video/*";
  $("history-title").textContent = clips ? "Clips" : "Images";
  $("history-note").textContent = `Arrow keys on the ${clips ? "clip" : "image"} step through them.`;
  $("webcam").hidden = clips;
}

// Images may move, and a browser tells types by names: these are sent too. The server tells clips by their content.
const mayMove = (f) => !f.type || f.type.startsWith("image/");

// Predicts clips one after another; each stays in the list. What is left out and what failed is said at the end.
async function takeClips(files) {
  const clips = files.filter((f) => isVideo(f) || mayMove(f)), other = files.length - clips.length, shots = [];
  if (!clips.length) { say("This is not a video: the model takes clips.", true); return; }
  for (const file of clips) shots.push(await look(file, file.name || "clip"));
  const failed = shots.filter((s) => s.failed), parts = [];
  if (files.length > 1 && failed.length) parts.push(`${failed.length} of ${files.length} files cannot be predicted: ${failed.slice(0, 3).map((s) => `${s.title}: ${s.failed}`).join("; ")}${failed.length > 3 ? "; …" : ""}.`);
  if (other) parts.push(`${other} of ${files.length} files ${other === 1 ? "is not a video and is" : "are not videos and are"} left out.`);
  if (parts.length) say(parts.join(" "), failed.length > 0);
}

// Shows the stage of a shot: the canvases of an image, or the player of a clip.
function stageFor(shot) {
  const player = $("clip");
  $("canvases").hidden = Boolean(shot.clip);
  player.hidden = !shot.clip || shot.unplayable;
  timelines(shot);
  if (!shot.clip) { player.removeAttribute("src"); return; }
  if (player.getAttribute("src") === shot.address) return;
  // An animation plays by itself, as an image.
  const animated = shot.blob.type.startsWith("image/");
  player.controls = !animated;
  player.toggleAttribute("poster", animated);
  if (animated) { player.removeAttribute("src"); player.load(); player.poster = shot.address; return; }
  player.ontimeupdate = movePlayheads;
  player.onloadedmetadata = () => { if (state.shot === shot) timelines(shot); };
  player.onerror = () => { if (state.shot === shot) { shot.unplayable = true; stageFor(shot); } };
  player.setAttribute("aria-label", shot.title);
  player.src = shot.address;
}

// After another model was chosen: the same again, unless it takes something else.
function showAgain() {
  const shot = state.shot;
  if (!shot) return;
  if (Boolean(shot.clip) === readsClips()) { show(shot); return; }
  state.shot = null;
  $("stage").classList.remove("full");
  for (const id of ["canvases", "clip", "clip-note", "over-time", "moments", "controls", "wrong", "code", "edit-bar"]) $(id).hidden = true;
  $("clip").removeAttribute("src");
  $("invite").hidden = false;
  $("answer").replaceChildren();
  say(readsClips() ? "This model takes video clips." : "This model takes images.");
}

// ---- over time: the bars under the player, whose line follows it; a click goes there.

const WIDE = 960, HIGH = 90;

function timelines(shot) {
  const a = shot.clip ? shot.answers[$("model").value] : null;
  const over = a && a.over_time, moments = a && a.explanations && a.explanations[0] && a.explanations[0].moments;
  const rests = Boolean(moments) && Math.max(...moments) > 0;
  $("over-time").hidden = !over;
  $("moments").hidden = !rests;
  // What is special about the file: turned by its metadata, uneven frames, an end that is missing.
  const notes = [...((a && a.video && a.video.notes) || [])];
  if (shot.unplayable) notes.unshift(shot.failed || "Your browser cannot play this kind of video; the server reads it.");
  $("clip-note").hidden = !notes.length;
  $("clip-note").textContent = notes.map((note) => note[0].toUpperCase() + note.slice(1).replace(/\.?$/, ".")).join(" ");
  if (over) $("over-time").replaceChildren(make("p", { class: "sub", text: "Probabilities over time" }), timeline(shot, stackOf(over)), peaks(over));
  if (rests) {
    const e = a.explanations[0];
    $("moments").replaceChildren(make("p", { class: "sub", text: `Frames that support ${e.label}` }), timeline(shot, columnsOf(moments), HIGH / 2));
  }
}

function lengthOf(over) {
  const length = $("clip").duration, times = over.time_s;
  return Number.isFinite(length) && length > 0 ? length : Math.max(times[0] + times[times.length - 1], 0.001);
}

// Each class above the one before, as high as its probability.
function stackOf(over) {
  const n = over.time_s.length, length = lengthOf(over);
  const edge = (k) => k <= 0 ? 0 : k >= n ? WIDE : WIDE * (over.time_s[k - 1] + over.time_s[k]) / 2 / length;
  let below = new Array(n).fill(0);
  return over.labels.map((label, k) => {
    const own = over.scores[label], above = below.map((v, i) => v + own[i]), points = [];
    for (let i = 0; i < n; i++) for (const x of [edge(i), edge(i + 1)]) points.push(`${x.toFixed(1)},${(HIGH * (1 - above[i])).toFixed(1)}`);
    for (let i = n - 1; i >= 0; i--) for (const x of [edge(i + 1), edge(i)]) points.push(`${x.toFixed(1)},${(HIGH * (1 - below[i])).toFixed(1)}`);
    below = above;
    return draw("polygon", { points: points.join(" "), fill: colourOf(over.label_ids[k]) });
  });
}

function columnsOf(heat) {
  const most = Math.max(...heat, 1e-9), step = WIDE / heat.length;
  return heat.map((v, k) => draw("rect", { x: k * step, width: step * 0.9, y: HIGH / 2 * (1 - v / most), height: HIGH / 2 * v / most, class: "moment" }));
}

function timeline(shot, shapes, high = HIGH) {
  const now = draw("line", { x1: 0, x2: 0, y1: 0, y2: high, class: "playhead" }), player = $("clip");
  const said = $("answer").querySelector(".top");
  const svg = draw("svg", { viewBox: `0 0 ${WIDE} ${high}`, preserveAspectRatio: "none", class: "timeline", role: "img", "aria-label": `Over time: ${said ? said.textContent : shot.title}` }, ...shapes, now);
  svg.addEventListener("click", (event) => {
    const frame = svg.getBoundingClientRect();
    if (player.duration) player.currentTime = player.duration * (event.clientX - frame.left) / frame.width;
  });
  return svg;
}

function movePlayheads() {
  const player = $("clip"), x = player.duration ? WIDE * player.currentTime / player.duration : 0;
  for (const line of document.querySelectorAll(".playhead")) { line.setAttribute("x1", x); line.setAttribute("x2", x); }
}

function peaks(over) {
  return make("ul", { class: "legend" }, ...over.labels.map((label, k) => {
    const swatch = make("span", { class: "swatch" }), own = over.scores[label];
    swatch.style.background = colourOf(over.label_ids[k]);
    return make("li", {}, swatch, `${label}, peak ${percent(Math.max(...own), 0)}`);
  }));
}
