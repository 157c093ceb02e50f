// What the page carries packed: zlib's format in base64. The player's page and the live page's worker read it alike.

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
function fromBase64(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i); // `from` takes ten times longer
  return bytes;
}

/** @param {string} packed @returns {Promise<ArrayBuffer>} */
function inflate(packed) {
  const stream = new Blob([fromBase64(packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
