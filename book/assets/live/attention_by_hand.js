/* Attention by hand: the query of one word, the keys and the values of all, as arrows to drag. */
(() => {
  const { softmax, percent, signed, make, set, say, addControls, handle } = live;
  const STEP = 0.1; // of an arrow key

  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

  /* One query (d_k), keys (T, d_k), values (T, d_v). */
  live.attention = (q, k, v) => {
    const scores = k.map((key) => dot(q, key)); // (T)
    const scaled = scores.map((score) => score / Math.sqrt(q.length));
    const weights = softmax(scaled);
    const mixed = v[0].map((_, i) => dot(weights, v.map((value) => value[i]))); // (d_v)
    return { scores, scaled, weights, mixed };
  };

  /* The corners of the convex hull of points (T, 2), by Andrew's monotone chain. */
  live.hull = (points) => {
    const turn = ([ax, ay], [bx, by], [cx, cy]) => (bx - ax) * (cy - by) - (by - ay) * (cx - bx);
    const half = (points) => {
      const chain = [];
      for (const point of points) {
        while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
        chain.push(point);
      }
      return chain.slice(0, -1);
    };
    const ordered = [...points].sort(([ax, ay], [bx, by]) => ax - bx || ay - by);
    return [...half(ordered), ...half(ordered.reverse())];
  };

  /* The path of an arrow from the middle of a plane, and the places of labels: as in live.py. */
  const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  function arrow(x, y) {
    const angle = Math.atan2(y, x);
    const [left, right] = [angle - 0.45, angle + 0.45].map((a) => at(x - 9 * Math.cos(a), y - 9 * Math.sin(a)));
    return `M0 0L${at(x, y)}M${left}L${at(x, y)}L${right}`;
  }
  const beyond = (x, y) => ({ x, y: y + (y > 0 ? 22 : -12), "text-anchor": "middle" });
  const beside = (x, y) =>
    Math.abs(x) > 70 ? beyond(x, y) : { x: x + (x >= 0 ? 13 : -13), y: y + 5, "text-anchor": x >= 0 ? "start" : "end" };

  live.component("attention_by_hand", (figure, opening) => {
    const { words, unit, reach } = opening;
    const [compare, mix] = figure.querySelectorAll("svg");
    const rows = [...figure.querySelectorAll("tbody tr")];
    let state = structuredClone(opening);

    const asking = () => words.indexOf(state.asking);
    const place = ([x, y]) => [unit * x, 0 - unit * y]; // in SVG y grows downwards

    /* The arrows: nth of its kind in the drawing, and which row of the state it is. */
    const arrows = [
      ...words.map((word, i) => add("key", compare, `the key of ${word}`, i, "keys", () => i)),
      add("query", compare, "the query", 0, "queries", asking),
      ...words.map((word, i) => add("value", mix, `the value of ${word}`, i, "values", () => i)),
    ];
    function add(kind, svg, label, nth, list, row) {
      const go = (...vector) => {
        state[list][row()] = vector.map((a) => Math.round(100 * Math.min(reach, Math.max(-reach, a))) / 100);
        redraw();
      };
      const vector = () => state[list][row()]; // (2)
      const path = svg.querySelectorAll(`path.${kind}`)[nth], text = svg.querySelectorAll(`text.${kind}`)[nth];
      const moveHandle = handle(svg, {
        ...{ kind, label, low: -reach, high: reach },
        drag: (x, y) => go(x / unit, -y / unit),
        step: (right, up) => go(vector()[0] + STEP * right, vector()[1] + STEP * up),
      });
      return { kind, row, vector, path, text, moveHandle };
    }

    const choices = words.map((word) => {
      const button = make("button", { type: "button" }, word);
      button.addEventListener("click", () => {
        state.asking = word;
        redraw();
      });
      return button;
    });
    const choice = make("span", { class: "live-choice", role: "group", "aria-label": "Who asks?" }, ...choices);
    addControls(figure, "Drag the tip of any arrow. Who asks?", [choice], () => {
      state = structuredClone(opening);
      redraw();
    });

    function redraw() {
      const { scores, scaled, weights, mixed } = live.attention(state.queries[asking()], state.keys, state.values);
      const told = words.map((word, i) => `${percent(weights[i])} from ${word}`).join(", ");
      for (const { kind, row, vector, path, text, moveHandle } of arrows) {
        const [x, y] = place(vector());
        path.setAttribute("d", arrow(x, y));
        set(text, kind === "query" ? beside(x, y) : beyond(x, y));
        if (kind === "value") path.setAttribute("stroke-width", (1.5 + 5 * weights[row()]).toFixed(2));
        const [across, up] = vector().map((a) => a.toFixed(1));
        moveHandle(x, y, { now: across, text: `${across} across, ${up} up; ${state.asking} takes ${told}` });
      }
      for (const [i, row] of rows.entries()) {
        const texts = [signed(scores[i]), signed(scaled[i]), percent(weights[i])];
        row.querySelectorAll("td").forEach((cell, j) => (cell.textContent = texts[j]));
        row.style.backgroundSize = `${(100 * weights[i]).toFixed(1)}% 4px`; // its bar
      }
      const corners = live.hull(state.values).map((corner) => place(corner).map((a) => a.toFixed(1)).join());
      mix.querySelector("polygon").setAttribute("points", corners.join(" "));
      const [x, y] = place(mixed);
      set(mix.querySelector("circle.mixed"), { cx: x.toFixed(1), cy: y.toFixed(1) });
      set(mix.querySelector("text.mixed"), beside(x, y));
      const largest = Math.max(...weights);
      say(figure, { asking: state.asking, most: words[weights.indexOf(largest)], share: percent(largest) });
      for (const [i, button] of choices.entries()) button.setAttribute("aria-pressed", i === asking());
    }
    redraw();
  });
})();
