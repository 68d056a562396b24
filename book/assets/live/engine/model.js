/* The Transformer (paper §3) for one sentence: what transformer/model.py computes, under the same names.
   T counts tokens of the target and queries, S tokens of the source and keys, D d_model, H heads, K = D / H. */
globalThis.engine ??= {};
(() => {
  const { dot, addTimes, zeros, add, scale, relu, linear, layerNorm, softmax, logSoftmax } = engine;
  const [PAD, BOS, EOS] = [0, 1, 2]; // transformer/text/symbols.py

  /* What can be left out or done wrong, one thing at a time; headsOff holds names as "encoder.layers.0.self_attention.1". */
  const SOUND = {
    positions: true, // added to the embeddings (paper §3.5)
    embeddingScale: true, // embeddings times √d_model (§3.4)
    scale: true, // products divided by √d_k (§3.2.1)
    causalMask: true, // no token sees a later one (§3.2.3)
    paddingMask: true, // no token sees padding
    headSplit: true, // features are cut into heads; else positions are (chapter 5)
    residual: true, // a sub-layer's output is added to its input (§3.1)
    norm: true, // and the sum is normalised
    headsOff: [], // these heads hand on zeros
  };

  /* Row `position` of the sinusoids (paper §3.5): (D). */
  const sinusoid = (position, D) =>
    new Float32Array(D).map((_, i) => {
      const angle = position * 10000 ** (-(i - (i % 2)) / D);
      return i % 2 ? Math.cos(angle) : Math.sin(angle);
    });

  /* Cut the features into heads, (T, H·K) → (H, T, K): windows on the same numbers, so that writing into them merges
     the heads again. The mistake reads the numbers of (T, H·K) in their order as (H, T, K): that cuts the positions. */
  function splitHeads(x, H, right = true) {
    const [T, K] = [x.length, x[0].length / H];
    const window = (t, h) => x[t].subarray(h * K, (h + 1) * K); // (K)
    const wrong = (n) => window(Math.floor(n / H), n % H); // the nth piece of K numbers
    return Array.from({ length: H }, (_, h) => x.map((_, t) => (right ? window(t, h) : wrong(h * T + t))));
  }

  class Transformer {
    /* Of what engine.load gives, perhaps with switches that differ from SOUND. see(name, tensor) is shown every tensor on
       the way, under the name of the module that made it. Generators yield wherever a page may take a breath. */
    constructor({ config, weights }, switches = {}, see = () => {}) {
      const wrong = Object.keys(switches).find((name) => !(name in SOUND));
      if (wrong) throw new RangeError(`there is no switch ${wrong}, expected one of ${Object.keys(SOUND).join(", ")}`);
      Object.assign(this, { config, weights, switches: { ...SOUND, ...switches }, see });
    }

    seen(name, x) {
      this.see(name, x);
      return x;
    }

    linear(name, x) {
      return this.seen(name, linear(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]));
    }

    /* ids (T) → (T, D), the first of them at position `start`; side is "source" or "target". */
    embed(side, ids, start = 0) {
      const { d_model: D } = this.config, { positions, embeddingScale } = this.switches;
      const table = this.weights["source_embedding.weight"]; // (V, D), for both sides and the output (paper §3.4)
      const rows = ids.map((id) => table[id]); // (T, D)
      const words = this.seen(`${side}_embedding`, scale(rows, embeddingScale ? Math.sqrt(D) : 1));
      const places = ids.map((_, t) => sinusoid(start + t, D));
      return this.seen(`${side}_positions`, positions ? add(words, places) : words);
    }

    /* The keys and values of memory (S, D), (H, S, K) each. */
    keysAndValues(name, memory) {
      const split = (x) => splitHeads(x, this.config.n_heads, this.switches.headSplit);
      return { keys: split(this.linear(`${name}.key`, memory)), values: split(this.linear(`${name}.value`, memory)) };
    }

    /* Let queries (T, D) gather from keys and values, wherever may(t, s) lets them: (T, D) (paper §3.2). */
    *attention(name, queries, { keys, values }, may) {
      const { n_heads: H } = this.config, { scale, headSplit, headsOff } = this.switches;
      const q = splitHeads(this.linear(`${name}.query`, queries), H, headSplit); // (H, T, K)
      const compared = (row, h) => Float32Array.from(keys[h], (key) => dot(row, key)); // (S)
      const products = q.map((head, h) => head.map((row) => compared(row, h))); // (H, T, S)
      const divisor = scale ? Math.sqrt(q[0][0].length) : 1; // √d_k
      const scores = (row, t) => row.map((product, s) => (may(t, s) ? product / divisor : -Infinity)); // (S)
      const weights = products.map((head) => head.map((row, t) => softmax(scores(row, t)))); // (H, T, S)
      yield;
      const merged = zeros(queries.length, queries[0].length); // (T, D)
      splitHeads(merged, H, headSplit).forEach((head, h) => {
        if (headsOff.includes(`${name}.${h}`)) return;
        head.forEach((row, t) => values[h].forEach((value, s) => addTimes(row, weights[h][t][s], value)));
      });
      this.see(`${name}.products`, products);
      this.see(`${name}.weights`, weights);
      return this.seen(name, this.linear(`${name}.output`, this.seen(`${name}.heads`, merged)));
    }

    /* max(0, xW₁ + b₁)W₂ + b₂: (T, D) → (T, D) (paper §3.3). */
    *feedForward(name, x) {
      const inner = relu(this.linear(`${name}.inner`, x)); // (T, d_ff)
      yield;
      return this.seen(name, this.linear(`${name}.outer`, inner));
    }

    /* Add to x (T, D) what a sub-layer made of it, and normalise (paper §3.1). */
    residual(name, x, made) {
      const sum = this.seen(`${name}_residual.sum`, this.switches.residual ? add(x, made) : made);
      const [gain, bias] = ["weight", "bias"].map((kind) => this.weights[`${name}_residual.norm.${kind}`]);
      return this.seen(`${name}_residual`, this.switches.norm ? layerNorm(sum, gain, bias) : sum);
    }

    /* Read source ids (S), which end in EOS and perhaps padding: the memory, as (S, D), as keys and values of each decoder
       layer, and with its mask (S). */
    *encode(source) {
      const mask = source.map((id) => id !== PAD || !this.switches.paddingMask); // (S)
      let x = this.embed("source", source); // (S, D)
      for (let l = 0; l < this.config.n_layers; l++) {
        const [attention, network] = [`encoder.layers.${l}.self_attention`, `encoder.layers.${l}.feed_forward`];
        const own = this.keysAndValues(attention, x); // (H, S, K) each
        yield;
        x = this.residual(attention, x, yield* this.attention(attention, x, own, (t, s) => mask[s]));
        yield;
        x = this.residual(network, x, yield* this.feedForward(network, x)); // (S, D), as before
        yield;
      }
      this.see("encoder", x);
      const layers = [];
      for (let l = 0; l < this.config.n_layers; l++) {
        layers.push(this.keysAndValues(`decoder.layers.${l}.cross_attention`, x));
        yield;
      }
      return { x, mask, layers };
    }

    /* Map target ids (T) to the decoder's last vectors. A cache holds the keys and values of the first ids, and then only
       the vectors of the others are computed. Returns them, x (T − cached, D), and the cache of all ids, a new one. */
    *decode(target, memory, cache = { length: 0, layers: [] }) {
      const { causalMask, headSplit } = this.switches;
      if (!causalMask || !headSplit) cache = { length: 0, layers: [] }; // a new token changes what the earlier ones are
      const past = cache.length, layers = [];
      let x = this.embed("target", target.slice(past), past); // (T − past, D)
      for (let l = 0; l < this.config.n_layers; l++) {
        const names = ["self_attention", "cross_attention", "feed_forward"].map((part) => `decoder.layers.${l}.${part}`);
        const [own, cross, network] = names;
        const { keys, values } = this.keysAndValues(own, x); // (H, T − past, K) each
        const join = (kept, added) => (kept ? added.map((head, h) => [...kept[h], ...head]) : added);
        layers.push({ keys: join(cache.layers[l]?.keys, keys), values: join(cache.layers[l]?.values, values) }); // (H, T, K)
        x = this.residual(own, x, yield* this.attention(own, x, layers[l], (t, s) => s <= past + t || !causalMask));
        yield;
        x = this.residual(cross, x, yield* this.attention(cross, x, memory.layers[l], (t, s) => memory.mask[s]));
        yield;
        x = this.residual(network, x, yield* this.feedForward(network, x)); // (T − past, D), as after each line
        yield;
      }
      return { x: this.seen("decoder", x), cache: { length: target.length, layers } };
    }

    /* The scores (V) of every next token after a vector (D) of the decoder. */
    logits(row) {
      return linear([row], this.weights["source_embedding.weight"])[0];
    }

    /* And their log-probabilities, without PAD and BOS, which no translation has. */
    logProbs(row) {
      const logProbs = logSoftmax(this.logits(row)); // (V)
      logProbs[PAD] = logProbs[BOS] = -Infinity;
      return logProbs;
    }
  }

  /* Every tensor of one pass over source ids and target ids (neither with BOS; the source with EOS), by name. Row t of the
     decoder's tensors is the step that chooses token t of the target; "output" holds the logits (T, V). */
  function* trace(loaded, source, target, switches) {
    const places = {};
    const transformer = new Transformer(loaded, switches, (name, x) => (places[name] = x));
    const memory = yield* transformer.encode(source);
    const { x } = yield* transformer.decode([BOS, ...target], memory); // (T, D)
    places.output = [];
    for (const row of x) {
      places.output.push(transformer.logits(row));
      yield;
    }
    return places;
  }

  Object.assign(engine, { PAD, BOS, EOS, SOUND, sinusoid, splitHeads, Transformer, trace });
})();
