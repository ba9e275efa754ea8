"use strict";
// Pictures open large, and the name of a class opens the pictures of that class. Without this script the page is whole,
// only smaller.
(() => {
  const main = document.querySelector("main"), dialog = document.getElementById("large");
  const place = dialog.querySelector(".place"), title = dialog.querySelector("h2");
  const step = [...dialog.querySelectorAll("[data-step]")];
  let order = [], at = 0;

  const make = (name, given = {}, ...children) => {
    const made = Object.assign(document.createElement(name), given);
    made.append(...children);
    return made;
  };
  const box = img => img.closest(".shot, .scene, figure, .group") || img.parentElement;
  const words = img => {
    const figure = img.closest("figure"), own = figure && figure.querySelector("figcaption");
    const whole = box(img).closest(".shot, .scene") || box(img);
    const lines = [...whole.querySelectorAll("p")].map(p => p.innerText.trim());
    const said = [...new Set([own && own.innerText.trim(), ...lines].filter(Boolean))];
    if (img.alt && !own && !said.some(s => s.includes(img.alt))) said.push(img.alt);
    return said.join("\n");
  };
  const visible = () => [...main.querySelectorAll("img[data-large]")].filter(i => i.offsetParent !== null);

  function show(k) {
    at = (k + order.length) % order.length;
    const { src, alt, said } = order[at], img = make("img", { src, alt });
    img.onload = () => img.classList.toggle("pixels", Math.max(img.naturalWidth, img.naturalHeight) < 200);
    title.textContent = order.length > 1 ? `Image ${at + 1} of ${order.length}` : "Image";
    place.replaceChildren(make("figure", {}, img, make("figcaption", { textContent: said })));
    step.forEach(b => { b.hidden = order.length < 2; });
    if (!dialog.open) dialog.showModal();
  }
  function enlarge(img) {
    const all = visible();
    order = all.map(i => ({ src: i.src, alt: i.alt, said: words(i) }));
    show(all.indexOf(img));
  }
  function prepare(img) {
    // A picture that already does something on a click keeps to that.
    if (img.dataset.large || img.dataset.at || !img.src.startsWith("data:") || img.closest("button, a")) return;
    img.dataset.large = "1";
    img.tabIndex = 0;
    img.setAttribute("role", "button");
    img.setAttribute("aria-label", `Enlarge: ${img.alt || "image"}`);
  }
  const prepareAll = () => main.querySelectorAll("img").forEach(prepare);
  prepareAll();
  new MutationObserver(prepareAll).observe(main, { childList: true, subtree: true });
  const opens = e => e.target instanceof HTMLImageElement && e.target.dataset.large;
  main.addEventListener("click", e => { if (opens(e)) enlarge(e.target); });
  main.addEventListener("keydown", e => {
    if (opens(e) && (e.key === "Enter" || e.key === " ")) { e.preventDefault(); enlarge(e.target); }
  });
  step.forEach(b => b.addEventListener("click", () => show(at + Number(b.dataset.step))));
  dialog.addEventListener("keydown", e => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (by && order.length > 1) { e.preventDefault(); show(at + by); }
  });
  dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });

  // The images of a class: those that say so, and those of the confusion matrix.
  const data = document.getElementById("data"), { labels = [], gallery = [] } = data ? JSON.parse(data.textContent) : {};
  function imagesOf(label) {
    const found = new Map();
    for (const one of main.querySelectorAll("[data-of]")) {
      if (!JSON.parse(one.dataset.of).includes(label)) continue;
      for (const i of one.querySelectorAll("img")) found.set(i.src, { src: i.src, alt: i.alt, said: words(i) });
    }
    const k = labels.indexOf(label);
    for (const i of k < 0 ? [] : gallery) {
      if ((i.t !== k && i.a !== k) || found.has(i.src)) continue;
      const how = i.t === i.a ? "predicted correctly" : `should be ${labels[i.t]}, predicted as ${labels[i.a]}`;
      found.set(i.src, { src: i.src, alt: i.id, said: `${how}, ${(i.c * 100).toFixed(1)}%\n${i.id}` });
    }
    return [...found.values()];
  }
  function showClass(label) {
    const images = imagesOf(label);
    order = [];
    title.textContent = `${label}: ${images.length} image${images.length === 1 ? "" : "s"} on this page`;
    step.forEach(b => { b.hidden = true; });
    place.replaceChildren(make("div", { className: "shots" }, ...images.map((one, k) => {
      const img = make("img", { src: one.src, alt: one.alt });
      const open = make("button", { type: "button", className: "bare" }, img);
      open.setAttribute("aria-label", `Enlarge: ${one.alt || "image"}`);
      open.addEventListener("click", () => { order = images; show(k); });
      return make("div", { className: "shot" }, open, make("p", { textContent: one.said }));
    })));
    if (!dialog.open) dialog.showModal();
  }
  for (const name of main.querySelectorAll("[data-class]")) {
    if (!imagesOf(name.dataset.class).length) continue;
    const open = make("button", { type: "button", className: "link", textContent: name.textContent, title: "Show its images" });
    open.addEventListener("click", () => showClass(name.dataset.class));
    name.replaceChildren(open);
  }
})();
