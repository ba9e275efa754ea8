"use strict";
// Lines and zones: counting as tracking/lines.py counts, and drawing them with the mouse, touch or keys.
// Used by the server's page and by the report of a tracked video.

const LINES = (() => {
  const FEWEST = 3, BAND = 2.5, PRIOR_SHARE = 0.02, PRIOR_N = 3, MOMENT = 1e-9;

  function anchorOf(box, anchor) { return [(box[0] + box[2]) / 2, anchor === "bottom" ? box[3] : (box[1] + box[3]) / 2]; }

  // Which side of a border one track holds, from its signed distances.
  class Side {
    constructor(confirm) {
      this.confirm = confirm; this.recent = []; this.squares = 0; this.n = 0; this.held = 0; this.last = -Infinity; this.run = []; this.crossedAt = null;
    }

    add(s, height) {
      const last = this.recent.length ? this.recent[this.recent.length - 1] : null;
      if (this.recent.length === 2) {
        const bend = s.d - 2 * this.recent[1].d + this.recent[0].d;
        this.squares += Math.min(bend * bend / 6, (0.25 * height) ** 2);
        this.n += 1;
      }
      this.recent.push(s);
      if (this.recent.length > 2) this.recent.shift();
      this.last = s.t;
      if (!s.d) return false;
      if (this.run.length && (this.run[this.run.length - 1].d > 0) !== (s.d > 0)) {
        this.run = [];
        if (last) {
          const share = last.d / (last.d - s.d);
          this.crossedAt = [last.x + (s.x - last.x) * share, last.y + (s.y - last.y) * share];
        }
      }
      this.run.push(s);
      const side = s.d > 0 ? 1 : -1;
      if (side === this.held) { this.run = this.run.slice(-FEWEST); return false; }
      if (this.run.length < FEWEST || s.t - this.run[0].t < this.confirm - MOMENT) return false;
      const prior = (PRIOR_SHARE * height) ** 2 * PRIOR_N;
      const jitter = Math.sqrt((this.squares + prior) / (this.n + PRIOR_N));
      const tail = this.run.slice(-FEWEST);
      if (Math.abs(tail.reduce((a, b) => a + b.d, 0)) / tail.length <= BAND * jitter) return false;
      this.held = side;
      return true;
    }
  }

  // frames: [{t, tracks: [[id, label, x0, y0, x1, y1], …]}, …] by time. Returns the crossings.
  function crossings(points, frames, how) {
    const [[ax, ay], [bx, by]] = points, dx = bx - ax, dy = by - ay, length = Math.hypot(dx, dy);
    const sides = new Map(), found = [];
    frames.forEach((frame, k) => {
      for (const [id, label, ...box] of frame.tracks) {
        if (!sides.has(id)) sides.set(id, new Side(how.confirm_s));
        const side = sides.get(id), before = side.held, [x, y] = anchorOf(box, how.anchor);
        const d = (dx * (y - ay) - dy * (x - ax)) / length;
        if (!side.add({ t: frame.t, k, d, x, y }, box[3] - box[1]) || before === 0 || !side.crossedAt) continue;
        const along = ((side.crossedAt[0] - ax) * dx + (side.crossedAt[1] - ay) * dy) / length ** 2;
        if (along >= -1e-9 && along <= 1 + 1e-9) found.push({ direction: side.held > 0 ? "in" : "out", id, label, t: side.run[0].t, confirmed: frame.t });
      }
    });
    return found;
  }

  function depth([px, py], points) {
    let nearest = Infinity, inside = false;
    points.forEach(([ax, ay], k) => {
      const [bx, by] = points[(k + 1) % points.length], wx = bx - ax, wy = by - ay;
      const share = Math.min(1, Math.max(0, ((px - ax) * wx + (py - ay) * wy) / Math.max(wx * wx + wy * wy, 1e-12)));
      nearest = Math.min(nearest, Math.hypot(px - ax - wx * share, py - ay - wy * share));
      if ((ay > py) !== (by > py) && px < ax + (py - ay) * wx / wy) inside = !inside;
    });
    return inside ? nearest : -nearest;
  }

  // The visits of a zone, in order of their confirmation: {id, label, entered, left (null: still inside)}.
  function visits(points, frames, how) {
    const sides = new Map(), open = new Map(), found = [];
    for (const frame of frames) {
      for (const [id, visit] of [...open]) {
        const last = sides.get(id).last;
        if (frame.t - last > how.gone_s + MOMENT) { visit.left = last; open.delete(id); sides.delete(id); }
      }
      for (const [id, label, ...box] of frame.tracks) {
        if (!sides.has(id)) sides.set(id, new Side(how.confirm_s));
        const side = sides.get(id), p = anchorOf(box, how.anchor);
        if (!side.add({ t: frame.t, d: depth(p, points), x: p[0], y: p[1] }, box[3] - box[1])) continue;
        if (side.held > 0) {
          const visit = { id, label, entered: side.run[0].t, left: null };
          open.set(id, visit); found.push(visit);
        } else if (open.has(id)) { open.get(id).left = side.run[0].t; open.delete(id); }
      }
    }
    return found;
  }

  function countUpTo(events, t) {
    const n = { in: 0, out: 0 };
    for (const e of events) if (e.confirmed <= t + MOMENT) n[e.direction] += 1;
    return n;
  }

  function insideAt(found, t) { return found.filter((v) => v.entered <= t + MOMENT && (v.left === null || v.left > t + MOMENT)).length; }

  const round = (v) => String(Math.round(v * 10) / 10);

  // A shape as an option of the command line; names with characters that a shell would read are quoted.
  function optionOf(shape, prefix = "") {
    const name = (prefix ? prefix + "/" : "") + shape.name;
    const points = shape.points.map(([x, y]) => `${round(x)},${round(y)}`);
    const text = shape.kind === "line" ? `${name}=${points.join(",")}` : `${name}=${points[0]}`;
    const first = /^[\w./,=:-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;
    return shape.kind === "line" ? `--line ${first}` : `--zone ${[first, ...points.slice(1)].join(" ")}`;
  }

  const SVG = "http://www.w3.org/2000/svg";
  function element(tag, attributes) {
    const e = document.createElementNS(SVG, tag);
    for (const [k, v] of Object.entries(attributes)) if (k === "text") e.textContent = v; else e.setAttribute(k, v);
    return e;
  }

  // Draws shapes on an SVG that lies over a picture of `width` x `height` pixels, and lets a person draw more.
  // A line: press, drag, release (or two clicks). A zone: a click a corner; the first corner, Enter or a double click
  // closes it. Escape gives up; corners of drawn shapes can be dragged.
  class Sheet {
    constructor(svg, changed) {
      this.svg = svg; this.changed = changed; this.shapes = []; this.mode = null; this.points = []; this.pointer = null; this.held = null; this.says = () => "";
      svg.classList.add("sheet");
      svg.addEventListener("pointerdown", (e) => this.down(e));
      svg.addEventListener("pointermove", (e) => this.move(e));
      svg.addEventListener("pointerup", (e) => this.up(e));
      svg.addEventListener("dblclick", (e) => { e.preventDefault(); this.close(); });
      document.addEventListener("keydown", (e) => {
        if (!this.mode) return;
        if (e.key === "Escape") this.begin(null);
        if (e.key === "Enter" && this.mode === "zone" && this.points.length > 2) { e.preventDefault(); this.close(); }
      });
    }

    size(width, height) {
      if (this.width === width && this.height === height) return;
      this.width = width; this.height = height;
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.render();
    }

    begin(mode) { this.mode = mode; this.points = []; this.pointer = null; this.svg.classList.toggle("drawing", Boolean(mode)); this.render(); this.changed(this); }

    at(e) {
      const box = this.svg.getBoundingClientRect();
      const clip = (v, most) => Math.round(Math.min(most, Math.max(0, v)) * 10) / 10;
      return [clip((e.clientX - box.left) * this.width / box.width, this.width), clip((e.clientY - box.top) * this.height / box.height, this.height)];
    }

    // How many pixels of the picture ten pixels of the screen are.
    get reach() { const box = this.svg.getBoundingClientRect(); return box.width ? 12 * this.width / box.width : 12; }

    near(a, b) { return Math.hypot(a[0] - b[0], a[1] - b[1]) <= this.reach; }

    down(e) {
      const p = this.at(e);
      if (this.mode === "line") {
        e.preventDefault();
        this.svg.setPointerCapture(e.pointerId);
        if (this.points.length === 1 && !this.near(this.points[0], p)) { this.points.push(p); this.close(); return; }
        this.points = [p]; this.pointer = p; this.render();
      } else if (this.mode === "zone") {
        e.preventDefault();
        if (this.points.length > 2 && this.near(this.points[0], p)) { this.close(); return; }
        if (!this.points.length || !this.near(this.points[this.points.length - 1], p)) this.points.push(p);
        this.pointer = p; this.render();
      } else {
        for (const shape of this.shapes) {
          const k = shape.fixed ? -1 : shape.points.findIndex((q) => this.near(q, p));
          if (k >= 0) { e.preventDefault(); this.held = { shape, k }; this.svg.setPointerCapture(e.pointerId); return; }
        }
      }
    }

    move(e) {
      if (this.held) { this.held.shape.points[this.held.k] = this.at(e); this.render(); return; }
      if (this.mode && this.points.length) { this.pointer = this.at(e); this.render(); }
    }

    up(e) {
      if (this.held) { this.held = null; this.changed(this); return; }
      if (this.mode === "line" && this.points.length === 1 && !this.near(this.points[0], this.at(e))) { this.points.push(this.at(e)); this.close(); }
    }

    close() {
      const kind = this.mode, points = this.points;
      if (!kind || points.length < (kind === "line" ? 2 : 3)) return;
      const names = new Set(this.shapes.map((s) => s.name));
      let n = 1;
      while (names.has(kind + n)) n += 1;
      this.shapes.push({ kind, name: kind + n, points });
      this.begin(null);
    }

    remove(shape) { this.shapes = this.shapes.filter((s) => s !== shape); this.render(); this.changed(this); }

    render() {
      if (!this.width) return;
      const unit = this.reach / 12, parts = [];
      const path = (points, closed) => points.map(([x, y], k) => `${k ? "L" : "M"}${x} ${y}`).join(" ") + (closed ? " Z" : "");
      for (const shape of this.shapes) {
        const d = path(shape.points, shape.kind === "zone");
        parts.push(element("path", { d, class: "under", "stroke-width": 5 * unit }), element("path", { d, class: shape.kind, "stroke-width": 2.5 * unit }));
        if (shape.kind === "line") {
          // An arrow points the way that counts as in: to the right of whoever looks from the first point to the second.
          const [[ax, ay], [bx, by]] = shape.points, l = Math.hypot(bx - ax, by - ay) || 1, nx = -(by - ay) / l, ny = (bx - ax) / l;
          const mx = (ax + bx) / 2, my = (ay + by) / 2, s = 16 * unit, tx = mx + nx * s, ty = my + ny * s, wx = (bx - ax) / l * s / 3, wy = (by - ay) / l * s / 3;
          parts.push(element("path", { class: "arrow", "stroke-width": 2.5 * unit, d: `M${mx} ${my} L${tx} ${ty} M${tx - nx * s / 3 - wx} ${ty - ny * s / 3 - wy} L${tx} ${ty} L${tx - nx * s / 3 + wx} ${ty - ny * s / 3 + wy}` }));
        }
        for (const [x, y] of shape.points) parts.push(element("circle", { cx: x, cy: y, r: 4.5 * unit, class: shape.fixed ? "corner fixed" : "corner", "stroke-width": 1.5 * unit }));
        const said = this.says(shape), [x, y] = shape.points.reduce((a, b) => (b[1] < a[1] ? b : a));
        const text = said ? `${shape.name}: ${said}` : shape.name;
        const label = element("text", { x: Math.max(4 * unit, Math.min(x, this.width - text.length * 7.5 * unit)), y: Math.max(16 * unit, y - 8 * unit), "font-size": 14 * unit, "stroke-width": 3.5 * unit, text });
        parts.push(label);
      }
      if (this.points.length) {
        const open = [...this.points, ...(this.pointer ? [this.pointer] : [])];
        parts.push(element("path", { d: path(open, false), class: "fresh", "stroke-width": 2.5 * unit }));
        for (const [cx, cy] of this.points) parts.push(element("circle", { cx, cy, r: 4.5 * unit, class: "corner", "stroke-width": 1.5 * unit }));
      }
      this.svg.replaceChildren(...parts);
    }
  }

  return { crossings, visits, countUpTo, insideAt, optionOf, Sheet };
})();
