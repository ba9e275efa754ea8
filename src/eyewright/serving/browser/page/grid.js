// A list of any length as a grid: only what is on screen exists. Rows of data come in pages from the server.
import { picture } from "./pictures.js";

const PAGE = 200, GAP = 6, CAPTION = 40, PAGES_KEPT = 60;

export class Grid {
  constructor({ query, onOpen, onSelect, describe }) {
    Object.assign(this, { query, onOpen, onSelect, describe });
    this.box = $("grid"); this.spacer = $("spacer");
    this.total = 0; this.current = 0; this.anchor = 0; this.size = 136; this.marks = true;
    this.pages = new Map(); this.cells = new Map(); this.selected = new Set(); this.generation = 0;
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(this.box);
    this.box.addEventListener("click", (e) => this.click(e));
    this.box.addEventListener("dblclick", (e) => { if (e.target.closest(".cell")) this.onOpen(this.current); });
  }

  // Ask again from the first row, or where the list was, after an edit.
  async load({ keep = false } = {}) {
    const generation = ++this.generation;
    this.pages.clear(); this.numbers = null;
    if (!keep) { this.current = this.anchor = 0; this.box.scrollTop = 0; }
    const first = await this.page(Math.floor(this.current / PAGE));
    if (generation !== this.generation) return;
    this.total = first.total;
    this.current = Math.max(0, Math.min(this.current, this.total - 1));
    for (const cell of this.cells.values()) this.drop(cell);
    this.cells.clear();
    this.layout();
  }

  page(k) {
    let found = this.pages.get(k);
    if (!found) {
      const generation = this.generation;
      found = json(`/v1/browse/rows?${this.query({ offset: k * PAGE, n: PAGE })}`);
      this.pages.set(k, found);
      found.then((content) => { found.content = content; if (generation === this.generation) this.draw(); }, () => { if (this.pages.get(k) === found) this.pages.delete(k); });
      if (this.pages.size > PAGES_KEPT) this.pages.delete(this.pages.keys().next().value);
    }
    return found;
  }

  row(position) {
    const page = this.pages.get(Math.floor(position / PAGE));
    return page && page.content ? page.content.rows[position % PAGE] : undefined;
  }

  async rowAt(position) {
    const page = await this.page(Math.floor(position / PAGE));
    return page.rows[position % PAGE];
  }

  async allNumbers() {
    if (!this.numbers) {
      const generation = this.generation;
      const found = new Uint32Array(await (await call(`/v1/browse/numbers?${this.query({})}`)).arrayBuffer());
      if (generation === this.generation) this.numbers = found;
      return found;
    }
    return this.numbers;
  }

  layout() {
    const width = this.box.clientWidth - 2 * GAP;
    this.columns = Math.max(1, Math.floor((width + GAP) / (this.size + GAP)));
    this.cellWidth = Math.floor((width + GAP) / this.columns) - GAP;
    this.rowHeight = this.cellWidth + CAPTION + GAP;
    this.spacer.style.height = `${Math.ceil(this.total / this.columns) * this.rowHeight + GAP}px`;
    for (const [position, cell] of this.cells) this.place(cell, position);
    this.draw();
  }

  place(cell, position) {
    const x = GAP + (position % this.columns) * (this.cellWidth + GAP), y = GAP + Math.floor(position / this.columns) * this.rowHeight;
    cell.style.transform = `translate(${x}px, ${y}px)`;
    cell.style.width = `${this.cellWidth}px`; cell.style.height = `${this.rowHeight - GAP}px`;
    cell.firstChild.style.height = `${this.cellWidth - 12}px`;
  }

  draw() {
    if (!this.columns) return;
    const top = this.box.scrollTop, height = this.box.clientHeight;
    const first = Math.max(0, Math.floor(top / this.rowHeight) - 1) * this.columns;
    const last = Math.min(this.total, (Math.ceil((top + height) / this.rowHeight) + 1) * this.columns);
    for (const [position, cell] of this.cells) if (position < first || position >= last) { this.drop(cell); this.cells.delete(position); }
    for (let p = first; p < last; p++) {
      let cell = this.cells.get(p);
      if (!cell) { cell = this.blank(p); this.cells.set(p, cell); this.spacer.append(cell); this.place(cell, p); }
      const row = this.row(p);
      if (row && cell.row !== row) this.fill(cell, row, p);
      cell.classList.toggle("current", p === this.current);
    }
    // While the view flies past, pages that it has left are not asked for.
    clearTimeout(this.soon);
    const missing = [];
    for (let k = Math.floor(first / PAGE); k <= Math.floor(Math.max(first, last - 1) / PAGE); k++) if (this.total && !this.pages.has(k)) missing.push(k);
    if (missing.length) this.soon = setTimeout(() => missing.forEach((k) => this.page(k)), 40);
    const shown = this.cells.get(this.current);
    if (shown) this.box.setAttribute("aria-activedescendant", shown.id); else this.box.removeAttribute("aria-activedescendant");
    this.tell();
  }

