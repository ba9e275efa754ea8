"use strict";
const parts = JSON.parse(document.getElementById("data").textContent);
const at = { part: 0, layer: 0, head: 0, mode: "head", token: 0, hide: false };
const stops = [[247, 249, 251], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]];
const $ = (id) => document.getElementById(id);
const make = (tag, cls, text) => {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
};
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
// Square roots of weights from 0 to 255; with 16 bits also between whole numbers, so that lists are in the order of the weights.
const decoded = (text, bits) => bits === 16 ? Float32Array.from(new Uint16Array(bytes(text).buffer), (v) => v / 257) : bytes(text);
const table = new Uint8Array(256 * 3);
for (let v = 0; v < 256; v++) {
  const x = (v / 255) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(x));
  for (let c = 0; c < 3; c++) table[3 * v + c] = stops[k][c] + (x - k) * (stops[k + 1][c] - stops[k][c]);
}
// Whether white text is easier to read on a shade than black: by their contrast in WCAG 2, of which one is then 4.5 or more.
const isDark = (v) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, k) => {
  const c = table[3 * v + k] / 255;
  return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
}, 0) < 0.18;
const colour = (v) => `rgb(${table[3 * v]},${table[3 * v + 1]},${table[3 * v + 2]})`;
$("scale").style.background = `linear-gradient(90deg,${stops.map((s) => `rgb(${s})`).join()})`;
for (const p of parts) {
  p.data = decoded(p.maps, p.bits);
  delete p.maps;
  p.over = p.rollout ? decoded(p.rollout, p.bits) : null;
  p.mean = null;
}
const part = () => parts[at.part];
const size = (p) => p.shape[2] * p.shape[3];
function meanOf(p) {
  if (!p.mean) {
    const n = size(p), maps = p.shape[0] * p.shape[1], sum = new Float64Array(n);
    for (let m = 0; m < maps; m++) for (let i = 0; i < n; i++) { const v = p.data[m * n + i]; sum[i] += v * v; }
    p.mean = Float32Array.from(sum, (v) => Math.sqrt(v / maps));
  }
  return p.mean;
}
function current() {
  const p = part(), n = size(p);
  if (at.mode === "mean") return meanOf(p);
  if (at.mode === "rollout") return p.over;
  const m = at.layer * p.shape[1] + at.head;
  return p.data.subarray(m * n, (m + 1) * n);
}
const value = (v) => (v / 255) ** 2;
const shown = (v) => value(v).toFixed(value(v) < 0.1 ? 3 : 2);
function largest(values) {
  let most = 255 * Math.sqrt(Math.min(1, 4 / part().shape[3]));
  for (const v of values) if (v > most) most = v;
  return most;
}
function paint(canvas, map, rows, columns) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), by = 255 / largest(map);
  for (let i = 0; i < rows * columns; i++) {
    const v = Math.round(map[i] * by);
    image.data[4 * i] = table[3 * v]; image.data[4 * i + 1] = table[3 * v + 1]; image.data[4 * i + 2] = table[3 * v + 2];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
function drawThumbs() {
  const p = part(), [layers, heads, rows, columns] = p.shape, n = size(p), box = $("thumbs");
  box.replaceChildren();
  box.style.gridTemplateColumns = `22px repeat(${heads},minmax(0,${heads < 8 ? 110 : 90}px))`;
  box.append(make("span"));
  for (let h = 0; h < heads; h++) box.append(make("span", "", p.heads[h]));
  for (let l = 0; l < layers; l++) {
    box.append(make("span", "", p.layers[l]));
    for (let h = 0; h < heads; h++) {
      const button = make("button"), canvas = make("canvas"), m = l * heads + h;
      button.setAttribute("aria-label", `layer ${p.layers[l]}, head ${p.heads[h]}`);
      paint(canvas, p.data.subarray(m * n, (m + 1) * n), rows, columns);
      button.append(canvas);
      button.dataset.map = m;
      button.onclick = () => { at.layer = l; at.head = h; at.mode = "head"; draw(); };
      box.append(button);
    }
  }
}
function tokenButton(text, special, v, most, on, click) {
  const b = make("button", `token${special ? " special" : ""}${on ? " on" : ""}`, text === "" ? "␣" : text);
  b.dir = "auto";
  if (v !== null) {
    const relative = Math.round((255 * v) / most);
    // Shades are fixed, in a dark page too: so is the colour of the text on them.
    b.style.background = colour(relative);
    b.classList.add("shaded");
    if (isDark(relative)) b.classList.add("dark");
    b.title = shown(v);
  }
  if (click) b.onclick = click; else b.disabled = true;
  b.setAttribute("aria-pressed", on);
  return b;
}
function drawPicture(p, map) {
  const box = make("div", "picture"), img = make("img"), canvas = make("canvas");
  img.src = p.picture;
  img.alt = "the image, with what the chosen token attends to";
  const before = p.shape[3] - p.grid[0] * p.grid[1], [width, height] = p.size, row = at.token * p.shape[3];
  const scale = Math.min(1, 1280 / Math.max(width, height)), context = canvas.getContext("2d");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  let most = 0;
  for (let k = before; k < p.shape[3]; k++) most = Math.max(most, value(map[row + k]));
  p.boxes.forEach((b, i) => {
    const k = i + before, x = b[0] * scale, y = b[1] * scale, w = (b[2] - b[0]) * scale, h = (b[3] - b[1]) * scale;
    context.fillStyle = `rgba(255,140,0,${most > 0 ? 0.78 * (value(map[row + k]) / most) : 0})`;
    context.fillRect(x, y, w, h);
    if (k === at.token) {
      context.strokeStyle = "#fff"; context.lineWidth = 4; context.strokeRect(x + 1, y + 1, w - 2, h - 2);
      context.strokeStyle = "#c2570c"; context.lineWidth = 2; context.strokeRect(x + 1, y + 1, w - 2, h - 2);
    }
  });
  canvas.onclick = (e) => {
    const r = canvas.getBoundingClientRect(), x = ((e.clientX - r.left) / r.width) * width, y = ((e.clientY - r.top) / r.height) * height;
    const i = p.boxes.findIndex((b) => x >= b[0] && x < b[2] && y >= b[1] && y < b[3]);
    if (i >= 0) { at.token = i + before; draw(); }
  };
  box.append(img, canvas);
  const chips = make("div", "tokens");
  chips.style.marginTop = "10px";
  for (let k = 0; k < before; k++)
    chips.append(tokenButton(p.queries[k], true, map[row + k], 255, k === at.token, () => { at.token = k; draw(); }));
  $("view").append(box, chips, make("p", "soft small", `Click a patch${before ? " or a token below the image" : ""}. Orange is what it attends to; full orange is ${most.toFixed(3)} here.`));
}
function drawTokens(p, map) {
  const columns = p.shape[3], row = at.token * columns, view = $("view");
  if (!p.self) {
    view.append(make("h3", "", "Click a token of the target"));
    const from = make("div", "tokens");
    p.queries.forEach((t, i) => from.append(tokenButton(t, false, null, 1, i === at.token, () => { at.token = i; draw(); })));
    view.append(from);
  }
  const seen = [], into = [];
  for (let k = 0; k < columns; k++) if (!(at.hide && p.special[k])) seen.push(map[row + k]);
  for (let q = 0; q < p.shape[2]; q++) if (p.self && !(at.hide && p.special[q])) into.push(map[q * columns + at.token]);
  const most = largest(seen), reached = largest(into);
  const looks = make("div", "tokens"), back = make("div", "tokens");
  view.append(make("h3", "", p.self ? "Click a token: what it attends to" : "What it attends to in the source"), looks);
  p.keys.forEach((t, k) => {
    if (at.hide && p.special[k]) return;
    looks.append(tokenButton(t, p.special[k], map[row + k], most, p.self && k === at.token, p.self ? () => { at.token = k; draw(); } : null));
  });
  if (p.self) {
    const h = make("h3", "", "What attends to it");
    h.style.marginTop = "18px";
    view.append(h, back);
    p.queries.forEach((t, q) => {
      if (at.hide && p.special[q]) return;
      back.append(tokenButton(t, p.special[q], map[q * columns + at.token], reached, q === at.token, () => { at.token = q; draw(); }));
    });
  }
}
function list(title, rows) {
  const box = make("div"), t = make("table");
  const h = make("h3", "soft", title);
  h.style.marginTop = "12px";
  box.append(h, t);
  for (const [name, v] of rows) {
    const tr = make("tr"), a = make("td", "wide", name), b = make("td", "n", shown(v)), c = make("td"), m = make("span", "meter"), i = make("i");
    a.dir = "auto";
    i.style.width = `${100 * value(v)}%`;
    m.append(i); c.append(m); tr.append(a, b, c); t.append(tr);
  }
  return box;
}
function draw() {
  const p = part(), columns = p.shape[3], map = current(), box = $("tables");
  at.token = Math.min(at.token, p.shape[2] - 1);
  $("which").textContent = at.mode === "mean" ? "mean of all layers and heads" : at.mode === "rollout" ? "rollout through all layers" : `layer ${p.layers[at.layer]}, head ${p.heads[at.head]}`;
  $("mean").setAttribute("aria-pressed", at.mode === "mean");
  $("rolled").setAttribute("aria-pressed", at.mode === "rollout");
  $("rolled").disabled = !p.over;
  $("hide").setAttribute("aria-pressed", at.hide);
  for (const b of $("thumbs").querySelectorAll("button"))
    b.classList.toggle("on", at.mode === "head" && +b.dataset.map === at.layer * p.shape[1] + at.head);
  $("view").replaceChildren();
  if (p.picture) drawPicture(p, map); else drawTokens(p, map);
  $("chosen").textContent = p.queries[at.token];
  box.replaceChildren();
  const keep = (k) => !(at.hide && p.special[k]), row = [], column = [];
  for (let k = 0; k < columns; k++) if (keep(k)) row.push([p.keys[k], map[at.token * columns + k]]);
  if (p.self) for (let q = 0; q < p.shape[2]; q++) if (keep(q)) column.push([p.queries[q], map[q * columns + at.token]]);
  const best = (pairs) => pairs.map((x, i) => [x, i]).sort((a, b) => b[0][1] - a[0][1] || a[1] - b[1]).slice(0, 6).map((x) => x[0]);
  box.append(list("attends most to", best(row)));
  if (p.self) box.append(list("is attended to most by", best(column)));
  const m = $("matrix");
  paint(m, map, p.shape[2], columns);
  m.onclick = (e) => {
    const r = m.getBoundingClientRect();
    at.token = Math.max(0, Math.min(p.shape[2] - 1, Math.floor(((e.clientY - r.top) / r.height) * p.shape[2])));
    draw();
  };
}
function choose(k) {
  Object.assign(at, { part: k, layer: 0, head: 0, token: 0, mode: parts[k].over ? "rollout" : "mean" });
  if (!parts[k].picture) at.mode = "mean";
  for (const [i, b] of [...$("parts").children].entries()) b.setAttribute("aria-pressed", i === k);
  drawThumbs();
  draw();
}
if (parts.length > 1)
  parts.forEach((p, k) => { const b = make("button", "", p.kind); b.onclick = () => choose(k); $("parts").append(b); });
$("mean").onclick = () => { at.mode = "mean"; draw(); };
$("rolled").onclick = () => { at.mode = "rollout"; draw(); };
$("hide").onclick = () => { at.hide = !at.hide; draw(); };
document.onkeydown = (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const p = part(), turn = (v, by, n) => (v + by + n) % n;
  const act = {
    ArrowRight: () => { at.token = turn(at.token, 1, p.shape[2]); }, ArrowLeft: () => { at.token = turn(at.token, -1, p.shape[2]); },
    ArrowDown: () => { at.mode = "head"; at.layer = turn(at.layer, 1, p.shape[0]); }, ArrowUp: () => { at.mode = "head"; at.layer = turn(at.layer, -1, p.shape[0]); },
    "]": () => { at.mode = "head"; at.head = turn(at.head, 1, p.shape[1]); }, "[": () => { at.mode = "head"; at.head = turn(at.head, -1, p.shape[1]); },
    m: () => { at.mode = "mean"; }, r: () => { if (p.over) at.mode = "rollout"; }, s: () => { at.hide = !at.hide; },
  }[e.key];
  if (act) { e.preventDefault(); act(); draw(); }
};
choose(0);
