/* Byte-pair encoding by hand: a text to type, and the commonest pair of neighbours fused, merge by merge. */
(() => {
  const { make, say, addControls, isOff, turnOff } = live;

  /* The pair of neighbours in words (lists of pieces) that stands together most often, the earliest of equals, or undefined. */
  live.commonestPair = (words) => {
    const pairs = new Map(); // a Map keeps the order in which its keys came
    for (const word of words)
      for (let i = 1; i < word.length; i++) {
        const key = JSON.stringify([word[i - 1], word[i]]);
        pairs.set(key, (pairs.get(key) ?? 0) + 1);
      }
    let best;
    for (const [key, count] of pairs) if (!best || count > best.count) best = { pair: JSON.parse(key), count };
    return best;
  };

  /* One piece in place of two, wherever the pair stands. */
  live.fuse = (word, [first, second]) => {
    const fused = [];
    for (const piece of word)
      if (fused.at(-1) === first && piece === second) fused.push(fused.pop() + piece);
      else fused.push(piece);
    return fused;
  };

  /* The words of a text after some merges, the pieces that were made, and the pair that comes next. */
  live.merged = (text, merges) => {
    let words = text.split(/\s+/).filter(Boolean).map((word) => [...word]);
    const made = [];
    let next = live.commonestPair(words);
    while (made.length < merges && next) {
      words = words.map((word) => live.fuse(word, next.pair));
      made.push(next.pair.join(""));
      next = live.commonestPair(words);
    }
    return { words, made, next };
  };

  live.component("merge_by_hand", (figure, opening) => {
    let { text, merges } = opening;
    const place = figure.querySelector(".merge-words");
    const box = make("input", { type: "text", "aria-label": "text to cut", maxlength: 80, spellcheck: "false" });
    const buttons = ["Merge", "Undo"].map((name) => make("button", { type: "button" }, name));
    const [merge, undo] = buttons;
    const goes = (button, more) => {
      if (isOff(button)) return;
      merges += more;
      redraw();
    };
    undo.addEventListener("click", () => goes(undo, -1));
    merge.addEventListener("click", () => goes(merge, 1));
    box.addEventListener("input", () => {
      [text, merges] = [box.value, 0];
      redraw();
    });
    addControls(figure, "", [box, ...buttons], () => {
      ({ text, merges } = opening);
      redraw();
    });

    function redraw() {
      const { words, made, next } = live.merged(text, merges);
      merges = made.length;
      const chips = (word) => word.map((piece) => make("kbd", { class: made.includes(piece) ? "is-made" : "" }, piece));
      place.replaceChildren(...words.map((word) => make("span", { class: "merge-word" }, ...chips(word))));
      const said = next ? `${next.pair.join(" + ")}, ${next.count === 1 ? "once" : `${next.count} times`}` : words.length ? "none: every word is one piece" : "none: type a word";
      const pieces = words.reduce((sum, word) => sum + word.length, 0);
      say(figure, { merges, pieces, made: made.join(", ") || "none", next: said });
      if (box.value !== text) box.value = text;
      turnOff(undo, !merges);
      turnOff(merge, !next);
    }
    redraw();
  });
})();
