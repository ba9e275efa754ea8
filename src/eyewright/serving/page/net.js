"use strict";
// What the server's page and the data browser have in common: a plain script whose names the scripts after it use. It talks to its
// own server and to nobody else.

const $ = (id) => document.getElementById(id);

function token() { return sessionStorage.getItem("eyewright-token") || ""; }

async function call(path, options = {}) {
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
    try {
      const said = await answer.json();
      if (said.error) words = said.fix ? `${said.error}; ${said.fix}` : said.error;
    } catch (_) { /* not JSON: the status says enough */ }
    throw new Error(words);
  }
  return answer;
}

const json = async (path, options) => (await call(path, options)).json();

const post = (path, content = {}) => json(path, { method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });

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

function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k === "class") e.className = v; else if (k === "text") e.textContent = v; else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}
