// The page's side of `sagviz app`: widget models and views for the server's widgets, over a websocket.
const modules = window.sagvizModules;
const status = document.querySelector("#status");
const place = document.querySelector("#widgets");
const GOODBYE = {
  1001: "The class is over: the host has ended it.",
  1012: "The class is over: the host has ended it.",
};
const LOST = "The connection was lost, and with it this page's runs. Reload the page to begin anew.";

class Comm {
  // one widget's line, as ipywidgets' models use it
  constructor(id, send) { Object.assign(this, { comm_id: id, post: send }); }
  on_msg(callback) { this.onMessage = callback; }
  on_close(callback) { this.onClose = callback; }
  close() {}
  send(data, callbacks, _, buffers = []) { return this.post(this.comm_id, data, callbacks, buffers); }
}

class Manager {
  // what ipywidgets calls a widget manager, as far as models and views ask for one
  constructor() { this.models = new Map(); }
  get_model(id) { return this.models.get(id) ?? Promise.reject(new Error(`no widget ${id}`)); }
  has_model(id) { return this.models.has(id); }
  callbacks() { return {}; }
  async resolveUrl(url) { return url; }
  inline_sanitize(text) { const made = document.createElement("p"); made.textContent = text; return made.innerHTML; }

  find(name, module) {
    return modules[module.startsWith("@jupyter-widgets/") ? "widgets" : module][name];
  }

  async make(comm, state) {
    const Model = this.find(state._model_name, state._model_module);
    const values = await Model._deserialize_state(state, this);
    const model = new Model(values, { widget_manager: this, model_id: comm.comm_id, comm });
    model.name = state._model_name;
    model.module = state._model_module;
    model.once("comm:close", () => this.models.delete(comm.comm_id));
    return model;
  }

  create_view(model, options = {}) {
    const key = Math.random().toString(36);
    const made = model.state_change.then(async () => {
      const View = this.find(model.get("_view_name"), model.get("_view_module"));
      const view = new View({ model, options });
      view.listenTo(model, "destroy", view.remove);
      view.once("remove", () => { if (model.views) delete model.views[key]; });
      await view.render();
      return view;
    });
    model.state_change = made.catch((error) => console.error(error));
    model.views[key] = made;
    return made;
  }
}

const manager = new Manager();
const comms = new Map();
const waiting = new Map(); // what to call when the server has done with a message
let sent = 0;

const socket = new WebSocket(new URL("live", document.baseURI.replace(/^http/, "ws")));
socket.binaryType = "arraybuffer";

function post(id, data, callbacks, buffers) {
  const number = String(++sent);
  waiting.set(number, callbacks);
  socket.send(JSON.stringify({ id: number, comm: id, data, buffers: buffers.length }));
  for (const buffer of buffers) socket.send(buffer);
  return number;
}

const on = {
  comm_open({ comm: id, data }, buffers) {
    modules.widgets.put_buffers(data.state, data.buffer_paths, buffers);
    const comm = new Comm(id, post);
    comms.set(id, comm);
    manager.models.set(id, manager.make(comm, data.state));
  },
  comm_msg({ comm: id, data }, buffers) {
    manager.models.get(id)?.then(() => comms.get(id)?.onMessage?.({ content: { data }, buffers }));
  },
  comm_close({ comm: id }) {
    manager.models.get(id)?.then(() => comms.get(id)?.onClose?.({ content: { data: {} } })).then(() => comms.delete(id));
  },
  done({ id }) {
    waiting.get(id)?.iopub?.status?.({ content: { execution_state: "idle" } });
    waiting.delete(id);
  },
  async show({ comm: id }) {
    const view = await manager.create_view(await manager.get_model(id));
    const shown = view.luminoWidget;
    shown.constructor.attach(shown, place);
    status.textContent = "";
  },
};

let message = null, buffers = [];
socket.onmessage = ({ data }) => {
  if (typeof data === "string") [message, buffers] = [JSON.parse(data), []];
  else buffers.push(new DataView(data));
  if (buffers.length === message.buffers) on[message.type](message, buffers);
};
socket.onclose = ({ code, reason }) => {
  status.textContent = reason && code === 4000 ? reason : GOODBYE[code] ?? LOST;
  status.classList.add("ended");
  status.scrollIntoView();
};
modules.widgets.load_ipython_extension(); // its style sheets
delete window.define; // all are here
