// The scatter plot: every image as a point, coloured by class; a rectangle filters. Drawn once, then copied.

const COLOURS = ["#2563a8", "#c2570c", "#0f7b6c", "#8b3fa8", "#9a7b0a", "#b91c5c", "#4d7c0f", "#0e7490", "#6d4aff", "#7c5c3b"];
const STEP = 0.05;

export class Plot {
  constructor(onChange) {
    this.onChange = onChange; this.rect = null; this.drag = null;
    this.canvas = $("plot");
    const c = this.canvas;
    c.addEventListener("pointerdown", (e) => { c.setPointerCapture(e.pointerId); this.drag = this.place(e); this.rect = null; });
    c.addEventListener("pointermove", (e) => { if (this.drag) { this.rect = between(this.drag, this.place(e)); this.paint(); } });
    c.addEventListener("pointerup", (e) => {
      if (!this.drag) return;
      const end = this.place(e), small = Math.hypot(end[0] - this.drag[0], end[1] - this.drag[1]) < 0.01;
      this.set(small ? null : between(this.drag, end)); this.drag = null;
    });
    c.addEventListener("keydown", (e) => this.key(e));
    $("plot-clear").addEventListener("click", () => this.set(null));
    $("plot-large").addEventListener("click", () => {
      const large = $("plot-box").classList.toggle("large");
      $("plot-large").setAttribute("aria-pressed", String(large)); $("plot-large").textContent = large ? "Reduce" : "Enlarge";
      this.resize();
    });
    new ResizeObserver(() => this.resize()).observe(c);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.resize());
  }

  async load() {
    const data = await (await call("/v1/browse/points")).arrayBuffer(), n = data.byteLength / 6;
    this.x = new Uint16Array(data, 0, n); this.y = new Uint16Array(data, 2 * n, n); this.classes = new Uint16Array(data, 4 * n, n);
    this.resize();
  }

  resize() {
    const c = this.canvas, ratio = Math.min(2, devicePixelRatio || 1);
    const w = Math.round(c.clientWidth * ratio), h = Math.round(c.clientHeight * ratio);
    if (!w || !h || !this.x) return;
    c.width = w; c.height = h;
    const layer = this.layer = new OffscreenCanvas(w, h), g = layer.getContext("2d");
    const r = this.x.length > 20000 ? 1 : this.x.length > 2000 ? 1.5 * ratio : 2.5 * ratio;
    g.globalAlpha = this.x.length > 20000 ? 0.5 : 0.75;
    const soft = getComputedStyle(document.body).getPropertyValue("--soft");
    for (let k = 0; k < COLOURS.length + 1; k++) {
      g.fillStyle = k === COLOURS.length ? soft : COLOURS[k];
      for (let i = 0; i < this.x.length; i++) {
        const c0 = this.classes[i];
        if ((c0 === 65535 ? COLOURS.length : c0 % COLOURS.length) !== k) continue;
        g.fillRect(4 + (this.x[i] / 65534) * (w - 8) - r, 4 + (1 - this.y[i] / 65534) * (h - 8) - r, 2 * r, 2 * r);
      }
    }
    this.paint();
  }

  paint() {
    const c = this.canvas, g = c.getContext("2d");
    g.clearRect(0, 0, c.width, c.height);
    if (this.layer) g.drawImage(this.layer, 0, 0);
    if (!this.rect) return;
    const tone = getComputedStyle(document.body).getPropertyValue("--tone"), [x0, y0, x1, y1] = this.rect;
    g.strokeStyle = g.fillStyle = tone; g.lineWidth = 2;
    const box = [x0 * c.width, (1 - y1) * c.height, (x1 - x0) * c.width, (y1 - y0) * c.height];
    g.globalAlpha = 0.12; g.fillRect(...box); g.globalAlpha = 1; g.strokeRect(...box);
  }

  place(e) {
    const b = this.canvas.getBoundingClientRect(), cut = (v) => Math.min(1, Math.max(0, v));
    return [cut((e.clientX - b.left) / b.width), cut(1 - (e.clientY - b.top) / b.height)];
  }

  set(rect) {
    this.rect = rect; $("plot-clear").disabled = !rect; this.paint();
    this.onChange(rect);
  }

  key(e) {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[e.key];
    const grow = { "+": STEP, "=": STEP, "-": -STEP }[e.key];
    if (e.key === "Enter" && !this.rect) this.set([0.35, 0.35, 0.65, 0.65]);
    else if ((e.key === "Delete" || e.key === "Backspace" || e.key === "Escape") && this.rect) this.set(null);
    else if (move && this.rect) this.set(fit(this.rect, move, 0));
    else if (grow && this.rect) this.set(fit(this.rect, [0, 0], grow));
    else return;
    e.preventDefault(); e.stopPropagation();
  }

  get query() {
    if (!this.rect) return {};
    const [x0, y0, x1, y1] = this.rect.map((v) => v.toFixed(4));
    return { x0, y0, x1, y1 };
  }
}

const between = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

function fit([x0, y0, x1, y1], [dx, dy], grow) {
  const w = Math.min(1, Math.max(STEP, x1 - x0 + grow)), h = Math.min(1, Math.max(STEP, y1 - y0 + grow));
  const x = Math.min(1 - w, Math.max(0, x0 + dx - grow / 2)), y = Math.min(1 - h, Math.max(0, y0 + dy - grow / 2));
  return [x, y, x + w, y + h];
}
