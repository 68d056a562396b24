/* Attention by the numbers: one query of one head, q · k with all keys, divided, softmax, times v. */
(() => {
  const { make, percent, signed, picture, largestSize, bar } = live;

  const cell = (...inside) => make("td", {}, ...inside);
  const head = (scope, text, more = {}) => make("th", { scope, ...more }, text);

  /* The head's query q (K), keys k and values v (S, K), products, scores and weights (S), and the mixed values (K). */
  live.numbersOf = (places, { attention, masked }, head, row) => {
    const [weights, products] = ["weights", "products"].map((kind) => [...places[`${attention}.${kind}`][head][row]]);
    const K = places[`${attention}.query`][0].length / places[`${attention}.weights`].length;
    const own = (vector) => vector.subarray(head * K, (head + 1) * K);
    const [k, v] = ["key", "value"].map((kind) => places[`${attention}.${kind}`].map(own));
    const scores = products.map((product, s) => (masked && s > row ? -Infinity : product / Math.sqrt(K)));
    const mixed = Float32Array.from(v[0], (_, i) => v.reduce((sum, value, s) => sum + weights[s] * value[i], 0));
    return { q: own(places[`${attention}.query`][row]), k, v, products, scores, weights, mixed, K };
  };

  /* As a table; queries and keys are words. */
  live.byTheNumbers = (places, place, { layer, headNumber, row, queries, keys }) => {
    const { q, k, v, products, scores, weights, mixed, K } = live.numbersOf(places, place, headNumber, row);
    const ofKeys = largestSize([q, ...k]), ofValues = largestSize(v);
    const strip = (numbers, largest, description) => cell(picture([numbers], largest, description));
    const line = (word, s) =>
      make(
        ...["tr", { style: bar(weights[s]) }, head("row", word)],
        ...[strip(k[s], ofKeys, `the key of ${word}`), cell(signed(products[s]))],
        ...[cell(scores[s] === -Infinity ? "−∞" : signed(scores[s])), cell(percent(weights[s]))],
        strip(v[s], ofValues, `the value of ${word}`),
      );
    const titles = ["key", "k", "q · k", `÷ √${K}`, "softmax", "v"].map((text) => head("col", text));
    const asks = make("tr", { class: "asks" }, head("row", "q"), strip(q, ofKeys, "the query"), make("td", { colspan: 4 }));
    const gets = make("tr", { class: "gets" }, head("row", "sum of softmax × v", { colspan: 5 }));
    gets.append(strip(mixed, ofValues, "the mixture of the values"));
    return [
      make("p", { class: "live-says" }, make("b", {}, queries[row]), ` asks in head ${headNumber + 1} of layer ${layer + 1}`),
      make(
        ...["table", { class: "by-numbers" }, make("thead", {}, make("tr", {}, ...titles))],
        make("tbody", {}, asks, ...keys.map(line), gets),
      ),
    ];
  };
})();
