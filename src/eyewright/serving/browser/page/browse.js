// The data browser: filters, selection, edits. Every edit is stored by the server at once.
import { picture } from "./pictures.js";
import { Grid } from "./grid.js";
import { Plot } from "./plot.js";

const state = { facts: null, group: null, open: null };
const form = $("filter-form");
const count = (n, one, many = one + "s") => `${n.toLocaleString()} ${n === 1 ? one : many}`;

function say(text, bad = false) { $("status").textContent = text; $("status").classList.toggle("bad", bad); }

function query(more) {
  const values = {};
  for (const [k, v] of new FormData(form)) if (String(v).trim() !== "") values[k] = String(v).trim();
  if (state.group !== null) values.group = state.group;
  Object.assign(values, plot.query, { sort: $("sort").value || "data" }, more);
  return new URLSearchParams(values).toString();
}

function describe(row) {
  const edit = row.edit, one = [], two = [];
  if (edit && edit.action === "relabel") one.push(make("s", { text: row.label }), " → ", make("b", { text: edit.label }));
  else if (edit) one.push(make("s", { text: row.label || "no label" }), " left out");
  else one.push(row.label || " ");
  const score = row.confidence !== undefined ? row.confidence : row.score;
  if (row.predicted !== undefined) two.push(`${row.wrong ? "predicted " : ""}${row.predicted}${score !== undefined ? ` ${score.toFixed(2)}` : ""}`);
  else if (row.score !== undefined) two.push(`score ${row.score.toFixed(2)}`);
  else two.push(row.id.split("/").pop());
  const words = [row.id, row.label && `label ${row.label}`, row.split, row.predicted && `predicted ${row.predicted}`, row.wrong && "mistake",
    row.findings.length && `findings: ${row.findings.join(", ")}`, edit && (edit.action === "relabel" ? `relabelled ${edit.label}` : "left out")];
  return { one, two, words: words.filter(Boolean).join(", ") };
}

const plot = new Plot(() => reload());
const grid = new Grid({ query, describe, onSelect: showSelection, onOpen: (position, quiet) => openDetails(position, quiet) });

async function reload(options) {
  try {
    await grid.load(options);
    const all = state.facts ? state.facts.n : grid.total;
    $("total").textContent = grid.total === all ? count(all, "image") : `${grid.total.toLocaleString()} of ${count(all, "image")}`;
    const active = [...new FormData(form)].filter(([, v]) => String(v).trim()).length + (plot.rect ? 1 : 0) + (state.group !== null ? 1 : 0);
    $("filter-count").textContent = active ? `(${active} active)` : "";
    say("");
  } catch (error) { say(error.message, true); }
}

// ---- facts

function options(select, items, all) {
  const before = select.value;
  const shown = items.map((o) => make("option", { value: o.name, text: o.n === undefined ? o.about || o.name : `${o.about || o.name} (${o.n.toLocaleString()})` }));
  select.replaceChildren(...(all ? [make("option", { value: "", text: all })] : []), ...shown);
  if ([...select.options].some((o) => o.value === before)) select.value = before;
}

async function readFacts() {
  let facts;
  try { facts = await json("/v1/browse"); } catch (error) { say(error.message, true); return; }
  const first = !state.facts, newer = first || facts.version !== state.facts.version;
  state.facts = facts;
  if (newer) {
    document.title = `${facts.name}: data`; $("title").textContent = facts.name; $("about").textContent = facts.about;
    for (const row of form.querySelectorAll("[data-of]")) { const v = facts[row.dataset.of]; row.hidden = Array.isArray(v) ? !v.length : !v; }
    options(form.elements.split, facts.splits, "any"); options(form.elements.label, facts.labels, "any");
    options(form.elements.finding, [{ name: "any", about: "any finding" }, ...facts.findings.map((f) => ({ name: f.name, n: f.n }))], "any or none");
    options(form.elements.answer, facts.answers, "any"); options(form.elements.predicted, facts.predicted.map((name) => ({ name })), "any");
    options($("sort"), facts.sorts);
    $("plot-box").hidden = !facts.points;
    if (facts.points && facts.points !== state.points) { state.points = facts.points; $("plot-text").textContent = `Scatter plot: ${facts.points}`; plot.load().catch((e) => say(e.message, true)); }
    $("states").replaceChildren(...Object.values(facts.state).map((text) => make("li", { text })), ...facts.problems.map((text) => make("li", { class: "bad", text })));
    if (first) { $("label-list").replaceChildren(...facts.edits.choices.map((value) => make("option", { value }))); $("relabel-row").hidden = !facts.edits.relabels; }
    if (first || facts.scored !== state.scored || facts.findings.length !== state.found) { state.scored = facts.scored; state.found = facts.findings.length; reload({ keep: !first }); }
  }
  showEdits(facts.edits);
  if (Object.keys(facts.state).length) setTimeout(readFacts, 1000);
}

