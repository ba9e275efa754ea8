"use strict";
// Live sources: the newest frames of one source, what was counted, and lines and zones drawn for the command line.

const feed = { sources: [], chosen: "", timer: 0, stream: null, sheet: null, drawn: {} };

const WORDS = {
  starting: "starting", connecting: "connecting …", live: "live", lost: "lost, reconnecting …", ended: "ended",
  failed: "failed", restarting: "restarting …",
};

async function liveSources() {
  const answer = await (await call("/v1/sources")).json();
  feed.sources = answer.sources;
  return feed.sources;
}

// Says whether there are sources, once, when the page is opened.
async function beginLive() {
  try { await liveSources(); } catch (_) { return; }
  $("tab-live").hidden = !feed.sources.length;
  if (!feed.sources.length) return;
  feed.sheet = new LINES.Sheet($("live-sheet"), () => { tellDrawing(); showShapes(); });
  feed.sheet.says = (shape) => shape.said || "";
  for (const kind of ["line", "zone"]) $("live-" + kind).addEventListener("click", () => feed.sheet.begin(feed.sheet.mode === kind ? null : kind));
  $("live-copy").addEventListener("click", copyOptions);
}

function enterLive() {
  if (!feed.sources.length) return;
  chooseSource(feed.chosen || feed.sources[0].name);
  feed.timer = setInterval(pollLive, 1000);
}

function leaveLive() {
  clearInterval(feed.timer);
  if (feed.stream) feed.stream.abort();
  feed.stream = null;
}

function chooseSource(name) {
  if (feed.chosen === name && feed.stream) return;
  if (feed.chosen) feed.drawn[feed.chosen] = feed.sheet.shapes;
  feed.chosen = name;
  feed.sheet.shapes = [...(feed.drawn[name] || [])];
  feed.sheet.begin(null);
  $("live-picture").removeAttribute("src");
  if (feed.stream) feed.stream.abort();
  watchSource(name);
  showLive();
}

