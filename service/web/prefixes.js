"use strict";
// The picture from the beginning of its file: each group of channels more makes it sharper.

const STILL = 200; // milliseconds after which a slider has come to rest
let prefixes = null; // of the file whose result is shown; see `prefixesOf`
let prefixShown = 0; // which of them the picture is from

/* The sizes in bytes of the prefixes that are worth a look: up to the end of each group of channels, and all. */
function prefixSizes(facts) {
  let end = facts.size - facts.sections.reduce((sum, each) => sum + each.length, 0); // of the header
  const ends = [];
  for (const { name, length } of facts.sections) {
    end += length;
    if (name.startsWith("codes")) ends.push(end);
  }
  return [...new Set([...ends.slice(0, -1), facts.size])]; // metadata follows the last group; a group may be empty
}

/* What is known of the prefixes of a file whose whole picture is decoded. `original` is what PSNR is measured against,
   null where it cannot be; pictures and their PSNR are kept once they are there. */
function prefixesOf({ file, facts, original, decoded, quality }) {
  const parts = prefixSizes(facts).map((size) => ({ size, bpp: 8 * size / facts.width / facts.height }));
  Object.assign(parts.at(-1), { decoded, quality });
  return { file, original, parts };
}

function showPrefixes(found) { // of another file: all of it is shown
  prefixes = found;
  prefixShown = found.parts.length - 1;
  $("prefix").max = found.parts.length;
  $("prefixes").hidden = found.parts.length < 2;
  resetPrefix();
}

function resetPrefix() { // the slider, to the part that the picture is from
  if (!prefixes) return;
  $("prefix").value = prefixShown + 1;
  describePrefix(prefixShown);
}

function partOf(index) { // in words
  const { file, parts } = prefixes;
  return index === parts.length - 1 ? `all ${bytes(file.size)}` : `${bytes(parts[index].size)} of ${bytes(file.size)}`;
}

function describePrefix(index) {
  const { size, bpp, quality } = prefixes.parts[index], part = partOf(index);
  $("prefix").setAttribute("aria-valuetext", part);
  $("prefix-size").textContent = part;
  $("prefix-bpp").textContent = `${bpp.toFixed(3)} bits per pixel`;
  $("prefix-psnr").hidden = !prefixes.original;
  $("prefix-psnr").textContent = `PSNR ${quality === undefined ? "\u2026" : decibels(quality)}`;
  if (index === prefixShown) $("cwic").textContent = size === prefixes.file.size ? "Compressed" : `From ${bytes(size)}`;
}

function choosePrefix(index) {
  const { file, original, parts } = prefixes, chosen = parts[index];
  $("prefix").value = index + 1;
  describePrefix(index);
  run(async (signal, tell) => {
    if (!chosen.decoded) {
      await pause(STILL, signal);
      say(`Decompressing ${bytes(chosen.size)}\u2026`);
      const prefix = file.slice(0, chosen.size);
      chosen.decoded = await arrival((await post("decompress?format=png&allow_truncated=true", prefix, { signal, tell })).blob());
    }
    if (original && chosen.quality === undefined) {
      const quality = await psnr(original, chosen.decoded, signal).catch(() => null);
      signal.throwIfAborted();
      chosen.quality = quality;
    }
    show(["decoded"], chosen.decoded);
    prefixShown = index;
    describePrefix(index);
    say(`Shown from ${partOf(index)}.`);
  }, { retry: () => choosePrefix(index), failed: resetPrefix });
}
