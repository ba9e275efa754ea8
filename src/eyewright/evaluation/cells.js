const { labels, gallery } = JSON.parse(document.getElementById("data").textContent);
const title = document.getElementById("cell-title"), note = document.getElementById("cell-note"), shots = document.getElementById("cell-shots");
function open(cell) {
  const t = +cell.dataset.true, a = +cell.dataset.answer, found = gallery.filter(i => i.t === t && i.a === a);
  document.querySelectorAll(".cell.on").forEach(c => c.classList.remove("on"));
  cell.classList.add("on");
  title.textContent = t === a ? `${labels[t]}, predicted correctly` : `${labels[t]} predicted as ${labels[a]}`;
  note.textContent = cell.querySelector("title").textContent + (found.length ? `; ${found.length} shown` : "; their images are not in this file");
  shots.replaceChildren(...found.map(i => {
    const box = document.createElement("div"), img = document.createElement("img"), p = document.createElement("p");
    box.className = "shot"; img.src = i.src; img.alt = i.id; box.title = i.id;
    p.textContent = `${(i.c * 100).toFixed(1)}%`; p.className = "soft"; box.append(img, p); return box;
  }));
}
document.querySelectorAll(".cell").forEach(c => { c.addEventListener("click", () => open(c)); c.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); open(c); } }); });
const first = document.querySelector(".cell.wrong") || document.querySelector(".cell"); if (first) open(first);
