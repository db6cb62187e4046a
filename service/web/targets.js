"use strict";
// What a file is to reach: a quality, a size or a PSNR, of which one is asked for.

let reached = null; // by the file that is shown: {size, quality, psnr}

function roundedQuality(quality) {
  return Number(quality.toFixed(1));
}

function showAim(fixed) { // a model of one rate has nothing to aim for
  $("aim").disabled = fixed;
  const aim = fixed ? "quality" : $("aim").value;
  for (const part of document.querySelectorAll("[data-aim]")) {
    part.hidden = part.dataset.aim !== aim;
    for (const field of part.querySelectorAll("input, select")) field.disabled = fixed || part.hidden;
  }
}

function changeAim() { // the new field has what the file shown has reached: it is as good an answer to that
  const { size, quality, psnr } = reached ?? {};
  if (size && $("aim").value === "size") {
    $("unit").value = size < 1e3 ? 1 : 1e3;
    $("target-size").value = size < 1e3 ? size : (size / 1e3).toFixed(1);
    showUnit();
  }
  if (Number.isFinite(psnr) && $("aim").value === "psnr") $("target-psnr").value = psnr.toFixed(1);
  if (quality && $("aim").value === "quality") $("quality").value = Math.round(quality);
}

function showUnit() {
  $("target-size").min = 1 / $("unit").value;
}

function changeUnit() { // the size stays
  const before = $("unit").value === "1" ? 1e3 : 1;
  if ($("target-size").value) $("target-size").value = $("target-size").value * before / $("unit").value;
  showUnit();
}

/* What is asked for as a parameter of the query; none for a model of one rate. */
function target() {
  if ($("aim").disabled) return [];
  if (!$("choices").reportValidity()) {
    throw new Problem({ title: "The target is missing", detail: "Say how large the file may be, or how good it has to be." });
  }
  switch ($("aim").value) {
    case "size": return [`target_bytes=${Math.max(1, Math.round($("target-size").value * $("unit").value))}`];
    case "psnr": return [`target_psnr=${Number($("target-psnr").value)}`];
    default: return [`quality=${$("quality").value}`];
  }
}

function targetInWords() { // behind the quality that was found for it
  if ($("aim").disabled) return "one rate";
  switch ($("aim").value) {
    case "size": return `for at most ${$("target-size").value} ${$("unit").selectedOptions[0].text}`;
    case "psnr": return `for at least ${$("target-psnr").value} dB`;
    default: return "as asked";
  }
}

function comparedAt() { // the quality that was found, where another thing was asked for
  if ($("aim").disabled) return [];
  return [`quality=${$("aim").value !== "quality" && reached?.quality || $("quality").value}`];
}
