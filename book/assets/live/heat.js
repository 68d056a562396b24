/* Numbers as pictures, as tools/pages/inside.py draws them: a pixel for each number, which the page stretches. */
(() => {
  const { make } = live;
  const POSITIVE = [1, 115, 178], NEGATIVE = [209, 127, 0]; // blue and orange of transformer/tutor/figures.py

  /* The largest size among the numbers of a matrix (n, m). */
  live.largestSize = (rows) => rows.reduce((most, row) => row.reduce((most, a) => Math.max(most, Math.abs(a)), most), 0);

  /* A matrix (n, m): the more ink, the larger a number is beside `largest`; point(i, j) is told what the reader points at. */
  live.picture = (rows, largest, description, point) => {
    const [n, m] = [rows.length, rows[0].length];
    const canvas = make("canvas", { class: "heat-map", width: m, height: n, role: "img", "aria-label": description });
    const image = new ImageData(m, n);
    rows.forEach((row, i) =>
      row.forEach((number, j) => {
        const ink = largest ? Math.round((255 * Math.abs(number)) / largest) : 0;
        image.data.set([...(number < 0 ? NEGATIVE : POSITIVE), ink], 4 * (i * m + j));
      }),
    );
    canvas.getContext("2d").putImageData(image, 0, 0);
    const pointed = ({ offsetX, offsetY }) => {
      const place = (offset, length, count) => Math.min(count - 1, Math.max(0, Math.floor((offset / length) * count)));
      point(place(offsetY, canvas.clientHeight, n), place(offsetX, canvas.clientWidth, m));
    };
    if (point) for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, pointed);
    return canvas;
  };

  /* A matrix with a label for each row, which chooses it, and perhaps one for each column. */
  live.heat = ({ rows, largest, labels, columns = [], chosen, choose, description, point }) => {
    const label = (word, i) => {
      const button = make("button", { type: "button", "data-key": `row ${i}`, "aria-pressed": i === chosen }, word);
      button.classList.toggle("is-chosen", i === chosen);
      button.addEventListener("click", () => choose(i));
      return button;
    };
    return make(
      ...["div", { class: "heat", style: `--rows: ${rows.length}; --columns: ${columns.length}` }],
      make("div", { class: "heat-rows", role: "group", "aria-label": "the token to follow" }, ...labels.map(label)),
      live.picture(rows, largest, description, point),
      make("div", { class: "heat-columns" }, ...columns.map((word) => make("span", {}, word))),
    );
  };

  /* A bar in the ink of the text below an element: as in transformer/tutor/live.py. */
  live.bar = (share) =>
    `background: linear-gradient(currentColor, currentColor) no-repeat 0 100% / ${(100 * share).toFixed(1)}% 4px`;

  /* Shares by name, each with its bar. */
  live.bars = (shares) => {
    const item = ([name, share]) =>
      make("li", { style: live.bar(share) }, make("span", {}, name), ` ${(100 * share).toFixed(1)}%`);
    return make("ol", { class: "likeliest" }, ...shares.map(item));
  };
})();
