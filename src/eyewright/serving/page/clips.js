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
  $("file").accept = clips ? "video/*,.mkv,.avi" : "image/*,video/*";
  $("webcam").hidden = clips;
}

// Predicts clips one after another; each stays in the list.
async function takeClips(files) {
  const clips = files.filter(isVideo), other = files.length - clips.length;
  if (!clips.length) { say("This is no video: the model takes clips.", true); return; }
  for (const file of clips) await look(file, file.name || "clip");
  if (other) say(`${other} of ${files.length} files are no videos and are left out.`);
}

// Shows the stage of a shot: the canvases of an image, or the player of a clip.
function stageFor(shot) {
  const player = $("clip");
  $("canvases").hidden = Boolean(shot.clip);
  player.hidden = !shot.clip || shot.unplayable;
  $("clip-note").hidden = !shot.unplayable;
  $("explain").hidden = Boolean(shot.clip);
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
