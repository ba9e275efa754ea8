/* global call */
// Pictures are fetched, so that a token goes along, a few at a time. `call` is of net.js.

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
