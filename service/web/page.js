"use strict";
// The page: what is chosen, what is being done for it, and what is shown of it.

const $ = (id) => document.getElementById(id);
const scrolls = [...document.querySelectorAll(".scroll")]; // the panes, which scroll together
const TUNES = { visual: "the eye", psnr: "the numbers (PSNR)" };
const EFFORTS = { 1: "usual", 2: "more: smaller, slow", 3: "most: smallest, very slow" };
const urls = {};
let models = [], picture = null, running = null, timer = 0, paired = false;
let importance = null; // the map of what is shown, as grey pixels
let again = null; // what to do once there is a key, or another try is asked for

function show(ids, blob, attribute = "src") {
  const name = ids.join();
  if (urls[name]) URL.revokeObjectURL(urls[name]);
  urls[name] = URL.createObjectURL(blob);
  for (const id of ids) $(id)[attribute] = urls[name];
}

function fact(id, text, more = "") {
  $(id).textContent = text;
  $(`${id}-more`).textContent = more;
}

/* The line of status. `said` is a live region: it is written only where it changes, so that it is read out once. */
function say(said, { numbers = "", share = null } = {}) {
  if ($("said").textContent !== said) $("said").textContent = said;
  $("numbers").textContent = numbers;
  if (share === null) $("done").removeAttribute("value");
  else $("done").value = share;
}

function tell(mine) { // what the requests of a piece of work tell, as long as it is the newest one
  return (state) => {
    if (running !== mine) return;
    const words = wordsOf(state);
    say(words.said, words);
  };
}

function showProblem(problem) {
  const { title, reason, folded, offer } = explained(problem instanceof Problem ? problem
    : new Problem({ title: "This page has failed", detail: `${problem.message}` }));
  say("");
  $("problem-title").textContent = title;
  $("problem-reason").textContent = reason;
  $("problem-folded").textContent = folded;
  $("problem-again").hidden = !offer;
  $("problem-again").textContent = offer;
  $("problem-more").hidden = !folded;
  $("problem-more").open = false;
  $("problem").hidden = false;
}

function askForKey(said = "") {
  $("key-form").hidden = false;
  $("key-open").setAttribute("aria-expanded", "true");
  $("key-said").textContent = said;
  $("key-forget").hidden = !key;
  $("key").value = "";
  $("key").focus();
}

function missKey() {
  say(key ? "The server does not know this key." : "This server asks for a key.");
  askForKey("You get one from those who run this server.");
}

function refuseKey() {
  say("This key cannot be sent.");
  askForKey("Keys are of unaccented letters, digits and signs, without spaces; quotes and dashes may have been changed where this one was copied from.");
}

function closeKey() {
  $("key-form").hidden = true;
  $("key-open").setAttribute("aria-expanded", "false");
}

/* Do a piece of work, the only one: an earlier one is given up. `work` takes a signal and what `ask` tells to. */
async function run(work, { retry, failed = () => {} }) {
  running?.abort();
  const mine = running = new AbortController();
  again = null;
  $("problem").hidden = true;
  $("busy").hidden = $("cancel").hidden = false;
  try {
    await work(mine.signal, tell(mine));
  } catch (error) {
    if (running !== mine || mine.signal.aborted) return;
    failed();
    again = () => retry(error);
    if (error instanceof Problem && error.status === 401) missKey();
    else showProblem(error);
  } finally {
    if (running === mine) settle();
  }
}

function settle() {
  $("result").classList.remove("busy");
  $("compare").disabled = $("prefix").disabled = false;
  $("busy").hidden = $("cancel").hidden = true;
  $("numbers").textContent = "";
}

function clear() { // an old result next to a new name or error would mislead
  $("result").hidden = $("compared").hidden = true;
}

function arrange() {
  const side = paired && document.querySelector("input[name=view]:checked").value === "side";
  const actual = $("actual").checked, style = importance ? $("map-style").value : "";
  $("result").classList.toggle("side", side);
  $("result").classList.toggle("actual", actual);
  $("result").classList.toggle("fit", !actual);
  for (const each of document.querySelectorAll(".pair")) each.hidden = !paired;
  for (const each of scrolls) each.tabIndex = actual ? 0 : -1;
  $("left").hidden = !side;
  $("front").hidden = $("handle").hidden = $("tag").hidden = side || !paired;
  $("map").hidden = $("legend").hidden = !style;
  $("map").classList.toggle("over", style === "overlay");
  $("legend").classList.toggle("grey", style === "grey");
  if (style) paintMap(importance, $("map"), { grey: style === "grey" });
}

