"use strict";
// What the models saw and said lately: counts, feedback, drift, numbers and labels. Uses what app.js declares.

async function watch() {
  let found;
  try { found = await (await call("/v1/watch")).json(); } catch (error) {
    $("watch").replaceChildren(make("p", { text: error.message }));
    return;
  }
  const parts = [];
  if (found.trouble) parts.push(make("p", {}, make("span", { class: "chip warn", text: found.trouble })));
  for (const [name, m] of Object.entries(found.models)) {
    if (!m.predictions) { parts.push(make("h2", { text: name }), make("p", { class: "sub", text: "nothing has been predicted yet" })); continue; }
    const cards = make("div", { class: "cards" });
    const said = m.feedback;
    cards.append(
      card("Predictions", make("p", { class: "number", text: m.predictions.toLocaleString() }), make("p", { class: "sub", text: m.last ? `the latest ${ago(m.now - m.last)}` : "none yet" })),
      ...saidCards(m),
      card("Unfamiliar images", make("p", { class: "number", text: m.unfamiliar ? percent(m.unfamiliar.share) : "–" }), make("p", { class: "sub", text: m.unfamiliar ? `of the last ${m.unfamiliar.n}; 1 % is usual` : m.predictions ? "the bundle holds too few reference images to tell" : "" })),
      card("Response time", make("p", { class: "number", text: m.latency_ms ? milliseconds(m.latency_ms.p50) : "–" }), make("p", { class: "sub", text: m.latency_ms ? `median; 99th percentile ${milliseconds(m.latency_ms.p99)}` : "" })),
    );
    const windows = card("Drift", driftChart(m.windows), make("p", { class: "sub", text: driftWords(m.windows) }));
    const last = m.windows[m.windows.length - 1];
    if (last && last.examples.length) windows.append(await examples(last));
    windows.classList.add("wide");
    cards.append(windows);
    for (const [quantity, v] of Object.entries(m.values)) cards.append(card(`Predicted ${quantity}`, spreadChart(quantity, v),
      make("p", { class: "sub", text: `median ${v.median}; of the last ${v.recent.reduce((a, b) => a + b, 0)} predictions${v.usual ? "; line: the validation images at training" : ""}` })));
    if (Object.keys(m.labels).length) {
      const many = m.labelled.noun[1] || "labels";
      cards.append(card(`${many[0].toUpperCase()}${many.slice(1)} predicted`, bars(Object.entries(m.labels), m.labelled.of), make("p", { class: "sub", text: m.labelled.of ? `of the last ${m.labelled.of} predictions, which may have several` : "" })));
    }
    if (m.confidence.length) cards.append(card("Scores", columns(m.confidence.map((n, i) => [(i / 10).toFixed(1), n]))));
    for (const [trait, t] of Object.entries(m.traits)) cards.append(card(trait[0].toUpperCase() + trait.slice(1), traitChart(t), make("p", { class: "sub", text: t.usual ? "band: 90 % of the validation images" : "" })));
    parts.push(make("h2", { text: name }), cards);
  }
  for (const [name, lines] of Object.entries(found.sources)) parts.push(...crossings(name, lines));
  $("watch").replaceChildren(...(parts.length ? parts : [make("p", { text: "Nothing has been logged yet." })]));
}

// How many objects crossed each line of a live source in the last 24 hours.
function crossings(name, lines) {
  if (!Object.keys(lines).length) return [];
  const cards = make("div", { class: "cards hours" });
  for (const [line, one] of Object.entries(lines)) {
    for (const [way, hours] of Object.entries(one.hours).sort()) {
      const hourOf = (k) => new Date(1000 * (one.first_hour + 3600 * k)).getHours();
      const rows = hours.map((n, k) => [hourOf(k) % 3 ? "" : String(hourOf(k)), n]);
      const most = Object.entries(one.labels[way]).filter(([label]) => label).sort((a, b) => b[1] - a[1]).slice(0, 4);
      cards.append(card(`${line}, ${way}`, make("p", { class: "number", text: hours.reduce((a, b) => a + b, 0).toLocaleString() }),
        make("p", { class: "sub", text: ["in the last 24 hours, by hour", ...most.map(([label, n]) => `${label} ${n}`)].join(" · ") }), columns(rows)));
    }
  }
  return [make("h2", { text: name }), cards];
}