function showEdits(edits) {
  state.facts.edits = { ...state.facts.edits, ...edits };
  $("edits").textContent = edits.n ? `${count(edits.n, "edit")} in ${edits.file}` : "";
  $("undo").disabled = !edits.undo;
}

// ---- edits

async function edit(action, label = "", rows = null) {
  let chosen = rows || [...grid.selected];
  if (!chosen.length) { const row = grid.row(grid.current); if (!row) return; chosen = [row.i]; }
  try {
    const done = await post("/v1/browse/edits", { rows: chosen, action, label });
    showEdits(done.edits);
    await reload({ keep: true });
    const what = { relabel: `labelled ${label}`, leave_out: "left out", none: "as in the data again" }[action];
    say(done.changed ? `${count(done.changed, "image")} ${what}.` : "Nothing changed.");
    refreshDetails();
  } catch (error) { say(error.message, true); }
}

async function undo() {
  try {
    const done = await post("/v1/browse/undo");
    showEdits(done.edits);
    await reload({ keep: true });
    say(done.rows.length ? `The edit of ${count(done.rows.length, "image")} was undone.` : "There is nothing to undo.");
    refreshDetails();
  } catch (error) { say(error.message, true); }
}

function showSelection() {
  const n = grid.selected.size;
  $("selection").hidden = !n;
  $("selected").textContent = `${n.toLocaleString()} selected`;
}

