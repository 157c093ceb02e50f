// The player inside anywidget: what the reader does is reported to the kernel at once only where something observes it there,
// else when the hand rests, so that the notebook's file has what is seen.

const FOLLOWED = ["index", "panes", "playing", "view", "front", "base"];
const REST = 500; // milliseconds

export default {
  async render({ model, el }) {
    el.classList.add("sagviz");
    const state = { ...model.get("looks"), ...Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)])) };
    let resting;
    const player = await render(el, model.get("data"), state, (name, value) => {
      if (FOLLOWED.includes(name)) model.set(name, value);
      else model.set("looks", { ...model.get("looks"), [name]: value });
      clearTimeout(resting);
      if (model.get("watched")) model.save_changes();
      else resting = setTimeout(() => model.save_changes(), REST);
    });
    for (const name of FOLLOWED) model.on(`change:${name}`, () => {
      if (player.state[name] !== model.get(name)) player.set(name, model.get(name));
    });
    return () => player.play(false);
  },
};
