// What a field cannot have is said below it, and goes when the field is changed.

let told = 0;

/** Why a field's value cannot be used, in a sentence, or nothing. @param {HTMLInputElement} field */
function faultOf(field) {
  const { type, min, max, value, validity, dataset } = field, whole = dataset.whole || dataset.most;
  const isRight = dataset.most ? isSeed(value, dataset.most) : type !== "number" || (whole ? validity.valid : isBetween(validity));
  const given = value.trim() || (validity.badInput ? "no number" : "empty");
  return isRight ? "" : `${dataset.title} is ${given}; give ${whole ? "a whole number" : "a number"} from ${min || 0} to ${max || dataset.most}.`;
}

/** @param {string} text @param {string} most */
function isSeed(text, most) {
  return /^\d+$/.test(text.trim()) && BigInt(text) <= BigInt(most);
}

// Between the slider's steps any number will do.
/** @param {ValidityState} validity */
function isBetween({ badInput, rangeOverflow, rangeUnderflow, valueMissing }) {
  return !(badInput || rangeOverflow || rangeUnderflow || valueMissing);
}

/** Says it below the field, or takes it away. @param {HTMLInputElement} field @param {string} words */
function tellFault(field, words) {
  const about = /** @type {Element} */ (field.closest(".field, .knob")), next = about.nextElementSibling;
  if (!words) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
    return next?.matches(".fault") && next.remove();
  }
  const place = next?.matches(".fault") ? next : make("p", { class: "fault", id: `fault-${++told}` });
  say(place, words);
  about.after(place);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", place.id);
}