function split(percent) {
  const value = Math.round(Math.min(100, Math.max(0, percent)));
  $("sheet").style.setProperty("--split", `${value}%`);
  $("handle").setAttribute("aria-valuenow", value);
  $("handle").setAttribute("aria-valuetext", `${value} % original, ${100 - value} % compressed`);
}

function showModel() { // where it has one rate, there is none to choose; where it has one tune, neither
  const model = models.find((each) => each.name === $("model").value);
  const fixed = model?.fixed_rate ?? false, efforts = Object.keys(EFFORTS).filter((each) => each <= model?.max_effort);
  showAim(fixed);
  $("shown").textContent = fixed ? "this model has one rate" : $("quality").value;
  showChoice("tune", model?.tunes ?? [], TUNES);
  showChoice("effort", efforts, EFFORTS);
}

function showChoice(name, values, words) { // hidden where there is none; what was chosen stays, where it can
  const list = $(name), chosen = list.value;
  $(`${name}s`).hidden = values.length < 2;
  if ([...list.options].map((each) => each.value).join() === values.join()) return;
  list.replaceChildren(...values.map((each) => new Option(words[each] ?? each, each)));
  if (values.includes(chosen)) list.value = chosen;
}

function effort() { // as a parameter of the query, where it is another one than the default
  return $("efforts").hidden || $("effort").value === "1" ? [] : [`effort=${$("effort").value}`];
}

async function listModels(signal, tell) {
  if (models.length) return;
  const answer = await arrival((await ask("models", { signal, tell })).json());
  if (models.length) return; // asked twice, while the server was loading
  models = answer.models;
  $("model").replaceChildren(...models.map((each) => new Option(each.name)));
  $("models").hidden = models.length < 2;
  showModel();
}

function query(...asked) { // of what is chosen, behind what else is asked for
  const parameters = [
    ...asked,
    ...($("tunes").hidden ? [] : [`tune=${$("tune").value}`]),
    ...(models.length > 1 ? [`model=${encodeURIComponent($("model").value)}`] : []),
  ].join("&");
  return parameters && `?${parameters}`;
}

function commandLine(path, from, to) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const secret = key ? ' -H "X-API-Key: $KEY"' : "";
  return `curl --fail-with-body${secret} --data-binary @${quoted(from)} ${quoted(new URL(path, document.baseURI).href)} -o ${quoted(to)}`;
}

function work(tried = null) { // or once more, after a problem
  clearTimeout(timer); // the change that it waits for is in this work already
  if (!picture) return;
  $("result").classList.add("busy");
  $("compare").disabled = $("prefix").disabled = $("compared").hidden = true;
  const options = { permitted: Boolean(tried?.offer) };
  run((signal, tell) => roundTrip(picture, signal, tell, options), { retry: work, failed: clear });
}

/* Compress, decompress and show; `permitted` is a file that was cut in transfer. */
async function roundTrip(source, signal, tell, { permitted }) {
  const stem = source.name.replace(/\.[^.]*$/, "") || "picture", started = performance.now();
  const magic = await source.slice(0, 4).text().catch(() => { // a folder, or a file that has changed
    throw new Problem({ title: "This file cannot be read", detail: "Choose it again, or another one." });
  });
  const packed = magic === "CWIC"; // such a file has a quality of its own
  signal.throwIfAborted();
  $("choices").hidden = packed;
  say("Asking the server\u2026");
  await listModels(signal, tell);
  const fixed = $("aim").disabled, asked = packed ? "" : query(...target(), ...effort(), ...(fixed ? [] : regionQuery()));
  let file = source, notes = "", encoding = 0;
  if (!packed) {
    say("Compressing\u2026");
    const answer = await post(`compress${asked}`, source, { signal, tell });
    file = await arrival(answer.blob());
    notes = answer.headers.get("X-CWIC-Notes") ?? "";
    encoding = took(answer);
  }
  const facts = await arrival((await post("inspect", file, { signal, tell })).json());
  if (facts.truncated && !permitted) {
    throw new Problem({ title: "This file was cut in transfer", detail: "What has arrived may be enough for a coarser picture", offer: "Show what is there" });
  }
  say(packed ? "Decompressing\u2026" : `Compressed to ${bytes(file.size)}; decompressing\u2026`);
  const cut = facts.truncated ? "&allow_truncated=true" : "";
  const unpacked = await post(`decompress?format=png${cut}`, file, { signal, tell });
  const decoded = await arrival(unpacked.blob()), decoding = took(unpacked);
  const mapped = facts.profile !== "lossless"; // a picture kept as it was has no map
  const map = mapped && !cut && await arrival((await post("importance-map", file, { signal, tell })).blob());
  say("Measuring\u2026");
  const first = !packed && await createImageBitmap(source).then((bitmap) => { bitmap.close(); return true; }, () => false);
  const measured = first && facts.channels === 3;
  const quality = measured ? await psnr(source, decoded, signal).catch(() => null) : null;
  const better = regions.filter(({ weight }) => weight > 1), regional = measured && !fixed && better.length > 0
    ? await psnr(source, decoded, signal, better).catch(() => null) : null;
  const levels = map && await readMap(map);
  signal.throwIfAborted();

  paired = first;
  if (first) show(["original", "front"], source);
  show(["decoded"], decoded);
  reached = packed ? null : { size: file.size, quality: facts.quality, psnr: quality };
  showPrefixes(prefixesOf({ file, facts, original: quality === null ? null : source, decoded, quality }));
  importance = levels;
  show(["download"], file, "href");
  show(["png"], decoded, "href");
  $("download").download = `${stem}.cwic`;
  $("png").download = `${stem}-decoded.png`;
  for (const each of document.querySelectorAll(".mapped")) each.hidden = !map;
  for (const id of ["before", "ratio", "psnr"]) $(id).parentElement.hidden = packed;
  showFacts({ facts, source, file, packed, first, quality, regional, encoding, decoding });
  showBounds(packed || fixed ? null : { width: facts.width, height: facts.height });
  $("curl").textContent = (packed ? "" : `${commandLine(`compress${asked}`, source.name, `${stem}.cwic`)}\n`)
    + commandLine(`decompress?format=png${cut}`, packed ? source.name : `${stem}.cwic`, `${stem}-decoded.png`);
  $("result").style.setProperty("--aspect", facts.width / facts.height);
  arrange();
  $("result").hidden = false;
  $("download").hidden = packed;
  $("comparison").hidden = packed || $("aim").value !== "quality" && facts.quality === null; // no quality to compare at
  say(`Done in ${seconds(performance.now() - started)}` + (notes ? `; changed while reading: ${notes}` : "")
    + (cut ? "; the file was cut in transfer, and this is what there is of it" : ""));
}

