// Pictures in rows and columns, each a button. A picture is asked for when it comes into view, and kept.
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function initialize({ model }) {
  // Here and not in a view, because several views would save the file several times.
  model.on("msg:custom", (message, buffers) => {
    if (message.save === undefined) return;
    const address = URL.createObjectURL(new Blob([buffers[0]], { type: message.type }));
    make("a", { href: address, download: message.save }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
}

function render({ model, el }) {
  const pictures = new Map(); // what the kernel has sent, by the square's id
  const asked = new Set();
  let squares = [], buttons = [], wanted = [], timer = null, layout = "";
  const board = make("div", { className: "sag-board" });
  board.dataset.lmSuppressShortcuts = "true"; // arrows move between the pictures, not between the notebook's cells
  el.append(board);

  function ask(id) {
    if (asked.has(id)) return;
    asked.add(id);
    wanted.push(id);
    timer ??= setTimeout(() => {
      model.send({ want: wanted });
      wanted = [];
      timer = null;
    }, 30);
  }

  const eye = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      const square = squares[buttons.indexOf(target)];
      if (isIntersecting && square?.status === "done") ask(square.id);
    }
  }, { rootMargin: "200px" });

  function build({ rows, columns, squares: all }) {
    eye.disconnect();
    buttons = [];
    const head = make("tr", {}, make("td"), ...columns.map((words) => make("th", { scope: "col", textContent: words })));
    const body = rows.map((words, row) => {
      const line = make("tr", {}, make("th", { scope: "row", textContent: words }));
      columns.forEach((_, column) => line.append(place(row, column, all[row * columns.length + column])));
      return line;
    });
    board.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
  }

  function place(row, column, square) {
    if (square.status === "absent") {
      buttons.push(null);
      return make("td", { className: "sag-absent", title: square.words, textContent: "–" });
    }
    const button = make("button", { type: "button" });
    button.onclick = () => {
      model.set("chosen", [row, column]);
      model.save_changes();
    };
    button.onkeydown = (event) => move(event, row, column);
    buttons.push(button);
    return make("td", {}, button);
  }

  function move(event, row, column) {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const { rows, columns } = model.get("table");
    const [down, right] = [row + step[0], column + step[1]];
    if (down >= 0 && down < rows.length && right >= 0 && right < columns.length) buttons[down * columns.length + right]?.focus();
  }

  function fill(button, square) {
    const shot = square.status === "done" ? pictures.get(square.id) : undefined;
    const number = shot?.numbers[model.get("measure")];
    const state = [square.status, square.reason, shot?.address, number, square.words].join("|");
    if (button.dataset.state === state) return;
    button.dataset.state = state;
    button.className = `sag-square sag-is-${square.status}`;
    button.title = [square.words, square.mark, square.reason].filter(Boolean).join(": ");
    button.style.aspectRatio = shot ? "" : model.get("table").ratio;
    if (shot) {
      button.removeAttribute("aria-label");
      const picture = make("img", { src: shot.address, alt: square.words, decoding: "sync" });
      picture.style.aspectRatio = model.get("table").ratio;
      button.replaceChildren(picture, ...(number ? [make("span", { textContent: number })] : []));
    } else {
      button.setAttribute("aria-label", button.title);
      button.replaceChildren(make("span", { className: "sag-mark", textContent: square.status === "done" ? "…" : square.mark }));
    }
  }

  function draw() {
    const table = model.get("table");
    squares = table.squares;
    board.style.setProperty("--side", table.side);
    const next = JSON.stringify([table.rows, table.columns, squares.map((square) => square.status === "absent")]);
    if (next !== layout) {
      layout = next;
      build(table);
    }
    const [row, column] = model.get("chosen");
    buttons.forEach((button, number) => {
      if (!button) return;
      if (squares[number].status !== "done") asked.delete(squares[number].id); // it may be made anew
      fill(button, squares[number]);
      button.setAttribute("aria-pressed", number === row * table.columns.length + column);
      eye.unobserve(button); // and observed anew, which tells at once whether it is in view
      eye.observe(button);
    });
  }

  function receive(message) {
    for (const [id, shot] of Object.entries(message.pictures ?? {})) pictures.set(id, shot);
    if (message.pictures) draw();
  }

  const looking = setInterval(() => {
    // Other processes work on the sweep: what they have done is seen without a click.
    if (document.visibilityState === "visible" && squares.some((square) => square.status === "running")) model.send({ look: true });
  }, 3000);
  for (const name of ["table", "chosen", "measure"]) model.on(`change:${name}`, draw);
  model.on("msg:custom", receive);
  draw();
  return () => {
    clearInterval(looking);
    clearTimeout(timer);
    eye.disconnect();
    for (const name of ["table", "chosen", "measure"]) model.off(`change:${name}`, draw);
    model.off("msg:custom", receive);
  };
}

export default { initialize, render };