// Reads motion JPEG by fetch, which can carry the token, and shows each frame; tries again for as long as it is looked at.
async function watchSource(name) {
  const control = new AbortController();
  feed.stream = control;
  while (!control.signal.aborted) {
    try {
      const answer = await call(`/v1/sources/${encodeURIComponent(name)}/live`, { signal: control.signal });
      await readParts(answer.body.getReader(), (blob) => showFrame(blob, control));
    } catch (error) {
      if (control.signal.aborted) return;
      $("live-trouble").textContent = error.message;
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

let frameAddress = "";
function showFrame(blob, control) {
  if (control.signal.aborted) return;
  const address = URL.createObjectURL(blob);
  $("live-picture").src = address;
  if (frameAddress) { const old = frameAddress; setTimeout(() => URL.revokeObjectURL(old), 1000); }
  frameAddress = address;
  $("live-trouble").textContent = "";
}

// Parts of multipart/x-mixed-replace, each with a Content-Length.
async function readParts(reader, take) {
  let held = new Uint8Array(0);
  const decoder = new TextDecoder("latin1");
  const join = (a, b) => { const c = new Uint8Array(a.length + b.length); c.set(a); c.set(b, a.length); return c; };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held = join(held, value);
    for (;;) {
      const head = decoder.decode(held.subarray(0, 512));
      const end = head.indexOf("\r\n\r\n");
      const size = /content-length: *(\d+)/i.exec(head.slice(0, Math.max(0, end)));
      if (end < 0 || !size) { if (held.length > 65536 && end < 0) throw new Error("The server sent no picture."); break; }
      const first = end + 4, last = first + Number(size[1]);
      if (held.length < last) break;
      take(new Blob([held.slice(first, last)], { type: "image/jpeg" }));
      held = held.slice(last);
    }
  }
}

async function pollLive() {
  try { await liveSources(); showLive(); } catch (error) { $("live-trouble").textContent = error.message; }
}

function stateChip(s) {
  const bad = ["lost", "failed", "restarting"].includes(s.state);
  return make("span", { class: bad ? "chip warn" : "chip", text: WORDS[s.state] || s.state });
}

function showLive() {
  $("live-names").replaceChildren(...feed.sources.map((s) => {
    const button = make("button", { type: "button", class: "tab", "aria-pressed": String(s.name === feed.chosen), text: s.name });
    button.addEventListener("click", () => chooseSource(s.name));
    return make("li", {}, button, stateChip(s));
  }));
  const s = feed.sources.find((one) => one.name === feed.chosen);
  if (!s) return;
  $("live-frame").classList.toggle("stale", s.state !== "live");
  $("live-lines-tools").hidden = s.tracks === null && s.frames > 0;
  const facts = [`${s.frames.toLocaleString("en")} frames processed`, `${s.frames_per_s ?? 0} frames/s`];
  if (s.dropped) facts.push(`${s.dropped.toLocaleString("en")} dropped, because newer ones arrived`);
  if (s.reconnects) facts.push(`opened again ${s.reconnects} time${s.reconnects === 1 ? "" : "s"}`);
  if (s.restarts) facts.push(`started again ${s.restarts} time${s.restarts === 1 ? "" : "s"}`);
  $("live-facts").textContent = facts.join(" · ");
  const quiet = s.state === "live" ? "" : `${WORDS[s.state] || s.state}${s.message ? ": " + s.message : ""}${s.age_s != null ? `; the last frame is ${Math.round(s.age_s)} s old` : ""}`;
  $("live-state").textContent = [quiet, s.note].filter(Boolean).join(" · ");
  $("live-state").classList.toggle("bad", ["lost", "failed", "restarting"].includes(s.state));
  if (s.width) { $("live-frame").style.aspectRatio = `${s.width} / ${s.height}`; feed.sheet.size(s.width, s.height); }
  $("live-counts").replaceChildren(...countTables(s));
}

function cells(kind, ...texts) { return make("tr", {}, ...texts.map((t, k) => make(k ? "td" : "th", k ? { class: kind, text: t } : { text: t, scope: "row" }))); }

function headOf(...texts) { return make("thead", {}, make("tr", {}, ...texts.map((t, k) => make("th", k ? { class: "n", text: t, scope: "col" } : { text: t, scope: "col" })))); }

function countTables(s) {
  const parts = [];
  const lines = Object.entries(s.lines), zones = Object.entries(s.zones);
  if (lines.length) {
    const rows = lines.flatMap(([name, l]) => [
      cells("n", name, l.in, l.out),
      ...(Object.keys(l.classes).length > 1 ? Object.entries(l.classes).map(([label, c]) => cells("n sub", "· " + label, c.in, c.out)) : []),
    ]);
    parts.push(make("section", {}, make("h2", { text: "Lines" }), make("table", {}, headOf("line", "in", "out"), make("tbody", {}, ...rows))));
  }
  if (zones.length) {
    const stay = (z) => (z.dwell && z.dwell.median != null ? `${z.dwell.median.toFixed(1)} s` : "–");
    const rows = zones.map(([name, z]) => cells("n", name, z.now, z.entered, z.left, stay(z)));
    parts.push(make("section", {}, make("h2", { text: "Zones" }), make("table", {}, headOf("zone", "inside", "entered", "left", "median stay"), make("tbody", {}, ...rows))));
  }
  if (s.tracks !== null) {
    const counted = {};
    for (const t of s.tracks) counted[t.label] = (counted[t.label] || 0) + 1;
    const now = Object.entries(counted).map(([label, n]) => make("span", { class: "chip", text: `${n.toLocaleString("en")} × ${label}` }));
    parts.push(make("section", {}, make("h2", { text: "In view" }), now.length ? make("p", {}, ...now) : make("p", { class: "note", text: "nothing" }),
      make("p", { class: "note", text: `${s.n_tracks.toLocaleString("en")} tracked since the start` })));
  } else if (s.headline) {
    parts.push(make("section", {}, make("h2", { text: "Prediction" }), make("p", { class: "top", text: s.headline })));
  }
  if (s.events.length) {
    const rows = s.events.slice(0, 12).map((e) => cells("", new Date(1000 * e.time).toLocaleTimeString(), e.line, e.direction, `${e.label} ${e.id}`));
    parts.push(make("section", {}, make("h2", { text: "Last crossings" }), make("table", {}, make("tbody", {}, ...rows))));
  }
  return parts;
}

function tellDrawing() {
  const mode = feed.sheet.mode;
  for (const kind of ["line", "zone"]) $("live-" + kind).setAttribute("aria-pressed", String(mode === kind));
  $("live-hint").textContent = mode === "line" ? "Press, drag and release. The arrow shows which way counts as in." : mode === "zone" ? "Click every corner; click the first again, or press Enter, to close it." : "";
}

function drawnShapes() { return feed.sheet.shapes; }

function showOptions() { $("live-options").textContent = drawnShapes().map((s) => LINES.optionOf(s, feed.chosen)).join(" \\\n  "); }

// The list is made again only when a shape comes or goes: whoever types a name is not interrupted.
function showShapes() {
  $("live-drawn").hidden = !drawnShapes().length;
  $("live-shapes").replaceChildren(...drawnShapes().map((shape) => {
    const name = make("input", { value: shape.name, maxlength: "40", "aria-label": `Name of ${shape.name}` });
    name.addEventListener("input", () => { shape.name = name.value.trim().replace(/[=/\s]+/g, "-") || shape.kind; feed.sheet.render(); showOptions(); });
    const turn = make("button", { type: "button", class: "small", text: "Swap direction" });
    turn.hidden = shape.kind !== "line";
    turn.addEventListener("click", () => { shape.points.reverse(); feed.sheet.render(); showOptions(); });
    const gone = make("button", { type: "button", class: "small", text: "Remove" });
    gone.addEventListener("click", () => feed.sheet.remove(shape));
    return make("li", {}, name, turn, gone);
  }));
  showOptions();
}

async function copyOptions() {
  try { await navigator.clipboard.writeText($("live-options").textContent); $("live-hint").textContent = "Copied: add them to the command that starts the server."; }
  catch (_) { $("live-hint").textContent = "Your browser does not let pages copy; select the text instead."; }
}