  tell() {
    if (!this.empty) { this.empty = make("p", { class: "tell" }); this.box.append(this.empty); }
    this.empty.hidden = this.total > 0;
    this.empty.textContent = this.total ? "" : "No image fits these filters.";
  }

  blank(position) {
    return make("div", { class: "cell", role: "option", id: `cell-${position}`, "aria-posinset": position + 1, "aria-setsize": this.total, "aria-selected": "false" },
      make("div", { class: "frame" }), make("p", { class: "cap" }), make("p", { class: "cap two" }), make("span", { class: "tick", "aria-hidden": "true", text: "✓" }));
  }

  fill(cell, row, position) {
    const frame = cell.firstChild, [one, two] = cell.querySelectorAll(".cap");
    const changed = !cell.row || cell.row.i !== row.i || cell.marks !== this.marks;
    cell.row = row; cell.dataset.position = position; cell.marks = this.marks;
    const said = this.describe(row);
    one.replaceChildren(...said.one); two.replaceChildren(...said.two);
    two.classList.toggle("wrong", Boolean(row.wrong));
    cell.setAttribute("aria-selected", String(this.selected.has(row.i)));
    cell.classList.toggle("out", Boolean(row.edit && row.edit.action === "leave_out"));
    for (const old of cell.querySelectorAll(".flag")) old.remove();
    if (row.findings.length) cell.append(make("span", { class: "flag", text: row.findings.length === 1 ? row.findings[0] : `${row.findings.length} findings`, title: row.findings.join(", ") }));
    if (!changed) { if (frame.firstChild instanceof HTMLImageElement) frame.firstChild.alt = said.words; return; }
    if (cell.stop) cell.stop();
    // The name of a cell is what stands in it, so the image says the rest.
    const image = make("img", { alt: said.words, draggable: "false" });
    frame.className = "frame"; frame.replaceChildren(image);
    const side = this.cellWidth > 170 ? 320 : 160;
    cell.stop = picture(`/v1/browse/images/${row.i}?side=${side}&marks=${this.marks}`, (address, error) => {
      if (address) image.src = address; else { frame.className = "frame none"; frame.textContent = error.message; }
    });
  }

  drop(cell) { if (cell.stop) cell.stop(); cell.remove(); }

  show(position) {
    const y = Math.floor(position / this.columns) * this.rowHeight, height = this.box.clientHeight;
    if (y < this.box.scrollTop) this.box.scrollTop = y;
    else if (y + this.rowHeight + GAP > this.box.scrollTop + height) this.box.scrollTop = y + this.rowHeight + GAP - height;
  }

  go(position, { range = false } = {}) {
    if (!this.total) return;
    const next = Math.max(0, Math.min(this.total - 1, position));
    if (range) this.selectRange(this.anchor, next); else this.anchor = next;
    this.current = next;
    this.show(next); this.draw(); this.onOpen(next, true);
  }

  async selectRange(a, b) {
    const numbers = await this.allNumbers();
    for (let p = Math.min(a, b); p <= Math.max(a, b); p++) this.selected.add(numbers[p]);
    this.refresh();
  }

  async selectAll() { for (const i of await this.allNumbers()) this.selected.add(i); this.refresh(); }

  toggle(i) { if (!this.selected.delete(i)) this.selected.add(i); this.refresh(); }

  clear() { this.selected.clear(); this.refresh(); }

  refresh() {
    for (const cell of this.cells.values()) if (cell.row) cell.setAttribute("aria-selected", String(this.selected.has(cell.row.i)));
    this.onSelect();
  }

  click(e) {
    const cell = e.target.closest(".cell");
    if (!cell || !cell.row) return;
    const position = Number(cell.dataset.position);
    if (e.shiftKey) { e.preventDefault(); this.go(position, { range: true }); return; }
    this.go(position);
    if (e.ctrlKey || e.metaKey || e.target.closest(".tick")) this.toggle(cell.row.i); else this.onOpen(position);
  }
}
