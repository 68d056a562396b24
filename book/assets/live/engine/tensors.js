/* Arithmetic on vectors and matrices. A vector (D) is a Float32Array, a matrix (T, D) a list of T vectors, its rows.
   Sums are kept in double precision and rounded once. */
globalThis.engine ??= {};
(() => {
  /* The product of two vectors (D), in four sums: a processor works on them side by side. */
  function dot(a, b) {
    const D = a.length;
    let p = 0, q = 0, r = 0, s = 0, i = 0;
    for (; i + 3 < D; i += 4) {
      p += a[i] * b[i];
      q += a[i + 1] * b[i + 1];
      r += a[i + 2] * b[i + 2];
      s += a[i + 3] * b[i + 3];
    }
    for (; i < D; i++) p += a[i] * b[i];
    return p + q + r + s;
  }

  /* Add a multiple of one vector (D) to another, in place. */
  function addTimes(sum, factor, vector) {
    for (let i = 0; i < sum.length; i++) sum[i] += factor * vector[i];
  }

  const zeros = (n, d) => Array.from({ length: n }, () => new Float32Array(d)); // (n, d)
  const add = (x, y) => x.map((row, t) => row.map((a, i) => a + y[t][i])); // (T, D)
  const scale = (x, factor) => x.map((row) => row.map((a) => factor * a)); // (T, D)
  const relu = (x) => x.map((row) => row.map((a) => Math.max(0, a))); // (T, D)

  /* xWᵀ + b: (T, in) → (T, out), for a matrix of weights (out, in) and a bias (out), as nn.Linear has them. */
  function linear(x, weight, bias) {
    const y = zeros(x.length, weight.length);
    for (let o = 0; o < weight.length; o++)
      for (let t = 0; t < x.length; t++) y[t][o] = dot(x[t], weight[o]) + (bias ? bias[o] : 0);
    return y;
  }

  /* Each row of (T, D) with mean 0 and variance 1, times gain (D), plus bias (D) (paper §3.1). */
  const layerNorm = (x, gain, bias) =>
    x.map((row) => {
      const mean = row.reduce((sum, a) => sum + a, 0) / row.length;
      const variance = row.reduce((sum, a) => sum + (a - mean) ** 2, 0) / row.length;
      const deviation = Math.sqrt(variance + 1e-5);
      return row.map((a, i) => (gain[i] * (a - mean)) / deviation + bias[i]);
    });

  /* Shares (S) of scores (S); a score of −Infinity gets none. */
  const softmax = (scores) => logSoftmax(scores).map(Math.exp);

  /* Their logarithms. The largest score is taken away from all, which changes no share, so that nothing overflows. */
  function logSoftmax(scores) {
    let [largest, sum] = [-Infinity, 0];
    for (const score of scores) largest = Math.max(largest, score);
    for (const score of scores) sum += Math.exp(score - largest);
    const offset = largest + Math.log(sum);
    return scores.map((score) => score - offset);
  }

  /* The k largest of many numbers, largest first, each with its index. */
  function largest(numbers, k) {
    const found = [];
    for (let index = 0; index < numbers.length; index++) {
      if (found.length === k && !(numbers[index] > found[k - 1].number)) continue;
      let place = found.length;
      while (place && found[place - 1].number < numbers[index]) place--;
      found.splice(place, 0, { index, number: numbers[index] });
      if (found.length > k) found.pop();
    }
    return found;
  }

  Object.assign(engine, { dot, addTimes, zeros, add, scale, relu, linear, layerNorm, softmax, logSoftmax, largest });
})();
