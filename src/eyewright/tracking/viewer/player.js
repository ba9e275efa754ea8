"use strict";
// Plays tracks over the video, an own video from the disk, or nothing; counts by lines and zones that are drawn.

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const frames = data.frames.map(([t, tracks]) => ({ t, tracks }));
  const how = { anchor: data.anchor, confirm_s: data.confirm_s, gone_s: data.gone_s };
  const canvas = $("tracks"), video = $("video"), slider = $("when");
  const state = { t: 0, playing: false, since: 0, chosen: null, counted: [] };
  // A frame without tracks at the end: whoever is not seen by then has left.
  const last = { t: Math.max(data.end_s, frames.length ? frames[frames.length - 1].t : 0), tracks: [] };
  const step = frames.length > 1 ? (frames[frames.length - 1].t - frames[0].t) / (frames.length - 1) : 0.1;

  function colourOf(id) { return `hsl(${((0.58 + id * 0.381966) % 1) * 360} 90% 61%)`; }

  function indexAt(t) {
    let low = 0, high = frames.length;
    while (low < high) { const m = (low + high) >> 1; if (frames[m].t <= t + 1e-6) low = m + 1; else high = m; }
    return low - 1;
  }

  const hasPicture = () => video.hasAttribute("src") && video.readyState >= 2 && state.t <= video.duration + 0.05;

  function paint() {
    const pen = canvas.getContext("2d"), k = indexAt(state.t);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    video.classList.toggle("over", video.hasAttribute("src") && !hasPicture());
    const unit = Math.max(canvas.width / Math.max(canvas.clientWidth, 1), 0.5);
    pen.lineWidth = 2 * unit; pen.font = `600 ${12 * unit}px system-ui, sans-serif`; pen.textBaseline = "bottom";
    const shown = k >= 0 && state.t - frames[k].t <= Math.max(3 * step, 0.25) ? frames[k].tracks : [];
    if ($("show-trails").checked) {
      const paths = new Map(shown.map(([id]) => [id, []]));
      for (let j = k; j >= 0 && state.t - frames[j].t <= 2; j--) {
        for (const [id, , x0, , x1, y1] of frames[j].tracks) if (paths.has(id)) paths.get(id).push([(x0 + x1) / 2, y1]);
      }
      for (const [id, path] of paths) {
        pen.strokeStyle = colourOf(id); pen.beginPath();
        path.forEach(([x, y], j) => (j ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        pen.stroke();
      }
    }
    for (const [id, label, x0, y0, x1, y1] of shown) {
      const dim = state.chosen !== null && state.chosen !== id;
      pen.globalAlpha = dim ? 0.3 : 1;
      pen.strokeStyle = pen.fillStyle = colourOf(id);
      if ($("show-boxes").checked) pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      const text = `${data.labels[label] ?? label} ${id}`, wide = pen.measureText(text).width + 6 * unit, top = y0 >= 16 * unit ? y0 : y0 + 16 * unit;
      const left = Math.max(0, Math.min(x0, canvas.width - wide));
      pen.fillRect(left, top - 16 * unit, wide, 16 * unit);
      pen.fillStyle = "#111"; pen.fillText(text, left + 3 * unit, top - 2 * unit);
      pen.globalAlpha = 1;
    }
    slider.value = String(state.t);
    $("clock").textContent = `${state.t.toFixed(1)} s of ${last.t.toFixed(1)} s`;
    tellCounts();
  }

  function seek(t) {
    state.t = Math.min(last.t, Math.max(0, t));
    state.since = performance.now();
    if (video.hasAttribute("src") && Number.isFinite(video.duration)) video.currentTime = Math.min(state.t, video.duration);
    paint();
  }

  function play(on) {
    state.playing = on;
    $("play").textContent = on ? "Pause" : "Play";
    if (on && state.t >= last.t - 1e-3) seek(0);
    state.since = performance.now();
    if (on && video.hasAttribute("src") && state.t < video.duration) { video.playbackRate = Number($("speed").value); video.play().catch(() => {}); } else video.pause();
    if (on) requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!state.playing) return;
    // The video is the clock for as long as it lasts, then the browser is.
    if (video.hasAttribute("src") && !video.paused && !video.ended) state.t = video.currentTime;
    else state.t += Math.max(0, now - state.since) / 1000 * Number($("speed").value);
    state.since = now;
    if (state.t >= last.t) { state.t = last.t; paint(); play(false); return; }
    paint();
    requestAnimationFrame(tick);
  }

  // ---- lines and zones

  const sheet = new LINES.Sheet($("sheet"), () => { tellDrawing(); count(); listShapes(); });
  sheet.size(data.size[0], data.size[1]);
  sheet.says = (shape) => {
    const own = state.counted.find((c) => c.shape === shape);
    if (!own) return "";
    if (shape.kind === "zone") return String(LINES.insideAt(own.visits, state.t));
    const n = LINES.countUpTo(own.events, state.t);
    return `${n.in} in, ${n.out} out`;
  };
  sheet.shapes = data.shapes.map((s) => ({ ...s, given: true }));

  function count() {
    const whole = [...frames, last];
    state.counted = sheet.shapes.map((shape) => (shape.kind === "line"
      ? { shape, events: LINES.crossings(shape.points, whole, how) }
      : { shape, visits: LINES.visits(shape.points, whole, how) }));
  }

  function median(values) {
    if (!values.length) return "–";
    const v = [...values].sort((a, b) => a - b), m = v.length >> 1;
    return `${(v.length % 2 ? v[m] : (v[m - 1] + v[m]) / 2).toFixed(1)} s`;
  }

  function row(...texts) {
    const tr = document.createElement("tr");
    texts.forEach((t, k) => { const c = document.createElement("td"); if (k) c.className = "n"; c.textContent = t; tr.append(c); });
    return tr;
  }

  function tellCounts() {
    sheet.render();
    const lines = state.counted.filter((c) => c.events), zones = state.counted.filter((c) => c.visits);
    $("line-box").hidden = !lines.length; $("zone-box").hidden = !zones.length;
    $("line-rows").replaceChildren(...lines.map((c) => {
      const now = LINES.countUpTo(c.events, state.t), all = LINES.countUpTo(c.events, Infinity);
      return row(c.shape.name, `${now.in} of ${all.in}`, `${now.out} of ${all.out}`);
    }));
    $("zone-rows").replaceChildren(...zones.map((c) => row(c.shape.name, LINES.insideAt(c.visits, state.t), c.visits.length,
      c.visits.filter((v) => v.left !== null).length, median(c.visits.map((v) => (v.left ?? last.t) - v.entered)))));
  }

  function tellDrawing() {
    for (const kind of ["line", "zone"]) $("draw-" + kind).setAttribute("aria-pressed", String(sheet.mode === kind));
    $("hint").textContent = sheet.mode === "line" ? "Press, drag and release. The arrow shows which way counts as in." : sheet.mode === "zone" ? "Click every corner; click the first again, or press Enter, to close it." : "";
    if (sheet.mode) play(false);
  }

  function showOptions() {
    const text = sheet.shapes.map((s) => LINES.optionOf(s)).join(" \\\n  ");
    $("options").textContent = text;
    $("drawn").hidden = !text;
  }

  function listShapes() {
    $("shapes").replaceChildren(...sheet.shapes.map((shape) => {
      const li = document.createElement("li"), name = document.createElement("input");
      name.value = shape.name; name.maxLength = 40; name.setAttribute("aria-label", `Name of ${shape.name}`);
      name.addEventListener("input", () => { shape.name = name.value.trim().replace(/[=/\s]+/g, "-") || shape.kind; paint(); showOptions(); });
      const button = (text, act) => { const b = document.createElement("button"); b.type = "button"; b.textContent = text; b.addEventListener("click", act); return b; };
      li.append(name);
      if (shape.kind === "line") li.append(button("Swap direction", () => { shape.points.reverse(); count(); paint(); showOptions(); }));
      li.append(button("Remove", () => sheet.remove(shape)));
      return li;
    }));
    showOptions();
    paint();
  }

  // ---- wiring

  canvas.width = data.size[0]; canvas.height = data.size[1];
  slider.max = String(last.t); slider.step = String(Math.max(0.01, Math.min(step, 1)));
  $("play").addEventListener("click", () => play(!state.playing));
  slider.addEventListener("input", () => { play(false); seek(Number(slider.value)); });
  $("speed").addEventListener("change", () => { video.playbackRate = Number($("speed").value); });
  for (const id of ["show-boxes", "show-trails"]) $(id).addEventListener("change", paint);
  for (const kind of ["line", "zone"]) $("draw-" + kind).addEventListener("click", () => sheet.begin(sheet.mode === kind ? null : kind));
  for (const name of ["loadeddata", "seeked"]) video.addEventListener(name, paint);
  video.addEventListener("error", () => { $("hint").textContent = "Your browser cannot play this video."; video.removeAttribute("src"); paint(); });
  $("own").addEventListener("change", () => {
    const file = $("own").files[0];
    if (!file) return;
    play(false);
    video.src = URL.createObjectURL(file);
    video.addEventListener("loadeddata", () => seek(state.t), { once: true });
  });
  $("copy").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText($("options").textContent); $("hint").textContent = "Copied."; }
    catch (_) { getSelection().selectAllChildren($("options")); $("hint").textContent = "Selected: press Ctrl+C to copy."; }
  });
  document.addEventListener("click", (e) => {
    const at = e.target.closest("[data-at]");
    if (!at) return;
    const id = at.dataset.track ? Number(at.dataset.track) : null;
    state.chosen = state.chosen === id ? null : id;
    play(false); seek(Number(at.dataset.at));
    $("player").scrollIntoView({ behavior: "smooth", block: "nearest" });
  });
  document.addEventListener("keydown", (e) => {
    if (/^(INPUT|SELECT|BUTTON|TEXTAREA|SUMMARY)$/.test(e.target.tagName) && e.target.type !== "range") return;
    if (e.key === " ") { e.preventDefault(); play(!state.playing); }
    if (e.key === "ArrowRight" || e.key === "ArrowLeft") { if (e.target.type === "range") return; e.preventDefault(); play(false); seek(state.t + (e.key === "ArrowRight" ? step : -step)); }
  });
  // As a blob a video can be sought, which a long data address cannot everywhere.
  function addressOf(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    return URL.createObjectURL(new Blob([bytes], { type: "video/webm" }));
  }
  if (data.preview) video.src = addressOf(data.preview);
  document.querySelectorAll("video[data-clip]").forEach((v) => {
    v.src = addressOf(data.clips[Number(v.dataset.clip)]);
    // The moment of the crossing as its still picture.
    v.addEventListener("loadedmetadata", () => { v.currentTime = v.duration / 2; }, { once: true });
    v.addEventListener("play", () => { if (!v.dataset.played) { v.dataset.played = "1"; v.currentTime = 0; } });
  });
  // For tests, and for whoever wants the numbers.
  window.eyewright = { state, sheet, seek, play, counted: () => state.counted.map((c) => ({ name: c.shape.name, events: c.events, visits: c.visits })) };
  count(); listShapes(); tellDrawing();
})();
