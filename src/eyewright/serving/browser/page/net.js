// Talks to its own server and to nobody else; pictures are fetched, so that a token goes along, a few at a time.

export const $ = (id) => document.getElementById(id);

function token() { return sessionStorage.getItem("eyewright-token") || ""; }

export async function call(path, options = {}) {
  const headers = new Headers(options.headers || {});
  if (token()) headers.set("Authorization", "Bearer " + token());
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  }
  if (answer.status === 401) {
    await askForToken();
    return call(path, options);
  }
  if (!answer.ok) {
    let words = `The server answered ${answer.status}.`;
    try { words = (await answer.json()).error || words; } catch (_) { /* not JSON: the status says enough */ }
    throw new Error(words);
  }
  return answer;
}

export const json = async (path, options) => (await call(path, options)).json();

export const post = (path, content = {}) => json(path, { method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });

let asking = null;
function askForToken() {
  asking ||= new Promise((done) => {
    const box = $("token-box");
    box.addEventListener("close", () => { sessionStorage.setItem("eyewright-token", $("token").value.trim()); asking = null; done(); }, { once: true });
    $("token").value = "";
    box.showModal();
  });
  return asking;
}

export function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k === "class") e.className = v; else if (k === "text") e.textContent = v; else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

// Thumbnails: the newest wish first, since that is what is on screen; what has left the screen is given up.
const MOST_AT_ONCE = 8, MOST_KEPT = 1500;
const kept = new Map(), wanted = new Map();
let running = 0;

export function picture(path, done) {
  const known = kept.get(path);
  if (known) { kept.delete(path); kept.set(path, known); done(known, null); return () => {}; }
  const wish = { path, done, stop: new AbortController() };
  wanted.set(wish, wish);
  setTimeout(pump, 0);
  return () => { wanted.delete(wish); wish.stop.abort(); };
}

function pump() {
  while (running < MOST_AT_ONCE && wanted.size) {
    const wish = [...wanted.keys()].pop();
    wanted.delete(wish);
    running += 1;
    load(wish).finally(() => { running -= 1; pump(); });
  }
}

async function load(wish) {
  try {
    const blob = await (await call(wish.path, { signal: wish.stop.signal })).blob();
    const address = URL.createObjectURL(blob);
    kept.set(wish.path, address);
    if (kept.size > MOST_KEPT) { const [old, url] = kept.entries().next().value; kept.delete(old); URL.revokeObjectURL(url); }
    wish.done(address, null);
  } catch (error) {
    if (error.name !== "AbortError") wish.done(null, error);
  }
}