async function exportList() {
  try {
    const answer = await call("/v1/browse/list", { method: "POST", body: JSON.stringify({ rows: [...grid.selected] }), headers: { "Content-Type": "application/json" } });
    const link = make("a", { href: URL.createObjectURL(await answer.blob()), download: `${state.facts.name}-images.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`A list of ${count(grid.selected.size, "image")} was saved.`);
  } catch (error) { say(error.message, true); }
}

// ---- details

async function openDetails(position, onlyIfOpen = false) {
  if (onlyIfOpen && $("details").hidden) return;
  let row;
  try { row = await grid.rowAt(position); } catch (error) { say(error.message, true); return; }
  if (row) showDetails(row.i);
}

function refreshDetails() { if (!$("details").hidden && state.open !== null) showDetails(state.open); }

async function showDetails(i) {
  state.open = i;
  let d;
  try { d = await json(`/v1/browse/images/${i}/facts`); } catch (error) { say(error.message, true); return; }
  if (state.open !== i) return;
  const close = make("button", { type: "button", class: "close small", text: "Close" });
  close.addEventListener("click", closeDetails);
  const image = make("img", { alt: `${d.id}${d.label ? `, labelled ${d.label}` : ""}` });
  picture(`/v1/browse/images/${i}?side=1024&marks=${$("marks").checked}`, (address, error) => { if (address) image.src = address; else image.replaceWith(make("p", { class: "bad", text: error.message })); });
  const edited = d.edit && (d.edit.action === "relabel" ? d.edit.label : "left out");
  const facts = [["label", d.label], ["edit", edited || undefined], ["split", d.split], ["predicted", d.predicted], ["confidence", d.confidence], ["score", d.score]].filter(([, v]) => v !== undefined && v !== "");
  const table = make("table", {}, make("tbody", {}, ...facts.map(([k, v]) => make("tr", {}, make("th", { text: k }), make("td", { text: typeof v === "number" ? v.toFixed(3) : v })))));
  const parts = [close, make("p", { class: "path", text: d.id }), image, table];
  if (d.held.length > 1 || (d.held[0] && d.held[0].name !== d.label)) parts.push(make("p", {}, ...d.held.map((h) => make("span", { class: "chip", text: `${h.name} ${h.n}` }))));
  parts.push(editing(i, d));
  if (d.group > 1) {
    const button = make("button", { type: "button", class: "small", text: `Show its group of ${d.group}` });
    button.addEventListener("click", () => { state.group = i; $("group-row").hidden = false; $("group-text").textContent = `Group of ${d.id}.`; reload(); });
    parts.push(make("p", {}, button));
  }
  for (const f of d.found) parts.push(make("div", { class: `found ${f.severity}` }, make("h3", { text: f.code }), make("div", { text: f.message }), make("div", { class: "note", text: `→ ${f.fix}` })));
  $("details").replaceChildren(...parts);
  $("details").hidden = false;
}

function editing(i, d) {
  const { choices, relabels } = state.facts.edits, box = make("div", {}, make("h3", { text: d.edit ? "Edited" : relabels ? "Is the label wrong?" : "Is something marked wrongly?" }));
  const buttons = make("div", { class: "classes" });
  if (choices.length && choices.length <= 30) {
    choices.forEach((name, k) => {
      const now = d.edit ? d.edit.label : d.cell;
      const b = make("button", { type: "button", class: "small", "aria-pressed": String(name === now), text: k < 9 ? `${k + 1} ${name}` : name, "aria-label": `Label as ${name}` });
      b.addEventListener("click", () => edit("relabel", name, [i]));
      buttons.append(b);
    });
  } else if (relabels) {
    const input = make("input", { "aria-label": "New label", list: choices.length ? "label-list" : "", value: (d.edit && d.edit.label) || d.cell });
    const b = make("button", { type: "button", class: "small primary", text: "Relabel" });
    b.addEventListener("click", () => edit("relabel", input.value.trim(), [i]));
    buttons.append(input, b);
  }
  const out = make("button", { type: "button", class: "small", "aria-pressed": String(Boolean(d.edit && d.edit.action === "leave_out")), text: "Leave out" });
  out.addEventListener("click", () => edit("leave_out", "", [i]));
  buttons.append(out);
  if (d.edit) {
    const back = make("button", { type: "button", class: "small", text: "Remove the edit" });
    back.addEventListener("click", () => edit("none", "", [i]));
    buttons.append(back);
  }
  box.append(buttons);
  return box;
}

function closeDetails() { $("details").hidden = true; state.open = null; $("grid").focus(); }

// ---- keys

function key(e) {
  const typing = e.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea") || document.querySelector("dialog[open]");
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "z" && !typing) { e.preventDefault(); undo(); return; }
  if (typing) return;
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "a") { e.preventDefault(); grid.selectAll().catch((error) => say(error.message, true)); return; }
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "Escape") { if (!$("details").hidden) closeDetails(); else grid.clear(); return; }
  if (e.target.closest("button, summary, a")) return;
  const rows = Math.max(1, Math.floor($("grid").clientHeight / grid.rowHeight) - 1);
  const to = { ArrowLeft: grid.current - 1, ArrowRight: grid.current + 1, ArrowUp: grid.current - grid.columns, ArrowDown: grid.current + grid.columns,
    Home: 0, End: grid.total - 1, PageUp: grid.current - rows * grid.columns, PageDown: grid.current + rows * grid.columns }[e.key];
  if (to !== undefined) { e.preventDefault(); grid.go(to, { range: e.shiftKey }); return; }
  const { choices } = state.facts ? state.facts.edits : { choices: [] };
  if (e.key === " ") { e.preventDefault(); const row = grid.row(grid.current); if (row) grid.toggle(row.i); }
  else if (e.key === "Enter") { e.preventDefault(); openDetails(grid.current); }
  else if (/^[1-9]$/.test(e.key) && choices[Number(e.key) - 1]) edit("relabel", choices[Number(e.key) - 1]);
  else if (e.key.toLowerCase() === "x") edit("leave_out");
  else if (e.key.toLowerCase() === "r") edit("none");
}

// ---- wiring

let later = 0;
form.addEventListener("input", (e) => { clearTimeout(later); later = setTimeout(reload, e.target.matches("select") ? 0 : 250); });
form.addEventListener("submit", (e) => e.preventDefault());
form.addEventListener("reset", () => setTimeout(() => { state.group = null; $("group-row").hidden = true; if (plot.rect) plot.set(null); else reload(); }, 0));
$("group-clear").addEventListener("click", () => { state.group = null; $("group-row").hidden = true; reload(); });
$("sort").addEventListener("change", () => reload());
$("size").addEventListener("input", () => { grid.size = Number($("size").value); grid.layout(); });
$("marks").addEventListener("change", () => { grid.marks = $("marks").checked; reload({ keep: true }); refreshDetails(); });
$("undo").addEventListener("click", undo);
$("keys").addEventListener("click", () => $("keys-box").showModal());
$("relabel").addEventListener("click", () => { const label = $("label").value.trim(); if (label) edit("relabel", label); else $("label").focus(); });
$("label").addEventListener("keydown", (e) => { if (e.key === "Enter") $("relabel").click(); });
$("leave-out").addEventListener("click", () => edit("leave_out"));
$("restore").addEventListener("click", () => edit("none"));
$("export").addEventListener("click", exportList);
$("select-none").addEventListener("click", () => grid.clear());
document.addEventListener("keydown", key);
if (matchMedia("(max-width: 700px)").matches) { $("filter-box").open = false; grid.size = 104; }
readFacts();
