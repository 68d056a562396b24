/* Decoding (paper §6.1), as transformer/decoding.py does it, for one sentence. */
globalThis.engine ??= {};
(() => {
  const { PAD, BOS, EOS, largest } = engine;
  const EXTRA_LENGTH = 50; // a translation may be this many tokens longer than its source

  /* ((5 + length) / 6)^alpha, by which a log-probability is divided. */
  const lengthPenalty = (length, alpha) => ((5 + length) / 6) ** alpha;

  /* The hypotheses for source ids that end in EOS, best first, and the history: for each step the nodes that survived it
     and the first that did not. A node has the index of its parent among those kept a step before. Width 1 is greedy search.
     A prefix of tokens is forced. Each step is also yielded as it comes; nothing is yielded where a page may take a breath. */
  function* beamSearch(transformer, source, { width = 4, alpha = 0.6, maxLength, prefix = [] } = {}) {
    if (!(Number.isInteger(width) && width > 0)) throw new RangeError(`width is ${width}, expected 1 hypothesis or more`);
    if (!(alpha >= 0)) throw new RangeError(`alpha is ${alpha}, expected 0 (no length penalty) or more`);
    const memory = yield* transformer.encode(source);
    const limit = maxLength ?? source.filter((id) => id !== PAD).length - 1 + EXTRA_LENGTH;
    const history = [], finished = [];
    let open = [{ parent: 0, tokens: [], logProb: 0 }], free = width, best = -Infinity;
    for (let step = 1; ; step++) {
      const candidates = [];
      for (const [place, { tokens, logProb, cache: before }] of open.entries()) {
        if (!tokens) continue; // it has ended
        const { x, cache } = yield* transformer.decode([BOS, ...tokens], memory, before);
        const logProbs = transformer.logProbs(x.at(-1)); // (V)
        const forced = prefix[step - 1];
        const next = forced === undefined ? largest(logProbs, 2 * width) : [{ index: forced, number: logProbs[forced] }];
        for (const { index: token, number } of next)
          candidates.push({ parent: place, token, logProb: logProb + number, finished: token === EOS, before: tokens, cache });
      }
      candidates.sort((a, b) => b.logProb - a.logProb);
      const node = ({ parent, token, logProb, finished }) => ({ parent, token, logProb, finished });
      const kept = candidates.slice(0, free), cut = candidates.slice(free, free + width);
      history.push({ kept: kept.map(node), cut: cut.map(node) });
      yield history.at(-1);

      const close = ({ before, token, logProb, finished: ended }) => {
        const tokens = ended ? before : [...before, token];
        finished.push({ tokens, logProb, finished: ended, score: logProb / lengthPenalty(step, alpha) });
      };
      const ended = kept.filter((one) => one.finished);
      ended.forEach(close);
      free -= ended.length;
      best = Math.max(best, ...ended.map((one) => one.logProb / lengthPenalty(step, alpha)));
      open = kept.map((one) => (one.finished ? {} : { ...one, tokens: [...one.before, one.token] }));
      if (step >= limit && !finished.length) kept.forEach(close); // better than nothing: no EOS was reached
      // Log-probabilities only fall, so this is the most that an open hypothesis can still reach.
      const reachable = Math.max(...open.filter((one) => one.tokens).map((one) => one.logProb)) / lengthPenalty(limit, alpha);
      if (step >= limit || !(best < reachable)) break;
    }
    return { hypotheses: finished.sort((a, b) => b.score - a.score), history };
  }

  Object.assign(engine, { beamSearch, lengthPenalty });
})();
