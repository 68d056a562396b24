/* Decoding (paper §6.1), as transformer/decoding.py does it, for one sentence. */
globalThis.engine ??= {};
(() => {
  const { PAD, BOS, EOS, largest } = engine;
  const EXTRA_LENGTH = 50; // a translation may be this many tokens longer than its source

  /* ((5 + length) / 6)^alpha, by which a log-probability is divided. */
  const lengthPenalty = (length, alpha) => ((5 + length) / 6) ** alpha;

  /* What a hypothesis may go on with: the `n` likeliest tokens, or the one that is forced. */
  function* continued({ tokens, logProb, cache: past }, parent, { transformer, memory, n, forced }) {
    const { x, cache } = yield* transformer.decode([BOS, ...tokens], memory, past);
    const logProbs = transformer.logProbs(x.at(-1)); // (V)
    const next = forced === undefined ? largest(logProbs, n) : [{ index: forced, number: logProbs[forced] }];
    return next.map(({ index: token, number }) => {
      const finished = token === EOS;
      return { parent, token, logProb: logProb + number, finished, tokens: finished ? tokens : [...tokens, token], cache };
    });
  }

  /* Keep the `width` most likely hypotheses at every step, for source ids that end in EOS; 1 is greedy search. Returns the
     finished hypotheses, best first, and the history: for each step the nodes that were kept and the likeliest of those that
     were cut, where a node names its parent by its place among those kept a step before. A prefix of tokens is forced.
     Each step is also yielded as it comes, and nothing wherever a page may take a breath. */
  function* beamSearch(transformer, source, { width = 4, alpha = 0.6, maxLength, prefix = [] } = {}) {
    if (!(Number.isInteger(width) && width > 0)) throw new RangeError(`width is ${width}, expected 1 hypothesis or more`);
    if (!(alpha >= 0)) throw new RangeError(`alpha is ${alpha}, expected 0 (no length penalty) or more`);
    const memory = yield* transformer.encode(source);
    const limit = maxLength ?? source.filter((id) => id !== PAD).length - 1 + EXTRA_LENGTH;
    const node = ({ parent, token, logProb, finished }) => ({ parent, token, logProb, finished });
    const hypotheses = [], history = [];
    let open = [{ tokens: [], logProb: 0 }], free = width, best = -Infinity, reachable = 0;
    for (let step = 1; step <= limit && best < reachable; step++) {
      const candidates = [], choice = { transformer, memory, n: 2 * width, forced: prefix[step - 1] };
      for (const [place, one] of open.entries())
        if (!one.finished) candidates.push(...(yield* continued(one, place, choice)));
      candidates.sort((a, b) => b.logProb - a.logProb);
      open = candidates.slice(0, free);
      history.push({ kept: open.map(node), cut: candidates.slice(free, free + width).map(node) });
      yield history.at(-1);

      let ended = open.filter((one) => one.finished);
      if (step === limit && !ended.length && !hypotheses.length) ended = open; // better than nothing: no EOS was reached
      for (const { tokens, logProb, finished } of ended) {
        const score = logProb / lengthPenalty(step, alpha);
        hypotheses.push({ tokens, logProb, finished, score });
        best = Math.max(best, score);
      }
      free -= ended.length;
      // Log-probabilities only fall, so this is the most that an open hypothesis can still reach.
      const left = open.filter((one) => !one.finished).map((one) => one.logProb);
      reachable = Math.max(...left) / lengthPenalty(limit, alpha);
    }
    return { hypotheses: hypotheses.sort((a, b) => b.score - a.score), history };
  }

  Object.assign(engine, { EXTRA_LENGTH, beamSearch, lengthPenalty });
})();