function showFacts({ facts, source, file, packed, first, quality, regional, encoding, decoding }) {
  const pixels = facts.width * facts.height;
  fact("before", bytes(source.size), `${(8 * source.size / pixels).toFixed(2)} bits per pixel`);
  fact("after", bytes(file.size), `${facts.bpp.toFixed(3)} bits per pixel`);
  fact("found", facts.profile === "lossless" ? (facts.tolerance ? "near-lossless" : "lossless") : facts.quality === null ? "\u2013" : `${roundedQuality(facts.quality)}`,
    packed ? "" : facts.profile === "lossless" ? "as that is smaller" : targetInWords());
  fact("ratio", `${(source.size / file.size).toFixed(1)} : 1`, `${(3 * pixels / file.size).toFixed(0)} : 1 from raw`);
  fact("psnr", decibels(quality), quality === Infinity ? "identical" : regional !== null ? `${decibels(regional)} in regions` : quality !== null ? "over R, G and B"
    : first ? "not comparable" : "the browser cannot read it");
  fact("size", `${facts.width} \u00d7 ${facts.height}`, megapixels(pixels));
  fact("time", seconds(encoding + decoding), packed ? "to decompress" : `${seconds(encoding)} in, ${seconds(decoding)} out`);
  const sections = facts.sections.map((each) => `${each.name} ${bytes(each.length)}`);
  const inner = facts.sections.reduce((sum, each) => sum + each.length, 0);
  $("sections").textContent = `In the file: ${[...sections, `framing ${bytes(facts.size - inner)}`].join(", ")}.`;
}

function compare() {
  const source = picture, tune = $("tunes").hidden ? "" : $("tune").value;
  resetPrefix(); // a picture that was on its way is given up
  $("compared").hidden = true;
  run(async (signal, tell) => {
    say("Comparing\u2026 this takes longer than compressing.");
    const facts = await arrival((await post(`compare${query(...comparedAt())}`, source, { signal, tell })).json());
    showComparison(facts, { tune, regions: regions.length > 0 });
    say("Compared.");
  }, { retry: compare });
}

function take(file) {
  if (!file) return;
  picture = file;
  reached = null;
  clearRegions();
  showBounds(null);
  $("sample").hidden = true;
  clear();
  $("drop").classList.add("taken");
  $("name").textContent = file.name;
  $("hint").textContent = `${bytes(file.size)}; drop, paste or choose another`;
  work();
}

async function start() { // the models, so that they can be chosen; most problems are told with the first picture
  try {
    await listModels(undefined, (state) => { if (!picture && state.state === "loading") say(wordsOf(state).said); });
    if (!picture) say("");
  } catch (error) {
    if (picture || error.status !== 401) return;
    again = start;
    missKey();
  }
}
