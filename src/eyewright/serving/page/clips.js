"use strict";
// Models of clips: a video from the disk is played by the browser and sent as it is. Uses what app.js declares.

const readsClips = () => { const m = model($("model").value); return Boolean(m) && m.reads === "clip"; };

const isVideo = (f) => f.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|flv|ts|ogv|wmv|3gp)$/i.test(f.name || "");

// What is asked for depends on the model that is chosen.
function inviteFor() {
  const clips = readsClips();
  $("invite-what").textContent = clips ? "Drop a video clip here" : "Drop an image here";
  $("invite-how").textContent = clips ? "or" : "or paste one, or";
  $("another").textContent = clips ? "Another clip" : "Another image";
  $("stage").setAttribute("aria-label", clips ? "Drop or choose a video clip" : "Drop, paste or choose an image");
  $("file").accept = clips ? "video/*,.mkv,.avi" : "image/*";
  $("webcam").hidden = clips;
}

// Shows the stage of a shot: the canvases of an image, or the player of a clip.
function stageFor(shot) {
  const player = $("clip");
  $("canvases").hidden = shot.clip;
  player.hidden = !shot.clip || shot.unplayable;
  $("clip-note").hidden = !shot.unplayable;
  $("explain").hidden = shot.clip;
  if (!shot.clip) { player.removeAttribute("src"); return; }
  if (player.getAttribute("src") === shot.address) return;
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
  for (const id of ["canvases", "clip", "clip-note", "controls", "wrong", "code", "edit-bar"]) $(id).hidden = true;
  $("clip").removeAttribute("src");
  $("invite").hidden = false;
  $("answer").replaceChildren();
  say(readsClips() ? "This model takes video clips." : "This model takes images.");
}