// What people said of predictions: how many are right, and of numbers how far off those are that were corrected.
function saidCards(m) {
  const said = m.feedback;
  const cards = Object.entries(said.values || {}).map(([quantity, v]) => card(`Error of ${quantity}, by feedback`,
    make("p", { class: "number", text: `${Number(v.mae.value.toPrecision(3))} ${v.mae.unit}`.trim() }),
    make("p", { class: "sub", text: `mean absolute error of the values that were corrected, 95 % interval ${Number(v.mae.low.toPrecision(3))} to ${Number(v.mae.high.toPrecision(3))}, n = ${v.mae.n}` })));
  const right = card("Right, by feedback", make("p", { class: "number", text: said.n ? percent(said.right) : "–" }),
    make("p", { class: "sub", text: said.n ? `95 % interval ${percent(said.low)} to ${percent(said.high)}, n = ${said.n}; of the predictions with feedback` : "no feedback yet" }));
  if (said.tags) {
    const each = Object.entries(said.tags.each);
    right.append(make("ul", { class: "bars" }, ...each.map(([tag, c]) => make("li", {}, make("span", { class: "name", text: tag }),
      make("span", { class: "value", text: `${c.right} of ${c.n}` }), make("meter", { min: "0", max: "1", value: String(c.right / c.n), "aria-label": `${tag} is right in ${c.right} of ${c.n}` }),
      c.missed || c.false ? make("span", { class: "sub", text: `${c.missed} missed, ${c.false} false` }) : ""))));
  }
  return [right, ...cards];
}

function card(title, ...content) { return make("div", { class: "card" }, make("h2", { text: title }), ...content); }

function milliseconds(v) { return `${v < 100 ? Number(v.toPrecision(3)) : Math.round(v).toLocaleString()} ms`; }

