"use strict";
// The comparison with other formats, as the server measures it: a table with bars.

/* Rows for a table: a format's name, its size as words and as a share of the largest, and what that is beside ours. */
function comparisonRows(facts) {
  const sizes = facts.others.flatMap((each) => each.needs ? [each.needs.size] : []);
  const largest = Math.max(facts.size, ...sizes);
  return [
    { name: "cwic", size: bytes(facts.size), share: facts.size / largest, beside: "", ours: true },
    ...facts.others.map(({ name, needs }) => {
      if (!needs) return { name, size: "cannot be as good", share: 0, beside: "", ours: false };
      const percent = Math.round(100 * (needs.size / facts.size - 1));
      const beside = percent === 0 ? "as large" : percent > 0 ? `${percent} % more` : `${-percent} % less`;
      return { name, size: bytes(needs.size), share: needs.size / largest, beside, ours: false,
        more: `quality ${needs.quality}` };
    }),
  ];
}

function comparisonNotes(facts, { tune, regions }) {
  const notes = ["Sizes at exactly this PSNR, between the format\u2019s quality named here and the one below."];
  if (facts.cropped) notes.unshift(`Measured on the middle of the picture, ${facts.width} \u00d7 ${facts.height} pixels.`);
  if (tune === "visual") notes.push("This picture was made for the eye, which costs PSNR; made for the numbers, it does better here.");
  if (regions) notes.push("The regions of interest are left out of it.");
  return notes.join(" ");
}

function showComparison(facts, made) { // `made` for a tune, and whether with regions
  $("compared-at").textContent = facts.psnr === null ? "Bytes without any loss" : `Bytes for the same quality, PSNR ${facts.psnr.toFixed(1)} dB`;
  $("compared-rows").replaceChildren(...comparisonRows(facts).map(({ name, size, share, beside, ours, more }) => {
    const [row, head, cell, line, bar] = ["tr", "th", "td", "div", "div"].map((tag) => document.createElement(tag));
    const small = (text) => Object.assign(document.createElement("small"), { textContent: text });
    head.scope = "row";
    head.textContent = name;
    if (more) head.append(" ", small(more));
    line.append(size, " ", small(beside));
    bar.className = "length";
    bar.style.setProperty("--share", share);
    cell.append(line, ...(share ? [bar] : []));
    row.classList.toggle("ours", ours);
    row.append(head, cell);
    return row;
  }));
  $("compared-notes").textContent = comparisonNotes(facts, made);
  $("compared").hidden = false;
}
