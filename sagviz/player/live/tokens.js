// A prompt as the text encoder's tokens, and its words that the model was not taught: as `transformers` and
// `sagviz.vocabulary` have them.

/**
 * @typedef {object} Tokenizer
 * @property {Record<string, number>} vocab
 * @property {[string, string][]} merges
 * @property {Record<string, number>} special tokens that are found in the text as they are
 * @property {number} begin @property {number} end @property {number} pad
 * @property {number} length of what the text encoder is given
 */

const SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // Unicode's, not JavaScript's
const PIECES = new RegExp(
  `<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^${SPACE}\\p{L}\\p{N}]+`,
  "gu",
);
// what the byte level splits once more
const PARTS = new RegExp(`'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}+|[^${SPACE}\\p{L}\\p{N}]+`, "gu");
const BYTES = byteLetters();

/** A letter for each byte: itself where it is seen, else one from 256 on (GPT-2). */
function byteLetters() {
  const seen = (/** @type {number} */ byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(seen(byte) ? byte : next++));
}

/**
 * The tokens of a text, cut or filled up to the encoder's length.
 * @param {Tokenizer} tokenizer
 * @param {string} text
 */
function encode(tokenizer, text) {
  const { begin, end, pad, length } = tokenizer;
  const ids = tokens(tokenizer, text).slice(0, length - 2);
  const whole = [begin, ...ids, end];
  return [...whole, ...Array(length - whole.length).fill(pad)];
}

/** @param {Tokenizer} tokenizer @param {string} text @returns {number[]} */
function tokens(tokenizer, text) {
  const names = Object.keys(tokenizer.special).map((name) => name.replace(/\W/g, "\\$&"));
  return text.split(new RegExp(`(${names.join("|")})`)).flatMap((part) => {
    if (Object.hasOwn(tokenizer.special, part)) return [tokenizer.special[part]];
    return pieces(part).flatMap((piece) => merged(tokenizer, piece));
  });
}

/** The words and signs of a text, in letters that stand for bytes. @param {string} text */
function pieces(text) {
  const plain = text.normalize("NFC").replace(new RegExp(`[${SPACE}]+`, "gu"), " ");
  const lower = Array.from(plain, (letter) => letter.toLowerCase()).join(""); // each letter by itself
  const found = (lower.match(PIECES) ?? []).flatMap((piece) => piece.match(PARTS) ?? []);
  return found.map((piece) => Array.from(new TextEncoder().encode(piece), (byte) => BYTES[byte]));
}

/**
 * Byte pair encoding: the pair that was learned first is merged, the leftmost of several, as long as there is one.
 * @param {Tokenizer} tokenizer
 * @param {string[]} letters
 */
function merged({ vocab, merges }, letters) {
  const ranks = (merged.ranks ??= new Map(merges.map((pair, rank) => [pair.join(" "), rank])));
  const parts = [...letters.slice(0, -1), `${letters[letters.length - 1]}</w>`];
  for (;;) {
    let best = Infinity, at = 0;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
      if (rank < best) [best, at] = [rank, i];
    }
    if (best === Infinity) return parts.map((part) => vocab[part]);
    parts.splice(at, 2, parts[at] + parts[at + 1]);
  }
}
/** @type {Map<string, number> | undefined} */
merged.ranks = undefined;

// Letters and symbols such as emoji, with the marks and joiners that belong to them.
const WORD = /[\p{L}\p{N}][\p{L}\p{N}\p{M}\p{Cf}]*|(?![\0-\x7f])(?:(?!\p{Cf})[\p{S}\p{C}])(?:(?![\0-\x7f])[\p{S}\p{C}\p{M}])*/gu;
const MIN_LIKENESS = 0.7;

/**
 * The words of a text that the model was not taught, as they were typed, and the known ones that look most like them.
 * @param {Record<string, string[]> | null} vocabulary null where it takes any
 * @param {string} text
 */
function unknownWords(vocabulary, text) {
  if (!vocabulary) return [];
  const known = new Set(Object.values(vocabulary).flatMap((phrases) => phrases.flatMap((phrase) => phrase.split(" "))));
  const others = new Map();
  for (const word of text.match(WORD) ?? []) {
    const lower = word.toLowerCase();
    if (!known.has(lower) && !others.has(lower)) others.set(lower, word);
  }
  const telling = [...known].filter((word) => word.length > 2);
  return Array.from(others, ([lower, word]) => ({ word, near: nearest(lower, telling) }));
}

/** The two that look most like a word, as difflib finds them. @param {string} word @param {string[]} known */
function nearest(word, known) {
  const alike = known.map((other) => ({ other, ratio: likeness([...other], [...word]) }));
  const close = alike.filter(({ ratio }) => ratio >= MIN_LIKENESS);
  close.sort((a, b) => b.ratio - a.ratio || (a.other < b.other ? 1 : -1));
  return close.slice(0, 2).map(({ other }) => other);
}

/** Share of letters in common stretches (Ratcliff & Obershelp). @param {string[]} a @param {string[]} b */
function likeness(a, b) {
  return (2 * common(a, b)) / (a.length + b.length);
}

/** @param {string[]} a @param {string[]} b @returns {number} */
function common(a, b) {
  let size = 0, i = 0, j = 0;
  for (let x = 0; x < a.length; x++) {
    for (let y = 0; y < b.length; y++) {
      let long = 0;
      while (x + long < a.length && y + long < b.length && a[x + long] === b[y + long]) long++;
      if (long > size) [size, i, j] = [long, x, y];
    }
  }
  if (!size) return 0;
  return size + common(a.slice(0, i), b.slice(0, j)) + common(a.slice(i + size), b.slice(j + size));
}
