// What the scripts of ipywidgets and anywidget, made for the classic notebook, expect to find: `define`
// and as much of that notebook as they ask for.
const modules = {};
window.define = (needs, make) => {
  const script = document.currentScript;
  const given = { module: { uri: script.src }, "@jupyter-widgets/base": modules.widgets };
  modules[script.dataset.module] = make(...needs.map((name) => given[name]));
};
const notebook = { notebook: { container: { on() {} } } };
class OutputArea { register_mime_type() {} }
window.Jupyter = { version: "6.5.7" };
window.requirejs = (names, done) => {
  if (names.includes("base/js/events")) done(notebook, { on() {} }, { OutputArea });
};
window.requirejs.config = () => {};
window.sagvizModules = modules;
