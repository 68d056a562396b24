/* Weights as tools/live_weights.py writes them: a script for each model that calls engine.register. */
globalThis.engine ??= {};
(() => {
  const { tokenizer } = engine;
  const registered = {};
  const register = (name, stored) => (registered[name] = stored);

  const STRETCH = 2 ** 17; // letters of base64 at a time, in whole groups of four

  /* The bytes of a text in base64. */
  function* bytes(text) {
    const filling = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
    const found = new Uint8Array((3 * text.length) / 4 - filling);
    for (let at = 0; at < text.length; at += STRETCH) {
      const letters = atob(text.slice(at, at + STRETCH)), begin = (3 * at) / 4;
      for (let i = 0; i < letters.length; i++) found[begin + i] = letters.charCodeAt(i);
      yield;
    }
    return found.buffer;
  }

  /* A number in half precision: one bit for its sign, five for its exponent, ten for its fraction. */
  function half(bits) {
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  }

  /* A vector (n) or a matrix (m, n), from half precision, or from whole numbers of one byte with a scale (m) for rows. */
  function* tensor({ shape, half: halves, int8, scale }) {
    const [m, n] = shape.length === 2 ? shape : [1, ...shape];
    const numbers = halves ? new Uint16Array(yield* bytes(halves)) : new Int8Array(yield* bytes(int8)); // (m · n)
    const factors = scale && new Float32Array(yield* bytes(scale)); // (m)
    const rows = [];
    for (let i = 0; i < m; i++) {
      const row = new Float32Array(numbers.subarray(i * n, (i + 1) * n)), factor = factors?.[i];
      for (let j = 0; j < n; j++) row[j] = halves ? half(row[j]) : factor * row[j];
      rows.push(row);
      if (i % 100 === 99) yield;
    }
    return shape.length === 2 ? rows : rows[0];
  }

  /* The model of a script that is there: config, tokenizer, weights by name. Yields wherever a page may take a breath. */
  function* load(name) {
    if (!registered[name]) throw new Error(`the weights of ${name} are not here; load the script weights/${name}.js first`);
    const { config, tokenizer: stored, tensors } = registered[name];
    const weights = {};
    for (const [name, one] of Object.entries(tensors)) {
      weights[name] = yield* tensor(one);
      yield;
    }
    return { name, config, tokenizer: tokenizer(stored), weights };
  }

  Object.assign(engine, { register, load });
})();
