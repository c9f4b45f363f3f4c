/**
 * Draws the demo clip: one day at a lake in ninety seconds, from dawn over noon and dusk to a starry night.
 *
 * Writes raw RGB24 frames to standard output for `make-clip.sh` to encode. No random device and no clock:
 * every run draws the same bytes.
 *
 *   node scripts/clip-scene.mjs WIDTH HEIGHT FRAMES_PER_SECOND SECONDS
 */

const [width, height, fps, seconds] = process.argv.slice(2).map(Number);
const HORIZON = Math.round(height * 0.62);

/** Colours through the day: [share of the clip, zenith, horizon, nearest hill, haze]. */
const PALETTE = [
  [0.0, [38, 46, 92], [243, 166, 140], [34, 36, 62], [190, 134, 150]],
  [0.14, [74, 116, 178], [255, 210, 162], [38, 58, 70], [206, 178, 172]],
  [0.34, [64, 136, 206], [200, 226, 238], [38, 82, 78], [160, 196, 214]],
  [0.54, [70, 124, 190], [250, 222, 176], [46, 74, 70], [196, 186, 176]],
  [0.68, [72, 66, 128], [252, 148, 96], [44, 38, 62], [206, 122, 112]],
  [0.8, [26, 28, 68], [150, 84, 118], [24, 22, 46], [92, 66, 104]],
  [0.9, [10, 14, 40], [42, 50, 96], [12, 14, 32], [34, 40, 78]],
  [1.0, [8, 12, 36], [36, 46, 92], [10, 12, 30], [30, 38, 74]],
];

const clamp = (x, low = 0, high = 1) => Math.min(high, Math.max(low, x));
const mix = (a, b, t) => a + (b - a) * t;
const mixColour = (a, b, t) => [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)];
const smooth = (low, high, x) => {
  const t = clamp((x - low) / (high - low));
  return t * t * (3 - 2 * t);
};