function ago(s) { return s < 90 ? `${Math.max(0, Math.round(s))} s ago` : s < 5400 ? `${Math.round(s / 60)} min ago` : s < 172800 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} days ago`; }

async function examples(last) {
  const row = make("div", { class: "row wrap examples" });
  for (const name of last.examples) {
    try {
      const blob = await (await call(`/v1/images/${name}`)).blob();
      row.append(make("img", { src: URL.createObjectURL(blob), alt: `an image of the last window, unusual in ${last.moved[0]}` }));
    } catch (_) { /* gone meanwhile */ }
  }
  return row;
}

function driftWords(windows) {
  if (!windows.length) return "No window of predictions is full yet.";
  const last = windows[windows.length - 1], alarms = windows.filter((w) => w.alarm).length;
  const moved = last.moved.length ? `; moved: ${last.moved.join(", ")}` : "";
  return `${windows.length} windows, ${alarms} alarm${alarms === 1 ? "" : "s"}; the last: p = ${last.p.toPrecision(2)}${moved}. A low p-value means that the inputs have drifted.`;
}

function driftChart(windows) {
  // On a narrow screen the picture is narrow too, so that its letters are not shrunk.
  const w = window.innerWidth < 700 ? 400 : 1200, h = 150, left = 46, chart = draw("svg", { class: "chart", viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": driftWords(windows) });
  const y = (p) => 10 + (h - 34) * (Math.min(3, -Math.log10(Math.max(p, 0.001))) / 3);
  for (const p of [1, 0.1, 0.01, 0.001]) chart.append(draw("line", { class: "axis", x1: left, x2: w, y1: y(p), y2: y(p) }), draw("text", { x: 0, y: y(p) + 4, text: String(p) }));
  windows.forEach((v, i) => chart.append(draw("circle", { class: v.alarm ? "dot alarm" : "dot", cx: left + 10 + (w - left - 20) * (windows.length > 1 ? i / (windows.length - 1) : 0.5), cy: y(v.p), r: v.alarm ? 6 : 4 })));
  return chart;
}

function bars(rows, of) {
  const total = of || rows.reduce((sum, r) => sum + r[1], 0) || 1;
  return make("ul", { class: "bars" }, ...rows.map(([name, n]) => make("li", {}, make("span", { class: "name", text: name }), make("span", { class: "value", text: n.toLocaleString() }),
    make("meter", { min: "0", max: "1", value: String(n / total), "aria-label": `${name} ${n}` }))));
}

function columns(rows) {
  const w = 300, h = 120, most = Math.max(1, ...rows.map((r) => r[1]));
  const chart = draw("svg", { class: "chart", viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": rows.map((r) => `${r[0]}: ${r[1]}`).join(", ") });
  const wide = w / Math.max(1, rows.length);
  rows.forEach(([name, n], i) => {
    const tall = (h - 34) * n / most;
    chart.append(draw("rect", { class: "column", x: i * wide + 2, y: h - 18 - tall, width: Math.max(1, wide - 4), height: tall, rx: 2 }));
    const most_letters = Math.max(2, Math.floor(wide / 6.2));
    const label = draw("text", { x: i * wide + wide / 2, y: h - 4, "text-anchor": "middle", text: name.length > most_letters ? name.slice(0, most_letters - 1) + "…" : name });
    label.append(draw("title", { text: `${name}: ${n}` }));
    chart.append(label);
    if (n) chart.append(draw("text", { x: i * wide + wide / 2, y: h - 22 - tall, "text-anchor": "middle", text: String(n) }));
  });
  return chart;
}

// Columns of what was predicted, and a line of what was usual, both as shares of their own.
function spreadChart(name, v) {
  const w = 300, h = 130, bottom = h - 20;
  const shares = (counts) => { const total = counts.reduce((a, b) => a + b, 0) || 1; return counts.map((n) => n / total); };
  const recent = shares(v.recent), usual = v.usual ? shares(v.usual) : [];
  const most = Math.max(...recent, ...usual, 1e-9), wide = w / recent.length, y = (s) => bottom - (bottom - 8) * s / most;
  const ends = [v.edges[0], v.edges[Math.floor(v.edges.length / 2)], v.edges[v.edges.length - 1]];
  const chart = draw("svg", { class: "chart", viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `histogram of ${name} from ${ends[0]} to ${ends[2]}, median ${v.median}` });
  recent.forEach((s, i) => {
    const column = draw("rect", { class: "column", x: i * wide + 1, y: y(s), width: Math.max(1, wide - 2), height: bottom - y(s) });
    column.append(draw("title", { text: `${v.edges[i]} to ${v.edges[i + 1]}: ${v.recent[i]}` }));
    chart.append(column);
  });
  if (usual.length) chart.append(draw("polyline", { class: "curve usual", points: usual.map((s, i) => `${(i * wide + wide / 2).toFixed(1)},${y(s).toFixed(1)}`).join(" ") }));
  chart.append(draw("line", { class: "axis", x1: 0, x2: w, y1: bottom, y2: bottom }));
  ends.forEach((e, k) => chart.append(draw("text", { x: k * w / 2, y: h - 5, "text-anchor": ["start", "middle", "end"][k], text: String(Number(e.toPrecision(3))) })));
  return chart;
}

// The medians of recent predictions, oldest first, over the range that was usual; both ends of the axis have a value.
function traitChart(t) {
  const w = 300, h = 124, left = 44, bottom = h - 20, values = [...t.recent, ...(t.usual || [])];
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const y = (v) => bottom - (bottom - 14) * (v - low) / span, x = (i) => left + (w - left - 6) * i / Math.max(1, t.recent.length - 1);
  const shown = (v) => String(Number(v.toPrecision(3)));
  const chart = draw("svg", { class: "chart", viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `recent medians ${t.recent.join(", ")}${t.usual ? `; usual ${shown(t.usual[0])} to ${shown(t.usual[2])}` : ""}` });
  if (t.usual) chart.append(draw("rect", { class: "band", x: left, width: w - left, y: y(t.usual[2]), height: Math.max(1, y(t.usual[0]) - y(t.usual[2])) }));
  chart.append(draw("line", { class: "axis", x1: left, x2: w, y1: bottom, y2: bottom }));
  for (const v of high > low ? [low, high] : [low]) chart.append(draw("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end", text: shown(v) }));
  if (t.recent.length > 1) {
    chart.append(draw("polyline", { class: "curve", points: t.recent.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ") }));
    chart.append(draw("text", { x: left, y: h - 5, text: "earlier" }), draw("text", { x: w, y: h - 5, "text-anchor": "end", text: "now" }));
  } else for (const v of t.recent) chart.append(draw("circle", { class: "dot", cx: left + (w - left) / 2, cy: y(v), r: 4 }));
  return chart;
}
