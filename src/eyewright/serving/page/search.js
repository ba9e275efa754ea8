"use strict";
// Search: words, an image, indexed images that hits should be more or less like. Uses what app.js declares.

const sought = { image: null, title: "", like: [], unlike: [], asked: 0, pictures: new Map() };

async function beginSearch() {
  let indexes = [];
  try { indexes = (await (await call("/v1/index")).json()).indexes; } catch (error) { say(error.message, true); return; }
  if (!indexes.length) return;
  $("tab-search").hidden = false;
  $("search-index").append(...indexes.map((one) => make("option", { value: one.name, text: `${one.name} (${one.images.toLocaleString()})` })));
  $("search-index-row").hidden = indexes.length < 2;
  tellSearch(`${indexes[0].images.toLocaleString()} images.`);
  $("tab-search").addEventListener("click", () => { view("search"); $("search-words").focus(); });
  $("search-form").addEventListener("submit", (e) => { e.preventDefault(); runSearch(); });
  $("search-index").addEventListener("change", () => { sought.like = []; sought.unlike = []; showTerms(); });
  $("search-file").addEventListener("change", () => { const [file] = $("search-file").files; $("search-file").value = ""; if (file) searchImage(file, file.name); });
  const area = $("view-search");
  for (const kind of ["dragenter", "dragover"]) area.addEventListener(kind, (e) => { e.preventDefault(); $("search-form").classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) area.addEventListener(kind, () => $("search-form").classList.remove("over"));
  area.addEventListener("drop", (e) => { e.preventDefault(); takeFiles(e.dataTransfer.files); });
}

function tellSearch(text, kind = "") { $("search-status").textContent = text; $("search-status").className = kind; }

function searchImage(blob, title) {
  if (sought.address) URL.revokeObjectURL(sought.address);
  Object.assign(sought, { image: blob, title, address: URL.createObjectURL(blob) });
  runSearch();
}

function term(name, address, drop) {
  const button = make("button", { type: "button", "aria-label": `Remove ${name}`, text: "×" });
  button.addEventListener("click", () => { drop(); runSearch(); });
  const picture = address ? [make("img", { src: address, alt: "" })] : [];
  return make("li", {}, ...picture, make("span", { class: "name", text: name }), button);
}

function showTerms() {
  const terms = [];
  if (sought.image) terms.push(term(sought.title, sought.address, () => { sought.image = null; }));
  for (const [kind, sign] of [["like", "more like"], ["unlike", "less like"]]) {
    for (const hit of sought[kind]) terms.push(term(`${sign} ${fileOf(hit.path)}`, sought.pictures.get(hit.image), () => { sought[kind] = sought[kind].filter((h) => h.id !== hit.id); }));
  }
  $("search-terms").replaceChildren(...terms);
  $("search-terms").hidden = !terms.length;
}

const fileOf = (path) => path.split("/").pop();

async function base64Of(blob) {
  const reader = new FileReader();
  await new Promise((done, fail) => { reader.onload = done; reader.onerror = () => fail(new Error("The file cannot be read.")); reader.readAsDataURL(blob); });
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

async function runSearch() {
  showTerms();
  const words = $("search-words").value.trim(), folder = $("search-folder").value.trim();
  if (!words && !sought.image && !sought.like.length) {
    $("search-hits").replaceChildren();
    tellSearch(sought.unlike.length ? "Write some words, or choose what hits should be like." : "Write some words, or drop an image.");
    return;
  }
  const number = ++sought.asked;
  tellSearch("Searching …");
  try {
    const body = { index: $("search-index").value, n: Number($("search-n").value) };
    if (words) body.words = words;
    if (folder) body.folder = folder;
    if (sought.like.length) body.like = sought.like.map((h) => h.id);
    if (sought.unlike.length) body.unlike = sought.unlike.map((h) => h.id);
    if (sought.image) body.image = await base64Of(sought.image);
    const found = await (await call("/v1/search", { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();
    if (number === sought.asked) showHits(found);
  } catch (error) {
    if (number !== sought.asked) return;
    // Hits of the search before would be taken for the answer.
    $("search-hits").replaceChildren();
    tellSearch(error.message, "bad");
  }
}

function showHits(found) {
  const of = `of ${found.searched.toLocaleString()} images`;
  const time = ` (${Math.round(found.total_ms)} ms)`;
  $("search-hits").classList.toggle("unfit", found.fits === false);
  const notes = found.notes.map((note) => ` Note: ${note}.`).join("");
  if (found.fits === false) tellSearch(`Nothing fits: none ${of} scores above chance${time}. The nearest are below.${notes}`, "none");
  else tellSearch(`${found.hits.length} nearest ${of}${time}.${found.fits === null ? unsaid(found) : ""}${notes}`);
  $("search-hits").replaceChildren(...found.hits.map(hitItem));
}

function unsaid(found) {
  if (!found.familiar) return " Whether they fit is not known: the model was not trained on queries like this one.";
  if (found.hits.some((hit) => hit.p === null)) return " There are too few images to say whether they fit.";
  return " A group of images scores far above all others: they may all fit, and no single one stands out.";
}

function hitItem(hit) {
  const frame = make("div", { class: "frame" });
  picture(hit.image).then((address) => frame.replaceChildren(make("img", { src: address, alt: hit.path })), (error) => { frame.textContent = error.message; });
  const p = hit.p === null ? "" : ` · p\u00a0${hit.p < 0.001 ? "<\u00a00.001" : hit.p.toFixed(3)}`;
  const refine = (kind, other, text) => {
    const button = make("button", { type: "button", text, "aria-label": `${text}: ${hit.path}` });
    button.addEventListener("click", () => {
      sought[other] = sought[other].filter((h) => h.id !== hit.id);
      if (!sought[kind].some((h) => h.id === hit.id)) sought[kind].push(hit);
      runSearch();
      window.scrollTo({ top: 0 });
    });
    return button;
  };
  return make("li", {}, frame, make("p", { class: "path", title: hit.path }, make("bdi", { text: hit.path })),
    make("p", { class: "sub", text: `score ${hit.score.toFixed(3)}${p}` }),
    make("div", { class: "row" }, refine("like", "unlike", "More like"), refine("unlike", "like", "Less like")));
}

// Thumbnails are fetched, so that the token goes along, and kept.
async function picture(path) {
  if (!sought.pictures.has(path)) {
    if (sought.pictures.size > 400) { for (const old of sought.pictures.values()) URL.revokeObjectURL(old); sought.pictures.clear(); }
    sought.pictures.set(path, URL.createObjectURL(await (await call(path)).blob()));
  }
  return sought.pictures.get(path);
}
