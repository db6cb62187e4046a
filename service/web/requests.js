"use strict";
// Talks with the server: ids, the key, how far it is, waiting and trying again. Knows no element of the page.

const RETRIES = 5;
const LOOK = 1000; // milliseconds between two looks at how far a request is
const KEY = "cwic-api-key"; // in the storage of this tab, which ends with it
const NOT_READY = "urn:cwic:problem:not-ready";

class Problem extends Error { // why there is no answer; as the server says it (RFC 9457), where it says anything
  constructor(said, status = 0) {
    super(said.title);
    Object.assign(this, { title: "Error", detail: "", type: "", status }, said);
  }

  get kind() {
    return this.type.replace("urn:cwic:problem:", "");
  }
}

function newId() { // a UUID; where the page did not come over HTTPS, browsers have no function for it
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6] & 0x0f | 0x40;
  bytes[8] = bytes[8] & 0x3f | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

let key = "";
try {
  key = sessionStorage.getItem(KEY) ?? "";
} catch { /* storage is blocked: the key lives as long as the page */ }

function keepKey(value) {
  key = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch { /* as above */ }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) { reject(signal.reason); return; }
    const left = () => { clearTimeout(wait); reject(signal.reason); };
    const wait = setTimeout(() => { signal?.removeEventListener("abort", left); resolve(); }, milliseconds);
    signal?.addEventListener("abort", left, { once: true });
  });
}

function headers(more = {}) {
  return key ? { ...more, "X-API-Key": key } : more;
}

function watch(id, signal, tell) { // tells how far a request is until it is ended, or the function returned is called
  let open = true, wait = LOOK;
  (async () => {
    for (;;) {
      await pause(wait, signal);
      if (!open) return;
      const answer = await fetch(`progress/${id}`, { signal, headers: headers() }).catch(() => null);
      const state = answer?.ok ? await answer.json().catch(() => null) : null;
      if (open && state) tell(state);
      // 404: not arrived yet, or ended. Another refusal would only come again: the limit on requests, for one.
      wait = answer?.ok || answer?.status === 404 ? LOOK : 5 * LOOK;
    }
  })().catch(() => {}); // aborted
  return () => { open = false; };
}

/* What a fetch or the body of an answer resolves to; throws a Problem where it is lost or unreadable, or the signal's reason. */
function arrival(pending) {
  return pending.catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem(error instanceof SyntaxError
      ? { title: "This is no answer of the server", detail: "Something on the way to it may have answered in its place; loading this page again may help." }
      : { title: "The server does not answer", detail: "Is it running, and are you connected?" });
  });
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => null);
  return new Problem(said?.title ? said : { title: `Error ${answer.status}`, detail: answer.statusText }, answer.status);
}

function retryAfter(answer) { // in whole seconds; null where trying again is not asked for
  const said = [429, 503].includes(answer.status) ? answer.headers.get("Retry-After") : null;
  if (!said) return null;
  const seconds = /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1e3;
  return Number.isNaN(seconds) ? null : Math.max(1, Math.ceil(seconds));
}

async function untilReady(signal) { // a server that is not reached may be starting once more
  for (;;) {
    await pause(LOOK, signal);
    const answer = await fetch("readyz", { signal }).catch(() => null);
    if (answer && (answer.ok || (await problemOf(answer)).type !== NOT_READY)) return;
  }
}

/* The answer to a request, tried again where the server asks for that; throws a Problem, or the signal's reason.

   `tell` is told what happens meanwhile: what GET /progress answers, {state: "loading"} while the server loads its
   model, and {state: "refused", seconds_left, tries} each second until the next try. */
async function ask(path, { signal, body, tell = () => {} } = {}) {
  for (let tries = 0; ;) {
    const id = newId();
    const options = body === undefined ? { headers: headers() }
      : { method: "POST", body, headers: headers({ "Content-Type": "application/octet-stream", "X-Request-ID": id }) };
    const done = body === undefined ? () => {} : watch(id, signal, tell);
    const answer = await arrival(fetch(path, { signal, ...options })).finally(done);
    if (answer.ok) return answer;
    const wait = retryAfter(answer), problem = await problemOf(answer);
    if (problem.type === NOT_READY) {
      tell({ state: "loading" });
      await untilReady(signal);
      continue;
    }
    if (wait === null || tries === RETRIES) throw problem;
    tries += 1;
    for (let left = wait; left > 0; left -= 1) {
      tell({ state: "refused", seconds_left: left, tries });
      await pause(1000, signal);
    }
    tell({ state: "again", tries });
  }
}

function post(path, body, options) {
  return ask(path, { ...options, body });
}

function took(answer) { // what the server worked, without waiting and transfer, in milliseconds
  const stages = (answer.headers.get("Server-Timing") ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g);
  return [...stages].reduce((sum, [, name, time]) => sum + (["queue", "read"].includes(name) ? 0 : Number(time)), 0);
}