/** A repeatable number from 0 to 1 for two integers. */
function hash(x, y) {
  let h = Math.imul(x, 374761393) ^ Math.imul(y, 668265263);
  h = Math.imul(h ^ (h >>> 13), 1274126177);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

/** One-dimensional value noise, four octaves. */
function ridge(x, seed) {
  let sum = 0;
  let weight = 0.5;
  for (let octave = 0; octave < 4; octave++) {
    const cell = Math.floor(x);
    const t = x - cell;
    sum += weight * mix(hash(cell, seed + octave), hash(cell + 1, seed + octave), t * t * (3 - 2 * t));
    x *= 2.03;
    weight *= 0.5;
  }
  return sum;
}

/** Two-dimensional value noise for the clouds, three octaves. */
function cloudNoise(x, y) {
  let sum = 0;
  let weight = 0.55;
  for (let octave = 0; octave < 3; octave++) {
    const cx = Math.floor(x);
    const cy = Math.floor(y);
    const u = x - cx;
    const v = y - cy;
    const su = u * u * (3 - 2 * u);
    const sv = v * v * (3 - 2 * v);
    const seed = 900 + octave;
    const at = (i, j) => hash(i + j * 57, seed);
    sum += weight * mix(mix(at(cx, cy), at(cx + 1, cy), su), mix(at(cx, cy + 1), at(cx + 1, cy + 1), su), sv);
    x *= 2.1;
    y *= 2.1;
    weight *= 0.45;
  }
  return sum;
}

function colours(share) {
  let i = 0;
  while (i < PALETTE.length - 2 && share > PALETTE[i + 1][0]) i++;
  const [from, ...a] = PALETTE[i];
  const [to, ...b] = PALETTE[i + 1];
  const t = smooth(from, to, share);
  return a.map((colour, k) => mixColour(colour, b[k], t));
}

const stars = Array.from({ length: 170 }, (_, i) => ({
  x: Math.floor(hash(i, 11) * width),
  y: Math.floor(hash(i, 12) ** 1.3 * HORIZON * 0.8),
  light: 0.35 + 0.65 * hash(i, 13) ** 2,
  pace: 0.5 + 1.5 * hash(i, 14),
}));

/** Hills from the farthest to the nearest; `drift` is how far one moves to the left over the whole clip. */
const hills = [
  { base: 0.5, rise: 0.2, scale: 3.2, seed: 21, drift: 0.1 },
  { base: 0.545, rise: 0.16, scale: 4.4, seed: 37, drift: 0.22 },
  { base: 0.585, rise: 0.12, scale: 5.6, seed: 53, drift: 0.42 },
  { base: 0.618, rise: 0.07, scale: 8.5, seed: 71, drift: 0.8 },
];

const frame = Buffer.alloc(width * height * 3);
const land = new Float32Array(width * HORIZON * 3);

function put(buffer, at, colour, t) {
  buffer[at] = mix(buffer[at], colour[0], t);
  buffer[at + 1] = mix(buffer[at + 1], colour[1], t);
  buffer[at + 2] = mix(buffer[at + 2], colour[2], t);
}

/** Sky, sun, moon, clouds and stars above the horizon. */
function drawSky(share, time, [zenith, horizon]) {
  const day = clamp(share / 0.76);
  const sun = { x: mix(0.16, 0.84, day) * width, y: HORIZON * (1.02 - 0.86 * Math.sin(Math.PI * day)), r: height * 0.045 };
  if (share > 0.76) sun.y = HORIZON * (1.02 + (share - 0.76) * 2);
  const night = smooth(0.78, 0.92, share);
  const moon = { x: mix(0.86, 0.66, smooth(0.74, 1.05, share)) * width, y: mix(0.8, 0.24, smooth(0.74, 1.05, share)) * HORIZON, r: height * 0.036 };
  const low = clamp(1 - (HORIZON - sun.y) / (HORIZON * 0.75));
  const sunColour = mixColour([255, 252, 236], [255, 206, 140], low);
  const glow = mixColour([255, 240, 210], [255, 150, 96], low);
  const cloudColour = mixColour(mixColour([255, 255, 255], horizon, 0.25 + 0.5 * low), zenith, night * 0.85);

  for (let y = 0; y < HORIZON; y++) {
    const t = (y / HORIZON) ** 1.4;
    const row = mixColour(zenith, horizon, t);
    const cloudBand = smooth(0.02, 0.25, y / HORIZON) * (1 - smooth(0.55, 0.85, y / HORIZON)) * (1 - 0.75 * night);
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      let [r, g, b] = row;
      if (share < 0.84) {
        const d = Math.hypot(x - sun.x, y - sun.y);
        const halo = 0.75 * Math.exp(-d / (height * 0.2)) * (1 - smooth(0.74, 0.84, share));
        r = mix(r, glow[0], halo);
        g = mix(g, glow[1], halo);
        b = mix(b, glow[2], halo);
        const disc = 1 - smooth(sun.r - 1, sun.r + 1, d);
        r = mix(r, sunColour[0], disc);
        g = mix(g, sunColour[1], disc);
        b = mix(b, sunColour[2], disc);
      }
      if (cloudBand > 0) {
        const cover = smooth(0.54, 0.82, cloudNoise((x / width) * 4.2 + time * 0.018, (y / HORIZON) * 5.5 + 3));
        const c = cover * cloudBand * 0.72;
        r = mix(r, cloudColour[0], c);
        g = mix(g, cloudColour[1], c);
        b = mix(b, cloudColour[2], c);
      }
      if (night > 0) {
        const d = Math.hypot(x - moon.x, y - moon.y);
        const light = night * (1 - smooth(moon.r - 1, moon.r + 1, d)) + 0.3 * night * Math.exp(-d / (height * 0.14));
        r = mix(r, 244, clamp(light));
        g = mix(g, 240, clamp(light));
        b = mix(b, 222, clamp(light));
      }
      land[at] = r;
      land[at + 1] = g;
      land[at + 2] = b;
    }
  }
  for (const star of stars) {
    const twinkle = 0.75 + 0.25 * Math.sin(time * star.pace + star.x);
    const at = (star.y * width + star.x) * 3;
    put(land, at, [255, 250, 240], night * star.light * twinkle);
    for (const [dx, dy] of [[1, 0], [0, 1], [1, 1]]) {
      const x = star.x + dx;
      const y = star.y + dy;
      if (x < width && y < HORIZON) put(land, (y * width + x) * 3, [255, 250, 240], night * star.light * twinkle * 0.4);
    }
  }
  return { sun, moon, night, sunColour };
}

