/* One token, from bottom to top: its vector after each sub-layer, and what comes of it. */
(() => {
  const { make, picture, largestSize, bars, softmax } = live;
  const LIKELIEST = 5;

  /* The largest of some shares, each with its name. */
  live.most = (shares, names) =>
    [...shares.entries()]
      .sort(([, a], [, b]) => b - a)
      .slice(0, LIKELIEST)
      .map(([i, share]) => [names[i], share]);

  /* How much each place of the target takes from a token of the source: the last layer's weights (H, T, S), a mean. */
  function readers(places, layers, s) {
    const weights = places[`decoder.layers.${layers - 1}.cross_attention.weights`];
    return weights[0].map((_, t) => weights.reduce((sum, head) => sum + head[t][s], 0) / weights.length); // (T)
  }

  const length = (vector) => Math.hypot(...vector).toFixed(1);

  /* The way of token `row` of a side, "source" or "target". follow(side, row) is told of another token, open(box, layer) of
     a stage to look at. */
  live.stream = (places, { side, row, words, layers, vocabulary, follow, open }) => {
    const stages = live.stages(side, layers);
    const vectors = stages.map(({ name }) => places[name][row]); // (D) each
    const largest = largestSize(vectors);
    const line = ({ words, box, layer }, i) => {
      const button = make("button", { type: "button", "data-key": `stage ${i}` }, words);
      button.addEventListener("click", () => open(box, layer));
      const strip = make("td", {}, picture([vectors[i]], largest, `the vector behind ${words}`));
      return make("tr", {}, make("th", { scope: "row" }, button), strip, make("td", {}, length(vectors[i])));
    };
    const titles = ["behind", "its vector", "length"].map((text) => make("th", { scope: "col" }, text));
    const ends = {
      target: () => ["logits", "The likeliest next tokens:", softmax([...places.output[row]]), vocabulary],
      source: () => ["memory", "Who takes most from it, in the decoder's last layer:", readers(places, layers, row), words.target],
    };
    const [end, told, shares, names] = ends[side]();
    return [
      make("p", { class: "live-says" }, "The place of ", chooser(words, side, row, follow), `, from embedding to ${end}`),
      make(
        ...["table", { class: "stream" }, make("thead", {}, make("tr", {}, ...titles))],
        make("tbody", {}, ...stages.map(line)),
      ),
      make("p", { class: "live-note" }, told),
      bars(live.most(shares, names)),
    ];
  };

  /* All tokens of both sides, to follow one of them. */
  function chooser(words, side, row, follow) {
    const select = make("select", { "aria-label": "the token to follow", "data-key": "follow" });
    for (const [name, tokens] of Object.entries(words)) {
      const group = make("optgroup", { label: name });
      tokens.forEach((token, t) => group.append(make("option", { value: `${name} ${t}` }, token)));
      select.append(group);
    }
    select.value = `${side} ${row}`;
    select.addEventListener("change", () => {
      const [side, row] = select.value.split(" ");
      follow(side, Number(row));
    });
    return select;
  }
})();
