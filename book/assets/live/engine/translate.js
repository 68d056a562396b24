/* From what somebody typed to a translation, without ever holding up the page. */
globalThis.engine ??= {};
(() => {
  const { PAD, EOS, Transformer, beamSearch, pieces } = engine;
  const MOST = 60; // tokens of a sentence
  const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  const quoted = (words) => [...new Set(words)].slice(0, 5).join(", ").slice(0, 80);

  /* What a model makes of a text before it translates: its ids, and the words among it that the model has never seen. Letters
     that cannot be seen, such as marks of direction, are left out. A model of whole words reads a first word in small letters
     where it knows it so alone; marks behind a word are tokens of their own. Where a reader must be told something, `say`
     tells it; with a `problem`, "empty", "long" or "unknown", there are no ids. */
  function read({ tokenizer }, text) {
    const seen = text.normalize("NFC").replace(/[\t\n\v\f\r]/g, " ").replace(/[\p{Cf}\p{Cc}]/gu, "");
    const words = seen.split(/\s+/).filter(Boolean), sentence = tokenizer.begun(words.join(" "));
    if (!sentence) return { problem: "empty", say: "There is no sentence yet. Type one in English." };
    const ids = tokenizer.encode(sentence, MOST);
    if (ids.length > MOST) {
      const got = `That is more than ${MOST} tokens (${counted(words.length, "word")}), and the model reads no more.`;
      return { problem: "long", say: `${got} Shorten it to one sentence.` };
    }
    const { known, unknown } = tokenizer.divide(sentence);
    if (unknown.length && !known.length)
      return { problem: "unknown", say: `The model knows nothing of this: ${quoted(unknown)}. ${tokenizer.advice}` };
    if (!unknown.length) return { ids, unknown };
    return { ids, unknown, say: `The model has never seen ${quoted(unknown)}, and guesses what to write for it.${tokenizer.more}` };
  }

  /* Translate a text. Gives what `read` says of it and, without a problem, the source ids as the model gets them, hypotheses
     and history of beamSearch, and the best hypothesis as text. Options are those of beamSearch, the switches of a
     Transformer, and how much padding stands behind the sentence. */
  function* translate(loaded, text, { switches, padding = 0, ...search } = {}) {
    const found = read(loaded, text);
    if (found.problem) return found;
    const source = [...found.ids, EOS, ...Array(padding).fill(PAD)]; // (S)
    const { hypotheses, history } = yield* beamSearch(new Transformer(loaded, switches), source, search);
    return { ...found, source, hypotheses, history, text: loaded.tokenizer.decode(hypotheses[0].tokens) };
  }

  /* Every token as a piece of text, by its id, and what stands between pieces. */
  function* vocabulary({ tokenizer, config }) {
    const found = [];
    for (let id = 0; id < config.vocab_size; id++) {
      found.push(...pieces(tokenizer, [id]));
      if (id % 250 === 249) yield;
    }
    return { pieces: found, between: tokenizer.between };
  }

  /* Let the page draw and listen; where the browser has only timers, they wait some milliseconds longer than needed. */
  const breathe = () => globalThis.scheduler?.postTask?.(() => {}) ?? new Promise((resume) => setTimeout(resume));

  /* Work a generator off in slices of some milliseconds; between them the page draws and listens. each(value) gets whatever
     it yields. Resolves to what it returns, or to undefined after an AbortSignal. */
  async function run(work, { each = () => {}, signal, slice = 16 } = {}) {
    for (;;) {
      const end = performance.now() + slice;
      do {
        if (signal?.aborted) return undefined;
        const { done, value } = work.next();
        if (done) return value;
        if (value) each(value);
      } while (performance.now() < end);
      await breathe();
    }
  }

  Object.assign(engine, { MOST, read, translate, vocabulary, run });
})();
