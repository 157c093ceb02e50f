// What to run: the form, its address after the #, and what is written beside it.

const RUN_KEYS = ["prompt", "negative", "seed", "steps", "cfg", "sag", "psi", "sigma", "mask", "beside"];
const TEXTS = ["prompt", "negative", "mask"];

class Ask {
  /** @param {HTMLFormElement} form */
  constructor(form, defaults) {
    this.form = form;
    this.defaults = defaults;
    this.couple();
    unscrolled(form);
    this.write(defaults);
    form.addEventListener("input", ({ target }) => this.changed(/** @type {HTMLInputElement} */ (target)));
    form.addEventListener("click", (event) => this.pressed(/** @type {HTMLElement} */ (event.target)));
  }

  /** @param {string} name @returns {HTMLInputElement} */
  field(name) {
    return /** @type {HTMLInputElement} */ (this.form.elements.namedItem(name));
  }

  // A slider and the number beside it say the same.
  couple() {
    for (const slide of this.slides()) {
      const box = this.field(String(slide.dataset.of));
      slide.addEventListener("input", () => (box.value = slide.value));
      box.addEventListener("input", () => box.validity.valid && (slide.value = box.value));
    }
  }

  /** @param {HTMLInputElement} target a field, or the slider of one */
  changed(target) {
    const field = this.field(target.dataset.of ?? target.name);
    if (field.getAttribute("aria-invalid")) tellFault(field, faultOf(field));
  }

  /** @returns {HTMLInputElement[]} */
  slides() {
    return [...this.form.querySelectorAll("input[data-of]")].map((slide) => /** @type {HTMLInputElement} */ (slide));
  }

  /** @param {HTMLElement} target */
  pressed(target) {
    const { example, word } = target.dataset;
    if (example) this.write({ ...this.read(), ...JSON.parse(example) });
    if (word) this.addWord(word);
    if (target.matches(".dice")) this.put("seed", crypto.getRandomValues(new Uint16Array(1))[0]);
    if (target.matches(".reset")) this.write(this.defaults);
  }

  /** @param {string} word */
  addWord(word) {
    const field = this.field("prompt");
    field.value = [field.value.trim(), word].filter(Boolean).join(" ");
  }

  read() {
    const value = (name) => {
      const field = this.field(name);
      if (name === "beside") return field.checked;
      if (name === "seed") return isSeed(field.value, String(field.dataset.most)) ? String(BigInt(field.value)) : field.value.trim();
      return TEXTS.includes(name) ? field.value.trim() : field.valueAsNumber;
    };
    return Object.fromEntries(RUN_KEYS.map((name) => [name, value(name)]));
  }
  write(settings) {
    for (const name of RUN_KEYS) this.put(name, settings[name]);
    for (const slide of this.slides()) slide.value = settings[String(slide.dataset.of)];
  }

  /** @param {string} name @param {any} value */
  put(name, value) {
    const field = this.field(name);
    if (name === "beside") field.checked = value;
    else field.value = String(value);
    this.changed(field);
  }

  // What is asked for as an address: what is as at first is left out, but for prompt and seed.
  address(settings) {
    const told = RUN_KEYS.filter((name) => name === "prompt" || name === "seed" || settings[name] !== this.defaults[name]);
    return new URLSearchParams(told.map((name) => [name, String(settings[name])])).toString();
  }

  // The settings that an address asks for, or null where it asks for none; numbers within their limits.
  /** @param {string} address */
  fromAddress(address) {
    const given = new URLSearchParams(address.replace(/^#/, ""));
    if (!given.has("prompt") && !given.has("seed")) return null;
    const told = [...given].filter(([name]) => RUN_KEYS.includes(name)).map(([name, text]) => [name, this.allowed(name, text)]);
    return { ...this.defaults, ...Object.fromEntries(told) };
  }

  /** @param {string} name @param {string} text */
  allowed(name, text) {
    const field = this.field(name), usual = this.defaults[name];
    if (name === "beside") return text === "true";
    if (name === "mask") return [.../** @type {any} */ (field).options].some(({ value }) => value === text) ? text : usual;
    if (TEXTS.includes(name)) return text.slice(0, 200);
    if (name === "seed") return nearSeed(text.trim().slice(0, 60), String(field.dataset.most), String(usual));
    const number = text.trim() === "" ? NaN : Number(text), whole = field.step === "1";
    if (!Number.isFinite(number)) return usual;
    return Math.min(Number(field.max), Math.max(Number(field.min), whole ? Math.round(number) : number));
  }
}

// A seed of an address, digit by digit: a whole number within the limits; what is none stays, to be told at the field.
/** @param {string} text @param {string} most @param {string} usual */
function nearSeed(text, most, usual) {
  if (!text) return usual;
  if (!/^-?\d+$/.test(text)) return text;
  const seed = BigInt(text);
  return String(seed < 0n ? 0n : seed > BigInt(most) ? BigInt(most) : seed);
}

/** The fields of a form with something wrong, each told; the first is unfolded and has the focus. @param {HTMLFormElement} form */
function tellFaults(form) {
  const fields = [...form.elements].filter((field) => field instanceof HTMLInputElement && field.dataset.title);
  const wrong = fields.map((field) => [/** @type {HTMLInputElement} */ (field), faultOf(/** @type {HTMLInputElement} */ (field))]).filter(([, words]) => words);
  for (const [field, words] of wrong) tellFault(/** @type {HTMLInputElement} */ (field), String(words));
  const first = /** @type {HTMLInputElement | undefined} */ (wrong[0]?.[0]);
  first?.closest("details")?.setAttribute("open", "");
  first?.focus();
  return wrong.length ? String(wrong[0][1]) : "";
}

// Words that the model was not taught, with those that look like them.
/** @param {Element} place @param {{word: string, near: string[]}[]} unknown */
function tellUnknown(place, unknown) {
  const listed = unknown.map(({ word, near }) => `“${word}”${near.length ? ` (near: ${near.join(", ")})` : ""}`);
  say(place, listed.length ? `This model was not taught ${listed.join(", ")}: what ${listed.length > 1 ? "they do" : "it does"} to the picture is chance.` : "");
}

// What computes, and why not the graphics card where it was tried.
function readyWords({ ms, build, why }) {
  const on = { wasm: "the processor (WebAssembly)", webgpu: "the graphics card (WebGPU; its numbers were checked)" }[build];
  return `Ready: press Run. It computes on ${on}, loaded in ${(ms / 1000).toFixed(1)} s.${why ? ` ${why}.` : ""}`;
}
