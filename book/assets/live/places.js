/* What stands in each box of Figure 1: a title, whose tokens its rows are, and tensors to look at, under the names that
   engine.trace gives them. Their shapes are in the letters of the notation. */
(() => {
  const attention = (name, rows, keys) => [
    { label: "weights", name: `${name}.weights`, shape: ["H", rows, keys], shares: true },
    { label: "q · k", name: `${name}.products`, shape: ["H", rows, keys] },
    { label: "queries", name: `${name}.query`, shape: [rows, "D"] },
    { label: "keys", name: `${name}.key`, shape: [keys, "D"] },
    { label: "values", name: `${name}.value`, shape: [keys, "D"] },
    { label: "heads side by side", name: `${name}.heads`, shape: [rows, "D"] },
    { label: "output", name, shape: [rows, "D"] },
  ];
  const sum = (name, rows) => [
    { label: "sum, normalised", name: `${name}_residual`, shape: [rows, "D"] },
    { label: "sum", name: `${name}_residual.sum`, shape: [rows, "D"] },
  ];
  const network = (name, rows) => [
    { label: "output", name, shape: [rows, "D"] },
    { label: "inside, before the cut at zero", name: `${name}.inner`, shape: [rows, "d_ff"] },
  ];
  const embedding = (side, rows) => [{ label: "rows of E times √d_model", name: `${side}_embedding`, shape: [rows, "D"] }];
  const positions = (side, rows) => [
    { label: "sum", name: `${side}_positions`, shape: [rows, "D"] },
    { label: "positions alone", name: `${side}_positions`, minus: `${side}_embedding`, shape: [rows, "D"] },
  ];

  const part = (side, title, name, views, more) => (layer) => {
    const full = `${side}.layers.${layer}.${name}`;
    const words = `${side === "encoder" ? "Encoder" : "Decoder"}, layer ${layer + 1}: ${title}`;
    return { title: words, views: views(full), layered: true, ...more?.(full) };
  };
  const heads = (name) => ({ attention: name });
  const masked = (name) => ({ attention: name, masked: true });
  const fixed = (title, views) => () => ({ title, views });

  const PLACES = {
    source: fixed("Source: token ids", [{ label: "ids", ids: true, shape: ["S"] }]),
    "source-embedding": fixed("Source: embedding", embedding("source", "S")),
    "source-positions": fixed("Source: embedding plus position", positions("source", "S")),
    "self-attention": part("encoder", "self-attention", "self_attention", (name) => attention(name, "S", "S"), heads),
    "encoder-add-1": part("encoder", "add to the attention's input", "self_attention", (name) => sum(name, "S")),
    "encoder-network": part("encoder", "feed-forward", "feed_forward", (name) => network(name, "S")),
    "encoder-add-2": part("encoder", "add to the network's input", "feed_forward", (name) => sum(name, "S")),
    memory: fixed("Memory: what the decoder reads", [{ label: "memory", name: "encoder", shape: ["S", "D"] }]),
    target: fixed("Target so far: token ids", [{ label: "ids", ids: true, shape: ["T"] }]),
    "target-embedding": fixed("Target: embedding", embedding("target", "T")),
    "target-positions": fixed("Target: embedding plus position", positions("target", "T")),
    "masked-attention": part("decoder", "masked attention", "self_attention", (name) => attention(name, "T", "T"), masked),
    "decoder-add-1": part("decoder", "add to the masked attention's input", "self_attention", (name) => sum(name, "T")),
    "cross-attention": part("decoder", "attention to the source", "cross_attention", (name) => attention(name, "T", "S"), heads),
    "decoder-add-2": part("decoder", "add to the cross-attention's input", "cross_attention", (name) => sum(name, "T")),
    "decoder-network": part("decoder", "feed-forward", "feed_forward", (name) => network(name, "T")),
    "decoder-add-3": part("decoder", "add to the network's input", "feed_forward", (name) => sum(name, "T")),
    linear: fixed("Linear: a logit for each word of the vocabulary", [
      { label: "logits", name: "output", shape: ["T", "V"], likeliest: true },
    ]),
    softmax: fixed("Softmax: a probability for each word of the vocabulary", [
      { label: "probabilities", name: "output", softmax: true, shares: true, shape: ["T", "V"], likeliest: true },
    ]),
  };

  /* What a box holds, for a layer counted from 0 if it is inside one. */
  live.place = (box, layer) => PLACES[box](layer);

  /* The matrix (n, m) of a view, of one head where there are several. */
  live.matrix = (places, { name, minus, softmax, shape }, head) => {
    if (shape[0] === "H") return places[name][head];
    if (minus) return places[name].map((row, t) => row.map((a, i) => a - places[minus][t][i]));
    return softmax ? places[name].map((row) => Float32Array.from(live.softmax([...row]))) : places[name];
  };

  /* The columns of a matrix (n, m) to draw: all, or of the whole vocabulary those that are the two likeliest of a row. */
  live.columns = (matrix, { likeliest }) => {
    const all = [...matrix[0].keys()];
    return likeliest ? [...new Set(matrix.flatMap((row) => live.most([...row], all).slice(0, 2).map(([i]) => i)))] : all;
  };

  /* What a token's vector passes on its way up, as in inside.py: words for each stage, its tensor, and the box it comes from. */
  live.stages = (side, layers) => {
    const encoder = side === "source";
    const parts = [["self_attention", encoder ? "self-attention" : "masked attention", "add-1"]];
    if (!encoder) parts.push(["cross_attention", "cross-attention", "add-2"]);
    parts.push(["feed_forward", "feed-forward", encoder ? "add-2" : "add-3"]);
    const column = encoder ? "encoder" : "decoder";
    const ways = [
      { words: "embedding", name: `${side}_embedding`, box: `${side}-embedding` },
      { words: "+ position", name: `${side}_positions`, box: `${side}-positions` },
    ];
    for (let layer = 0; layer < layers; layer++)
      for (const [name, words, add] of parts) {
        const tensor = `${column}.layers.${layer}.${name}_residual`;
        ways.push({ words: `${layer + 1}: ${words}`, name: tensor, box: `${column}-${add}`, layer });
      }
    return ways;
  };
})();
