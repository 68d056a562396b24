/* A translation written greedily, token by token, with all that can be asked about each: how likely it was, what else was, and
   where the decoder looked. */
globalThis.engine ??= {};
(() => {
  const { BOS, EOS, EXTRA_LENGTH, Transformer, largest, read } = engine;
  const CHOICES = 5; // likeliest tokens that are told

  /* Yields the source ids (S), as the encoder gets them, then for every token a step {token, p, likeliest, attention}: the
     token, its probability, the likeliest tokens with theirs, and the weights (L, H, S) of the source. Tokens of a prefix are
     forced. Gives what `read` says of the text and, without a problem, the source, all steps and the translation. */
  function* write(loaded, text, { prefix = [], switches } = {}) {
    const found = read(loaded, text);
    if (found.problem) return found;
    const source = [...found.ids, EOS], steps = [], looked = [];
    yield { source };
    const see = (name, weights) => {
      const layer = name.match(/^decoder\.layers\.(\d+)\.cross_attention\.weights$/)?.[1];
      if (layer) looked[layer] = weights.map((head) => head.at(-1)); // (H, S), of the newest token
    };
    const transformer = new Transformer(loaded, switches, see);
    const memory = yield* transformer.encode(source);
    const written = () => steps.map(({ token }) => token);
    let cache;
    while (steps.length < found.ids.length + EXTRA_LENGTH && steps.at(-1)?.token !== EOS) {
      const decoded = yield* transformer.decode([BOS, ...written()], memory, cache);
      ({ cache } = decoded);
      const logProbs = transformer.logProbs(decoded.x.at(-1)); // (V)
      const likeliest = largest(logProbs, CHOICES).map(({ index, number }) => ({ token: index, p: Math.exp(number) }));
      const token = prefix[steps.length] ?? likeliest[0].token;
      steps.push({ token, p: Math.exp(logProbs[token]), likeliest, attention: [...looked] });
      yield steps.at(-1);
    }
    return { ...found, source, steps, text: loaded.tokenizer.decode(written()) };
  }

  Object.assign(engine, { write });
})();
