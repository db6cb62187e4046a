"use strict";
// A picture to try where there is none at hand, drawn by code.

function noise(seed) { // of x and y: smooth, from 0 to 1, the same for the same seed
  const at = (x, y) => {
    let bits = Math.imul(x, 374761393) ^ Math.imul(y, 668265263) ^ Math.imul(seed, 2147483629);
    bits = Math.imul(bits ^ (bits >>> 13), 1274126177);
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32;
  };
  const smooth = (t) => t * t * (3 - 2 * t), mix = (a, b, t) => a + (b - a) * t;
  return (x, y) => {
    const column = Math.floor(x), row = Math.floor(y), u = smooth(x - column), v = smooth(y - row);
    return mix(mix(at(column, row), at(column + 1, row), u), mix(at(column, row + 1), at(column + 1, row + 1), u), v);
  };
}

function drawSample(canvas) { // a landscape: smooth sky, hazy ridges, rippled water, rough grass, fine print
  const width = 960, height = 640, step = width / canvas.width, context = canvas.getContext("2d", { alpha: false });
  const pixels = context.createImageData(canvas.width, canvas.height), { data } = pixels;
  const fields = [1, 2, 3, 4, 5].map(noise);
  const rough = (field, x, y, octaves) => {
    let sum = 0, weight = .5;
    for (let i = 0; i < octaves; i++, weight /= 2) sum += weight * field(x * 2 ** i, y * 2 ** i);
    return sum;
  };
  const mix = (a, b, t) => a.map((value, i) => value + (b[i] - value) * Math.min(1, Math.max(0, t)));
  const shore = .68 * height, sun = [.7 * width, .33 * height];
  const ridges = [0, 1, 2, 3].map((k) => Array.from({ length: width }, (_, x) =>
    (.34 + .08 * k) * height - (.3 - .05 * k) * height * (rough(fields[k], x / (180 - 25 * k), k, 7) - .45)));
  const land = (x, y) => { // above the shore
    const glow = Math.exp(-Math.hypot(x - sun[0], y - sun[1]) / 130);
    let colour = mix(mix([70, 110, 170], [250, 200, 150], y / shore), [255, 244, 214], glow);
    colour = mix(colour, [255, 235, 220], 1.8 * (rough(fields[4], x / 190, y / 60, 5) - .52));
    if (Math.hypot(x - sun[0], y - sun[1]) < 26) colour = [255, 250, 232];
    ridges.forEach((ridge, k) => {
      if (y < ridge[x]) return;
      const rock = mix([60, 66, 74], [122, 112, 92], rough(fields[k], x / 14, y / 9, 4));
      const trees = mix([24, 48, 34], [70, 96, 46], rough(fields[k + 1], x / 5, y / 8, 4));
      colour = mix(mix(rock, trees, k / 2), [206, 186, 176], .75 - .23 * k - (y - ridge[x]) / 600);
    });
    return colour;
  };
  for (let y = 0, i = 0; y < height; y += step) {
    const depth = (y - shore) / (height - shore);
    for (let x = 0; x < width; x += step, i += 4) {
      let colour = y < shore ? land(x, y) : null;
      if (!colour) {
        const ripple = 14 * depth * (rough(fields[0], x / 40, y / 2.5, 3) - .45);
        const from = Math.min(width - 1, Math.max(0, Math.round(x + 2 * ripple)));
        colour = mix(land(from, Math.max(0, Math.round(shore - 1.5 * (y - shore) + ripple))), [38, 62, 78], .3 + .4 * depth);
        const bank = .45 + .35 * rough(fields[2], x / 120, 0, 5) - .25 * x / width;
        if (depth > bank) colour = mix([34, 52, 20], [168, 160, 78], 1.5 * rough(fields[3], x / 2.2 + depth * 20, y / 11, 4) - .25);
      }
      for (let c = 0; c < 3; c++) data[i + c] = colour[c];
      data[i + 3] = 255;
    }
  }
  context.putImageData(pixels, 0, 0);
  context.scale(1 / step, 1 / step);
  context.fillStyle = "#5b4632";
  context.fillRect(118, 505, 10, 100);
  context.fillStyle = "#e9dfc8";
  context.fillRect(58, 462, 132, 60);
  context.fillStyle = "#2b2622";
  context.font = "600 21px system-ui, sans-serif";
  context.fillText("Lake trail", 72, 487, 108);
  context.font = "12px system-ui, sans-serif";
  context.fillText("4.2 km \u00b7 easy \u00b7 no dogs", 72, 508, 108);
  return canvas;
}