function drawHills(share, [, , near, haze]) {
  hills.forEach((hill, i) => {
    const depth = (i + 1) / hills.length;
    const colour = mixColour(haze, near, depth ** 1.1);
    for (let x = 0; x < width; x++) {
      const crest = (hill.base - hill.rise * (ridge((x / width) * hill.scale + share * hill.drift + 40, hill.seed) - 0.35)) * height;
      const first = Math.max(0, Math.floor(crest));
      for (let y = first; y < HORIZON; y++) {
        const edge = clamp(y + 1 - crest);
        const mist = 0.4 * smooth(0, height * 0.16, y - crest) * (1 - depth * 0.6);
        put(land, (y * width + x) * 3, mixColour(colour, haze, mist), edge);
      }
    }
  });
}

/** The lake mirrors the land, darker and bent by slow waves, with a path of light under the sun or the moon. */
function drawWater(time, [zenith], sky) {
  for (let y = HORIZON; y < height; y++) {
    const depth = (y - HORIZON) / (height - HORIZON);
    const lamp = sky.night > 0.5 ? sky.moon : sky.sun;
    const strength = sky.night > 0.5 ? 0.45 * sky.night : 0.5 * (1 - smooth(0.98, 1.1, sky.sun.y / HORIZON));
    for (let x = 0; x < width; x++) {
      const near = 1.5 + depth * 9;
      const wave =
        Math.sin(y * (1.5 - depth) + time * 1.3 + Math.sin(x * 0.017 + time * 0.4) * 2.2) * 0.6 +
        Math.sin(x * 0.032 - y * 0.21 + time * 0.8) * 0.4;
      const from = clamp(Math.round(HORIZON - 2 - depth * (height - HORIZON) * 1.5 + wave * near * 0.55), 0, HORIZON - 1);
      const side = clamp(Math.round(x + wave * near * 0.5), 0, width - 1);
      const source = (from * width + side) * 3;
      const at = (y * width + x) * 3;
      const dim = 0.86 - 0.22 * depth;
      const path = strength * Math.exp(-(((x - lamp.x) / (width * (0.025 + 0.06 * depth))) ** 2)) * smooth(0.15, 0.95, wave);
      frame[at] = mix(mix(land[source] * dim, zenith[0] * 0.6, 0.22), sky.sunColour[0], path);
      frame[at + 1] = mix(mix(land[source + 1] * dim, zenith[1] * 0.6, 0.2), sky.sunColour[1], path);
      frame[at + 2] = mix(mix(land[source + 2] * dim, zenith[2] * 0.7, 0.18), sky.sunColour[2], path);
    }
  }
}

for (let n = 0; n < fps * seconds; n++) {
  const time = n / fps;
  const share = time / seconds;
  const palette = colours(share);
  const sky = drawSky(share, time, palette);
  drawHills(share, palette);
  for (let i = 0; i < land.length; i++) frame[i] = land[i];
  drawWater(time, palette, sky);
  const fade = smooth(0, 1.5, time) * smooth(0, 2, seconds - time);
  if (fade < 1) for (let i = 0; i < frame.length; i++) frame[i] *= fade;
  if (!process.stdout.write(frame)) await new Promise((done) => process.stdout.once('drain', done));
}
