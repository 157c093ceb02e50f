// The numbers of a run: its planes, the guided prediction put together from them, and planes as pixels.
// A plane is {channels, height, width, values}; colours are numbers from -1 (black) to 1 (white), three channels in a row.

const GREY = [0.299, 0.587, 0.114]; // how bright the eye finds red, green and blue (ITU-R BT.601)

// One quantity of a step, or null where the step has none: a copy of its plane, or made of where it begins among the packed ones.
// Plain loops here: `from` and `map` take ten times longer.
function plane(run, step, name) {
  const at = step.at[name];
  if (at === undefined) return null;
  if (typeof at === "object") return { ...at, values: at.values.slice() };
  const { shape: [channels, height, width], bits, low, high } = run.planes[name];
  const whole = new (bits === 16 ? Uint16Array : Uint8Array)(run.buffer, at, channels * height * width);
  const unit = (high - low) / (2 ** bits - 1);
  const values = new Float32Array(whole.length);
  for (let i = 0; i < values.length; i++) values[i] = low + unit * whole[i];
  return { channels, height, width, values };
}

// a + scale times b, into a.
function add(a, scale, b) {
  for (let i = 0; i < a.length; i++) a[i] += scale * b[i];
}

// Guidance is linear: the sum of scale times term over the terms that acted in this step. Where a step was made with other scales
// than the run's, `shares` has them as shares of these; planes from Python are multiplied by theirs already.
function push(run, step, scales, names) {
  const [channels, height, width] = run.planes.x0_hat.shape;
  const values = new Float32Array(channels * height * width);
  for (const name of names) if (name in step.at) add(values, scales[name] * (step.shares?.[name] ?? 1), plane(run, step, name).values);
  return { channels, height, width, values };
}

// The clean picture that guidance makes with these scales: guided x0 = x0_hat + sum of scale times term.
function guided(run, step, scales) {
  const made = plane(run, step, "x0_hat");
  add(made.values, 1, push(run, step, scales, Object.keys(scales)).values);
  return made;
}

// Length over the channels in each cell: for colours, how far the colour is from grey, or from another colour.
function size({ channels, height, width, values }) {
  const n = height * width;
  const lengths = new Float32Array(n);
  for (let i = 0; i < channels * n; i++) lengths[i % n] += values[i] ** 2;
  return { channels: 1, height, width, values: lengths.map(Math.sqrt) };
}

function minus(a, b) {
  return { ...a, values: a.values.map((value, i) => value - b.values[i]) };
}

// What a screen can show of it.
function clipped(a) {
  return { ...a, values: a.values.map((value) => Math.min(1, Math.max(-1, value))) };
}

function colourPixels({ height, width, values }) {
  const image = new ImageData(width, height);
  const n = height * width;
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = (values[i + c * n] + 1) * 127.5; // rounds and clips by itself
    image.data[4 * i + 3] = 255;
  }
  return image;
}

function mapPixels({ height, width, values }, low, high, table) {
  const image = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const row = 3 * Math.round(255 * Math.min(1, Math.max(0, (values[i] - low) / (high - low || 1))));
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = table[row + c];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

// The picture, tinted where the mask is 1.
function tinted(picture, mask, { colour, tint }) {
  const image = colourPixels(picture);
  mask.values.forEach((inside, i) => {
    if (inside) for (let c = 0; c < 3; c++) image.data[4 * i + c] = (1 - tint) * image.data[4 * i + c] + tint * colour[c];
  });
  return image;
}

// A coarse map laid over the grey picture.
function overlay(map, picture) {
  const image = colourPixels(picture);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      const i = 4 * (y * image.width + x);
      const cell = 4 * (Math.floor((y * map.height) / image.height) * map.width + Math.floor((x * map.width) / image.width));
      const grey = GREY.reduce((sum, share, c) => sum + share * image.data[i + c], 0);
      for (let c = 0; c < 3; c++) image.data[i + c] = 0.4 * grey + 0.6 * map.data[cell + c];
    }
  }
  return image;
}

// A picture of a data: address.
async function loaded(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return picture;
}

// The decoder's pictures of a run, by quantity, one for each step.
async function bitmaps(addresses) {
  const each = async (address) => createImageBitmap(await loaded(address));
  const all = Object.entries(addresses).map(async ([name, own]) => [name, await Promise.all(own.map(each))]);
  return Object.fromEntries(await Promise.all(all));
}

// A finished picture (a data: address) as a plane.
async function decoded(address) {
  const picture = await loaded(address);
  const { naturalWidth: width, naturalHeight: height } = picture;
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext("2d"));
  context.drawImage(picture, 0, 0);
  return ofPixels(context.getImageData(0, 0, width, height));
}

// A finished picture's pixels (RGBA) as a plane.
function ofPixels({ width, height, data }) {
  const n = width * height;
  const values = Float32Array.from({ length: 3 * n }, (_, i) => data[4 * (i % n) + Math.floor(i / n)] / 127.5 - 1);
  return { channels: 3, height, width, values };
}
