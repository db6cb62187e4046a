"use strict";
// What the page says: numbers, states and problems in words for people.

function bytes(count) {
  return count < 1e3 ? `${count} B` : count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(2)} MB`;
}

function seconds(milliseconds) {
  return `${(milliseconds / 1e3).toFixed(milliseconds < 1e4 ? 2 : 1)} s`;
}

function decibels(psnr) { // null where it could not be measured
  return psnr === null ? "\u2013" : psnr === Infinity ? "\u221e" : `${psnr.toFixed(2)} dB`;
}

function megapixels(pixels) {
  return `${(pixels / 1e6).toFixed(pixels < 1e6 ? 2 : 1)} megapixels`;
}

function sentence(text) {
  return text && text[0].toUpperCase() + text.slice(1) + (/[.!?\u2026]$/.test(text) ? "" : ".");
}

/* A state of a request: `said` is read out by screen readers when it changes, `numbers` follow it and are not,
   `share` is done of the work, null where nobody knows. */
function wordsOf(state) {
  const left = Math.max(1, Math.ceil(state.seconds_left ?? 0));
  switch (state.state) {
    case "waiting": {
      const ahead = state.ahead === 0 ? "yours is next" : `${state.ahead} picture${state.ahead === 1 ? "" : "s"} ahead of yours`;
      return { said: `The server is busy: ${ahead}`, numbers: `, about ${left} s`, share: null };
    }
    case "working":
      return { said: "Working", numbers: `: ${Math.round(100 * state.done)} %`, share: state.done };
    case "refused":
      return { said: "The server is busy", numbers: `: trying again in ${left} s (${state.tries} of ${RETRIES})`, share: null };
    case "again":
      return { said: "Trying again\u2026", numbers: "", share: null };
    default:
      return { said: "The server is loading its model\u2026", numbers: "", share: null };
  }
}

/* What the target can be for the picture, by the name that the detail begins with: as written, both ends can be. */
function reachable({ detail, lowest, highest }) {
  const size = !detail.startsWith("target_psnr"), written = size ? bytes : decibels;
  const step = (value) => !size ? 0.01 : value < 1e3 ? 1 : value < 1e6 ? 100 : 1e4; // of the last digit written
  const low = written(Math.ceil(lowest / step(lowest)) * step(lowest)), high = written(Math.floor(highest / step(highest)) * step(highest));
  return `Files of this picture have ${low} to ${high}: choose something between.`;
}

/* A problem: its title, what to say beside it, what only those who run the server need to know, whether it may pass,
   and what the button beside it says: null where nothing can be done. */
function explained(problem) {
  const { detail, limit, actual, kind } = problem;
  let title = sentence(problem.title), reason = sentence(detail), folded = "";
  if (detail.includes("CWIC_")) [reason, folded] = ["", detail]; // settings of the server
  if (kind === "limit" && limit && actual) {
    reason = detail.includes("on a side") ? `A side has ${actual} pixels; this server takes up to ${limit}.`
      : `It has ${megapixels(actual)}; this server takes up to ${megapixels(limit)}.`;
  } else if (kind === "too-much-work" && limit && actual) {
    reason = `It would take about ${seconds(1e3 * actual)}; this server gives a picture ${seconds(1e3 * limit)}. A smaller picture takes less, and so does less effort, or a quality to aim for.`;
  } else if (kind === "body-too-large" && limit) {
    reason = `This server takes files of up to ${bytes(limit)}.`;
  } else if (kind === "unreachable-target" && problem.highest) {
    [title, reason] = ["This target is out of reach.", reachable(problem)];
  } else if (kind === "invalid-parameter" && detail.startsWith("roi")) {
    [title, reason] = ["A region of interest is not inside the picture.", "Move it, or remove it."];
  } else if (kind === "truncated-file") {
    [title, reason, folded] = ["This file was cut in transfer.", "Too little of it has arrived to show a picture.", detail];
  } else if (kind === "queue-full" || kind === "rate-limit" || kind === "timeout") {
    reason = "Please try again in a while.";
    folded = detail;
  }
  if (problem.request_id) folded += `${folded && "\n"}Request ${problem.request_id}`;
  const passing = ![4, 0].includes(Math.floor(problem.status / 100)) || [0, 408, 429].includes(problem.status);
  return { title, reason, folded, offer: problem.offer ?? (passing ? "Try again" : null) };
}
