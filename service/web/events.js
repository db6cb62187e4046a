"use strict";
// What people do, and what the page does then; and its start.

function workSoon() { // for keys, every step is a change: wait for the last one
  clearTimeout(timer);
  timer = setTimeout(work, 200);
}

function rest() { // where the focus goes when its button disappears
  $("file").focus({ preventScroll: true });
}

$("file").addEventListener("change", () => {
  take($("file").files[0]);
  $("file").value = ""; // so that the same file can be chosen again
});
$("sample").addEventListener("click", () => {
  const canvas = drawSample(Object.assign(document.createElement("canvas"), { width: 960, height: 640 }));
  canvas.toBlob((blob) => take(new File([blob], "sample.png")));
  rest();
});
$("quality").addEventListener("input", showModel);
for (const id of ["quality", "target-size", "target-psnr", "tune", "effort", "model"]) {
  $(id).addEventListener("change", () => {
    showModel();
    if ($("choices").reportValidity()) workSoon();
  });
}
$("aim").addEventListener("change", () => {
  changeAim();
  showModel();
  showRegions();
});
$("unit").addEventListener("change", changeUnit);
$("choices").addEventListener("submit", (event) => event.preventDefault());
$("draw").addEventListener("click", () => draw(!drawing));
$("add").addEventListener("click", () => {
  const { width, height } = bounds;
  addRegion({ x: width / 4, y: height / 4, width: width / 2, height: height / 2 });
  $("region-list").lastElementChild.querySelector("input").focus({ preventScroll: true });
  workSoon();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !drawing) return;
  cancelGesture();
  draw(false);
});
$("cancel").addEventListener("click", () => {
  running?.abort();
  if ($("result").classList.contains("busy")) clear(); // of the earlier choice; a comparison leaves the result
  resetPrefix();
  settle();
  say("Cancelled.");
  rest();
});
$("problem-again").addEventListener("click", () => {
  (again ?? work)();
  rest();
});
$("compare").addEventListener("click", compare);
$("tools").addEventListener("change", arrange);
$("prefix").addEventListener("input", () => choosePrefix($("prefix").value - 1));
addEventListener("pagehide", () => running?.abort());

$("key-open").addEventListener("click", () => {
  if ($("key-form").hidden) askForKey(key ? "This tab has a key." : "");
  else closeKey();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const entered = $("key").value.trim();
  if (!/^[!-~]+$/.test(entered)) { // no header can carry it
    refuseKey();
    return;
  }
  keepKey(entered);
  closeKey();
  $("key-open").focus();
  say("");
  again?.();
});
$("key-forget").addEventListener("click", () => {
  keepKey("");
  closeKey();
  $("key-open").focus();
  say("The key is forgotten.");
});

for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (type === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));

let dragging = false;
const drag = (event) => {
  const box = $("sheet").getBoundingClientRect();
  split(100 * (event.clientX - box.left) / box.width);
};
$("sheet").addEventListener("pointerdown", (event) => {
  if (beginGesture(event)) return;
  if ($("handle").hidden || event.button !== 0) return;
  if ($("actual").checked && event.target !== $("handle")) return; // there, the picture itself scrolls
  event.preventDefault();
  dragging = true;
  $("sheet").setPointerCapture(event.pointerId);
  $("handle").focus({ preventScroll: true, focusVisible: false });
  drag(event);
});
$("sheet").addEventListener("pointermove", (event) => {
  followGesture(event);
  if (dragging) drag(event);
});
$("sheet").addEventListener("pointerup", (event) => followGesture(event, true));
$("sheet").addEventListener("pointercancel", cancelGesture);
for (const type of ["pointerup", "pointercancel"]) $("sheet").addEventListener(type, () => { dragging = false; });
$("handle").addEventListener("keydown", (event) => {
  const now = Number($("handle").getAttribute("aria-valuenow"));
  const to = { ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2,
    PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  split(to);
});
for (const each of scrolls) {
  each.addEventListener("scroll", () => {
    for (const other of scrolls) other.scrollTo(each.scrollLeft, each.scrollTop);
  });
}

drawSample($("drawing"));
split(50);
start();
