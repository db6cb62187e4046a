"use strict";
// Pixels: what two pictures differ by, and an importance map in grey or in colours.

const STRIP = 1 << 20; // pixels compared at once
const HEAT = ["000004", "420a68", "932667", "dd513a", "fca50a", "fcffa4"]
  .map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/* Of two blobs; null where that says nothing. Of the pixels in some rectangles, if there are any. */
async function psnr(one, other, signal, rectangles = []) {
  const [a, b] = await Promise.all([createImageBitmap(one), createImageBitmap(other)]);
  try {
    if (a.width !== b.width || a.height !== b.height) return null;
    const { width } = a, rows = Math.max(1, Math.floor(STRIP / width));
    const [first, second, mask] = [0, 1, 2].map(() => {
      const canvas = Object.assign(document.createElement("canvas"), { width, height: rows });
      return canvas.getContext("2d", { willReadFrequently: true });
    });
    let sum = 0, counted = 0;
    for (let top = 0; top < a.height; top += rows) {
      const count = Math.min(rows, a.height - top);
      const [x, y] = [[first, a], [second, b]].map(([context, bitmap]) => {
        context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
        return context.getImageData(0, 0, width, count).data;
      });
      mask.clearRect(0, 0, width, count);
      for (const each of rectangles) mask.fillRect(each.x, each.y - top, each.width, each.height);
      const meant = rectangles.length ? mask.getImageData(0, 0, width, count).data : x;
      for (let i = 0; i < x.length; i += 4) {
        if (!meant[i + 3]) continue; // opaque pictures, as all that are compared, mean every pixel
        counted += 1;
        const red = x[i] - y[i], green = x[i + 1] - y[i + 1], blue = x[i + 2] - y[i + 2];
        sum += red * red + green * green + blue * blue;
      }
      await pause(0, signal); // lets the page answer meanwhile
    }
    return 10 * Math.log10(255 ** 2 * 3 * counted / sum);
  } finally {
    a.close();
    b.close();
  }
}

async function readMap(blob) { // as grey pixels
  const grey = await createImageBitmap(blob);
  const scale = Math.min(1, 2048 / Math.max(grey.width, grey.height));
  const [width, height] = [grey.width, grey.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(grey, 0, 0, width, height);
  grey.close();
  return context.getImageData(0, 0, width, height);
}

function heat(share) { // from dark to bright, [red, green, blue]
  const at = share * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(at));
  return HEAT[low].map((value, c) => value + (at - low) * (HEAT[low + 1][c] - value));
}

function paintMap(map, canvas, { grey }) { // as it is, or in colours
  const pixels = new ImageData(map.data.slice(), map.width, map.height), { data } = pixels;
  const colours = Array.from({ length: 256 }, (_, level) => heat(level / 255));
  for (let i = 0; i < data.length && !grey; i += 4) data.set(colours[data[i]], i);
  Object.assign(canvas, { width: map.width, height: map.height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
