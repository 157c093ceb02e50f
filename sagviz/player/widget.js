// The player inside anywidget: what the reader does is reported to the kernel only where something observes it there.

const FOLLOWED = ["index", "panes", "playing", "view", "front"];

export default {
  async render({ model, el }) {
    el.classList.add("sagviz");
    const state = Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)]));
    const player = await render(el, model.get("data"), state, (name, value) => {
      if (!FOLLOWED.includes(name)) return;
      model.set(name, value);
      if (model.get("watched")) model.save_changes();
    });
    for (const name of FOLLOWED) model.on(`change:${name}`, () => {
      if (player.state[name] !== model.get(name)) player.set(name, model.get(name));
    });
    return () => player.play(false);
  },
};
