"use strict";
// Regions of interest: rectangles of the picture that are drawn on it or written down, and how much they matter.

const MOST_REGIONS = 64;
const LEAST_DRAG = 6; // pixels on the screen: less is a slip
const EDGES = ["x", "y", "width", "height"];
let regions = []; // {x, y, width, height, weight} in pixels of the upright picture, each with its `box` and `row`
let bounds = { width: 1, height: 1 }; // of the picture
let drawing = false; // the next drag on the picture makes a region
let gesture = null; // what the pointer does: takes where it is, null if it is given up, and whether it ends there

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/* The nearest rectangle of whole pixels that lies inside of the picture. */
function inside({ x, y, width, height }, picture) {
  const along = (start, length, all) => {
    const whole = clamp(Math.round(length) || 1, 1, all);
    return [clamp(Math.round(start) || 0, 0, all - whole), whole];
  };
  const [[left, wide], [top, high]] = [along(x, width, picture.width), along(y, height, picture.height)];
  return { x: left, y: top, width: wide, height: high };
}

function between(one, other) { // all pixels that the rectangle with these corners touches
  const [left, right] = [one.x, other.x].sort((a, b) => a - b), [top, bottom] = [one.y, other.y].sort((a, b) => a - b);
  return { x: Math.floor(left), y: Math.floor(top), width: Math.ceil(right) - Math.floor(left), height: Math.ceil(bottom) - Math.floor(top) };
}

function placed(event) { // in pixels of the picture, whatever its size on the screen
  const sheet = $("sheet").getBoundingClientRect();
  return {
    x: clamp((event.clientX - sheet.left) / sheet.width, 0, 1) * bounds.width,
    y: clamp((event.clientY - sheet.top) / sheet.height, 0, 1) * bounds.height,
    perPixel: bounds.width / sheet.width,
  };
}

function regionQuery() {
  return regions.map(({ x, y, width, height, weight }) => `roi=${x},${y},${width},${height},${weight}`);
}

function regionBox() { // the outline on the picture: its number, and a corner to size it by
  const box = Object.assign(document.createElement("div"), { className: "region" });
  box.append(document.createElement("b"), document.createElement("i"));
  $("sheet").insertBefore(box, $("handle"));
  return box;
}

function outline(box, rectangle) {
  for (const [edge, all] of [["x", "width"], ["y", "height"], ["width", "width"], ["height", "height"]]) {
    box.style.setProperty(`--${edge}`, `${100 * rectangle[edge] / bounds[all]}%`);
  }
}

function showRegion(region) {
  const { box, row } = region;
  outline(box, region);
  for (const edge of EDGES) row.querySelector(`[name=${edge}]`).value = region[edge];
  row.querySelector("[name=weight]").value = region.weight;
  row.querySelector("legend").textContent = box.querySelector("b").textContent = regions.indexOf(region) + 1;
  box.classList.toggle("less", region.weight < 1);
}

function showRegions() {
  regions.forEach(showRegion);
  $("draw").disabled = $("add").disabled = regions.length >= MOST_REGIONS;
  $("draw").setAttribute("aria-pressed", drawing);
  $("sheet").classList.toggle("drawing", drawing);
  $("region-hint").textContent = drawing ? "Drag over the picture; Escape gives up."
    : !regions.length ? "A face, a name, a number plate: give it more of the bits."
    : $("aim").value === "size" ? "In pixels. The rest of the picture pays for them." : "In pixels. Aim for a file size to keep that.";
}

function addRegion(rectangle, weight = 8) {
  const row = $("region-row").content.firstElementChild.cloneNode(true);
  const region = { ...inside(rectangle, bounds), weight, box: regionBox(), row };
  row.addEventListener("change", () => {
    const written = Object.fromEntries(EDGES.map((edge) => [edge, row.querySelector(`[name=${edge}]`).valueAsNumber]));
    changeRegion(region, { ...inside(written, bounds), weight: Number(row.querySelector("[name=weight]").value) });
    workSoon();
  });
  row.querySelector("button").addEventListener("click", () => {
    removeRegion(region);
    (regions.at(-1)?.row.querySelector("button") ?? $("draw")).focus({ preventScroll: true });
    workSoon();
  });
  regions.push(region);
  $("region-list").append(row);
  showRegions();
}

function changeRegion(region, changed) {
  Object.assign(region, changed);
  showRegion(region);
}

function removeRegion(region) {
  region.box.remove();
  region.row.remove();
  regions = regions.filter((each) => each !== region);
  showRegions();
}

function clearRegions() { // with another picture
  regions.forEach(({ box, row }) => { box.remove(); row.remove(); });
  regions = [];
  drawing = false;
  showRegions();
}

function showBounds(picture) { // null where there is no picture, or none of its regions can be coded better
  if (picture) bounds = picture;
  $("regions").hidden = !picture;
  for (const region of regions) {
    region.box.hidden = !picture;
    if (picture) showRegion(region);
  }
}

function draw(on) {
  drawing = on;
  showRegions();
  if (on) $("right").scrollIntoView({ block: "nearest" });
}

function dragNew(from) {
  const box = regionBox(), least = LEAST_DRAG * from.perPixel;
  return (to, ended) => {
    const rectangle = to && between(from, to);
    if (to) outline(box, rectangle);
    if (to && !ended) return;
    box.remove();
    if (!to || Math.min(Math.abs(to.x - from.x), Math.abs(to.y - from.y)) < least) return;
    draw(false);
    addRegion(rectangle);
    workSoon();
  };
}

function dragOld(region, from, sized) {
  const { x, y, width, height } = region;
  return (to, ended) => {
    const [dx, dy] = to ? [to.x - from.x, to.y - from.y] : [0, 0];
    const corner = { x: clamp(x + width + dx, x, bounds.width), y: clamp(y + height + dy, y, bounds.height) };
    changeRegion(region, inside(sized ? between({ x, y }, corner) : { x: x + dx, y: y + dy, width, height }, bounds));
    if (ended && (dx || dy)) workSoon();
  };
}

/* Whether a pointer that goes down on the picture means a region: a new one, one to move or one to size. */
function beginGesture(event) {
  if (event.button !== 0 || $("regions").hidden) return false;
  const region = regions.find(({ box }) => box.contains(event.target));
  if (region && !drawing) gesture = dragOld(region, placed(event), event.target.tagName === "I");
  else if (drawing) gesture = dragNew(placed(event));
  else return false;
  event.preventDefault();
  $("sheet").setPointerCapture(event.pointerId);
  return true;
}

function followGesture(event, ended = false) {
  const follow = gesture;
  if (ended) gesture = null;
  follow?.(placed(event), ended);
}

function cancelGesture() {
  gesture?.(null, true);
  gesture = null;
}
