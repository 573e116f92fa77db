// Adds the residual to the denoised slice in HU, and draws both in a window. Settings are kept in the address.
const byId = (id) => document.getElementById(id);
const canvas = byId("image"), context = canvas.getContext("2d");
const rows = FACTS.rows, columns = FACTS.columns, RESIDUAL_FULL = 100, KEPT = 16;
const hu = new Float32Array(256);
for (let level = 0, part = 1; level < 256; level++) {
  while (part < FACTS.curve.length - 1 && level > FACTS.curve[part][1]) part++;
  const [lowHu, low] = FACTS.curve[part - 1], [highHu, high] = FACTS.curve[part];
  hu[level] = lowHu + (level - low) * (highHu - lowHu) / (high - low);
}
const state = { slice: Math.floor(PICTURES.length / 2), view: "wipe", wipe: 50, width: 400, level: 40 };
const kept = new Map();
let wanted = 0;

async function planes(number) {
  if (!kept.has(number)) {
    const image = new Image();
    image.src = "data:image/jpeg;base64," + PICTURES[number];
    await image.decode();
    const sheet = document.createElement("canvas");
    sheet.width = columns;
    sheet.height = 2 * rows;
    const brush = sheet.getContext("2d", { willReadFrequently: true });
    brush.drawImage(image, 0, 0);
    const grey = brush.getImageData(0, 0, columns, 2 * rows).data, size = rows * columns;
    const after = new Float32Array(size), residual = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      after[i] = hu[grey[4 * i]];
      residual[i] = (grey[4 * (size + i)] - FACTS.zero) * FACTS.step;
    }
    kept.set(number, { after, residual });
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(number);
}

async function draw() {
  const turn = ++wanted, { after, residual } = await planes(state.slice);
  if (turn !== wanted) return;  // a newer slice was asked for meanwhile
  const picture = context.createImageData(columns, rows), out = new Uint32Array(picture.data.buffer);
  const bottom = state.level - state.width / 2, scale = 255 / state.width;
  const border = { wipe: Math.round(columns * state.wipe / 100), before: columns, after: 0, residual: 0 }[state.view];
  const sums = [0, 0], counts = [0, 0];
  for (let y = 0, i = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, i++) {
      if (state.view === "residual") {
        const share = Math.max(-1, Math.min(1, residual[i] / RESIDUAL_FULL)), fade = Math.round(255 * (1 - Math.abs(share)));
        out[i] = (share > 0 ? fade << 16 | fade << 8 | 255 : 255 << 16 | fade << 8 | fade) | 0xff000000;
        sums[1] += residual[i];
        counts[1]++;
        continue;
      }
      const side = x < border ? 0 : 1, value = side ? after[i] : after[i] + residual[i];
      const grey = Math.max(0, Math.min(255, Math.round((value - bottom) * scale)));
      out[i] = grey << 16 | grey << 8 | grey | 0xff000000;
      sums[side] += value;
      counts[side]++;
    }
  }
  context.putImageData(picture, 0, 0);
  if (state.view === "wipe" && border > 0 && border < columns) {
    context.fillStyle = "#7cc4ff";
    context.fillRect(border, 0, 1, rows);
  }
  describe(sums.map((sum, side) => counts[side] ? (sum / counts[side]).toFixed(1) : ""));
}

function describe(means) {
  const number = FACTS.slices[state.slice];
  byId("sliceNumber").textContent = `${number} of ${FACTS.total}`;
  byId("place").textContent = state.view === "residual" ? `slice ${number} of ${FACTS.total}, residual`
    : `slice ${number} of ${FACTS.total}, window W ${state.width} L ${state.level}`;
  byId("left").textContent = state.view === "wipe" || state.view === "before" ? "before" : "";
  byId("right").textContent = { wipe: "after", after: "after", residual: "residual" }[state.view] || "";
  byId("wipeRow").style.visibility = state.view === "wipe" ? "visible" : "hidden";
  for (const id of ["slice", "wipe", "width", "level"]) byId(id).value = state[id];
  document.querySelector(`input[name=view][value=${state.view}]`).checked = true;
  for (const box of document.querySelectorAll("input[name=preset]")) {
    const [width, level] = FACTS.presets[box.value];
    box.checked = width === state.width && level === state.level;
  }
  const shown = { slice: number, view: state.view, wipe: state.wipe, width: state.width, level: state.level };
  Object.assign(document.body.dataset, shown, { before: means[0], after: means[1] });
  history.replaceState(null, "", "#" + new URLSearchParams(shown));
}

function change(values) {
  Object.assign(state, values);
  const limit = (value, low, high, other) => Number.isFinite(value) ? Math.max(low, Math.min(high, value)) : other;
  state.slice = Math.round(limit(state.slice, 0, PICTURES.length - 1, 0));
  state.wipe = limit(state.wipe, 0, 100, 50);
  state.width = limit(state.width, 1, 4000, 400);
  state.level = limit(state.level, -1024, 3000, 40);
  draw();
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1)), values = {};
  for (const name of ["wipe", "width", "level"]) if (given.has(name)) values[name] = Number(given.get(name));
  if (given.has("slice")) {
    const wish = Number(given.get("slice")), far = (place) => Math.abs(FACTS.slices[place] - wish);
    values.slice = FACTS.slices.reduce((best, _number, place) => far(place) < far(best) ? place : best, 0);
  }
  if (["wipe", "before", "after", "residual"].includes(given.get("view"))) values.view = given.get("view");
  if (given.get("window") in FACTS.presets) [values.width, values.level] = FACTS.presets[given.get("window")];
  change(values);
}

function wipeTo(event) {
  const box = canvas.getBoundingClientRect();
  change({ wipe: Math.round(1000 * (event.clientX - box.left) / box.width) / 10 });
}

for (const id of ["slice", "wipe", "width", "level"]) {
  byId(id).addEventListener("input", (event) => change({ [id]: event.target.valueAsNumber }));
}
for (const box of document.querySelectorAll("input[name=view]")) {
  box.addEventListener("change", () => change({ view: box.value }));
}
for (const box of document.querySelectorAll("input[name=preset]")) {
  box.addEventListener("change", () => change({ width: FACTS.presets[box.value][0], level: FACTS.presets[box.value][1] }));
}
canvas.addEventListener("pointerdown", (event) => {
  if (state.view !== "wipe") return;
  canvas.setPointerCapture(event.pointerId);
  wipeTo(event);
});
canvas.addEventListener("pointermove", (event) => { if (event.buttons && state.view === "wipe") wipeTo(event); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  change({ slice: state.slice + Math.sign(event.deltaY) });
}, { passive: false });
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=number], input[type=range]") || event.ctrlKey || event.altKey || event.metaKey) return;
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10 }[event.key];
  const view = { w: "wipe", b: "before", a: "after", r: "residual" }[event.key.toLowerCase()];
  const preset = Object.values(FACTS.presets)[Number(event.key) - 1];
  if (step && !event.target.matches("input[type=radio]")) change({ slice: state.slice + step });
  else if (view) change({ view });
  else if (preset) change({ width: preset[0], level: preset[1] });
  else return;
  event.preventDefault();
});
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", readAddress);
canvas.width = columns;
canvas.height = rows;
byId("stage").style.aspectRatio = `${columns} / ${rows * FACTS.aspect}`;
byId("stage").style.width = `min(100%, calc(88vh * ${columns / (rows * FACTS.aspect)}))`;
byId("quality").textContent = `The pictures are compressed: values in soft tissue are off by about ${FACTS.error} HU, and `
  + "coarser in lung and bone. Measure on the files, not here.";
readAddress();
