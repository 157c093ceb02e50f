// A picture that is pointed at and painted on, cell by cell. A stroke is drawn here at once; the kernel hears of it when it ends.
const PAINT = "rgba(230, 159, 0, 0.6)";

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "sag-surface";
  box.tabIndex = 0;
  box.setAttribute("role", "application");
  box.dataset.lmSuppressShortcuts = "true"; // arrows belong to the picture, not to the notebook
  const image = document.createElement("img");
  const canvas = document.createElement("canvas");
  box.append(image, canvas);
  el.append(box);

  const grid = () => ({ rows: model.get("rows"), columns: model.get("columns") });
  let cells = [], cursor = null, pressed = false, last = null, address = null;

  const readCells = () => { cells = [...model.get("painted")].map((letter) => letter === "1"); };

  function drawPicture() {
    const content = model.get("picture");
    const bytes = content.buffer ? new Uint8Array(content.buffer, content.byteOffset, content.byteLength) : content;
    const next = URL.createObjectURL(new Blob([bytes]));
    image.src = next;
    if (address) URL.revokeObjectURL(address);
    address = next;
    image.alt = model.get("alt");
    box.setAttribute("aria-label", model.get("alt") + ". " + model.get("hint"));
  }

  function outline(context, [row, column], side, dashed) {
    for (const [colour, width] of [["black", 5], ["white", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.setLineDash(dashed ? [6, 4] : []);
      context.strokeRect(column * side.x + 2, row * side.y + 2, side.x - 4, side.y - 4);
    }
  }

  function drawMarks() {
    const { rows, columns } = grid();
    canvas.width = 512;
    canvas.height = Math.round((512 * rows) / columns);
    const context = canvas.getContext("2d"), side = { x: canvas.width / columns, y: canvas.height / rows };
    context.fillStyle = PAINT;
    cells.forEach((on, number) => {
      if (on) context.fillRect((number % columns) * side.x, Math.floor(number / columns) * side.y, side.x, side.y);
    });
    const place = model.get("place");
    if (place.length) outline(context, place, side, false);
    if (cursor && document.activeElement === box && model.get("mode") === "paint") outline(context, cursor, side, true);
  }

  function cellAt(event) {
    const { rows, columns } = grid(), frame = canvas.getBoundingClientRect();
    const inside = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    return [inside((event.clientY - frame.top) / frame.height, rows), inside((event.clientX - frame.left) / frame.width, columns)];
  }

  function stamp([row, column]) {
    const { rows, columns } = grid(), size = model.get("brush"), from = -Math.floor((size - 1) / 2);
    for (let y = row + from; y < row + from + size; y++)
      for (let x = column + from; x < column + from + size; x++)
        if (y >= 0 && y < rows && x >= 0 && x < columns) cells[y * columns + x] = !model.get("erase");
  }

  function stroke(to) {
    const steps = Math.max(1, Math.abs(to[0] - last[0]), Math.abs(to[1] - last[1]));
    for (let i = 0; i <= steps; i++) stamp([0, 1].map((axis) => Math.round(last[axis] + ((to[axis] - last[axis]) * i) / steps)));
    last = to;
    drawMarks();
  }

  function point(cell) {
    const place = model.get("place");
    if (place[0] === cell[0] && place[1] === cell[1]) return;
    model.set("place", cell);
    model.save_changes();
    drawMarks();
  }

  function send() {
    model.set("painted", cells.map((on) => (on ? "1" : "0")).join(""));
    model.save_changes();
  }

  box.addEventListener("pointerdown", (event) => {
    pressed = true;
    box.setPointerCapture(event.pointerId);
    last = cursor = cellAt(event);
    if (model.get("mode") === "paint") stroke(last);
    else point(last);
  });
  box.addEventListener("pointermove", (event) => {
    if (!pressed) return;
    if (model.get("mode") === "paint") stroke(cellAt(event));
    else point(cellAt(event));
  });
  const release = () => {
    if (pressed && model.get("mode") === "paint") send();
    pressed = false;
  };
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", release);

  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  box.addEventListener("keydown", (event) => {
    const { rows, columns } = grid(), painting = model.get("mode") === "paint";
    const from = (painting ? cursor : model.get("place").length && model.get("place")) || [rows >> 1, columns >> 1];
    if (event.key in MOVES) {
      const [down, right] = MOVES[event.key];
      cursor = [Math.max(0, Math.min(rows - 1, from[0] + down)), Math.max(0, Math.min(columns - 1, from[1] + right))];
      if (painting) drawMarks();
      else point(cursor);
    } else if (painting && (event.key === " " || event.key === "Enter")) {
      cursor = from;
      stamp(from);
      drawMarks();
      send();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("focus", drawMarks);
  box.addEventListener("blur", drawMarks);

  model.on("change:picture", drawPicture);
  model.on("change:alt", drawPicture);
  model.on("change:painted", () => { readCells(); drawMarks(); });
  for (const name of ["place", "rows", "columns", "mode"]) model.on("change:" + name, drawMarks);
  readCells();
  drawPicture();
  drawMarks();
  return () => { if (address) URL.revokeObjectURL(address); };
}

export default { render };
