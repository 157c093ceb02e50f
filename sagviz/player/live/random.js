// Random numbers as torch draws them on a CPU, so that a seed means the same in the page as in Python.

/**
 * The Mersenne Twister (Matsumoto & Nishimura 1998): a function that gives the next 32 bits. Like torch, it takes the
 * seed's lowest 32.
 * @param {number} seed
 */
function twister(seed) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let at = 624;
  return () => {
    if (at === 624) {
      twist(state);
      at = 0;
    }
    let bits = state[at++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  };
}

/** @param {Uint32Array} state */
function twist(state) {
  for (let i = 0; i < 624; i++) {
    const mixed = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
    state[i] = state[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
  }
}

/** The seed's lowest 32 bits, of a whole number or its digits. @param {number | string} seed */
function lowest(seed) {
  return Number(BigInt.asUintN(32, BigInt(seed)));
}

/**
 * `torch.rand(count)` in float32: 24 bits of each draw.
 * @param {() => number} draw
 * @param {number} count
 */
function uniform(draw, count) {
  return Float32Array.from({ length: count }, () => (draw() & 0xffffff) / 2 ** 24);
}

/**
 * `torch.randn(count)` in float32 of 16 numbers or more: Box and Muller's transform in blocks of 16, the last of which
 * is drawn anew where it is not whole.
 * @param {number | string} seed
 * @param {number} count
 */
function normal(seed, count) {
  const draw = twister(lowest(seed));
  const values = uniform(draw, count);
  for (let i = 0; i + 16 <= count; i += 16) boxMuller(values.subarray(i, i + 16));
  if (count % 16) {
    const last = values.subarray(count - 16);
    last.set(uniform(draw, 16));
    boxMuller(last);
  }
  return values;
}

/** Each step rounded as float32 rounds it. @param {Float32Array} block */
function boxMuller(block) {
  const f = Math.fround;
  for (let i = 0; i < 8; i++) {
    const radius = f(Math.sqrt(f(-2 * f(Math.log(1 - block[i])))));
    const angle = f(f(2 * Math.PI) * block[i + 8]);
    block[i] = radius * f(Math.cos(angle));
    block[i + 8] = radius * f(Math.sin(angle));
  }
}

/**
 * The seed that NumPy's SeedSequence (O'Neill's seed_seq_fe) mixes of several whole numbers, its lowest 32 bits.
 * @param {(number | string)[]} entropy
 */
function mixed(...entropy) {
  const words = entropy.flatMap(words32);
  let constant = 0x43b0d7e5;
  /** @param {number} value */
  const hash = (value) => {
    value ^= constant;
    constant = Math.imul(constant, 0x931e8875);
    value = Math.imul(value, constant);
    return value ^ (value >>> 16);
  };
  const pool = [0, 1, 2, 3].map((i) => hash(words[i] ?? 0));
  /** @param {number} to @param {number} value */
  const mix = (to, value) => {
    const both = Math.imul(0xca01f9dd, pool[to]) - Math.imul(0x4973f715, hash(value));
    pool[to] = both ^ (both >>> 16);
  };
  for (let from = 0; from < 4; from++) for (let to = 0; to < 4; to++) if (from !== to) mix(to, pool[from]);
  for (const word of words.slice(4)) for (let to = 0; to < 4; to++) mix(to, word);
  const first = Math.imul(pool[0] ^ 0x8b51f9dd, Math.imul(0x8b51f9dd, 0x58f38ded));
  return (first ^ (first >>> 16)) >>> 0;
}

/** A whole number's 32-bit words, the lowest first. @param {number | string} value */
function words32(value) {
  const words = [];
  let rest = BigInt(value);
  do {
    words.push(Number(rest & 0xffffffffn));
    rest >>= 32n;
  } while (rest);
  return words;
}
