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
  const spot = (x, y, anchor) => ({ x, y, "text-anchor": anchor });
  const beyond = (x, y) => spot(x, y + (y > 0 ? 22 : -12), "middle");

  /* How far words reach, about: left, top, right and bottom. */
  function box(words, { x, y, "text-anchor": anchor }) {
    const width = 7.6 * [...words].length, left = x - { start: 0, middle: width / 2, end: width }[anchor];
    return [left, y - 12, left + width, y + 4];
  }

  /* The first place around (x, y) at which words stay within their plane and lie on nothing that is taken. */
  function beside(words, x, y, taken) {
    const sides = [spot(x + 13, y + 5, "start"), spot(x - 13, y + 5, "end")];
    const [outwards, inwards] = x < 0 ? sides.reverse() : sides;
    const before = spot(x, y + (y > 0 ? -12 : 22), "middle");
    const isFree = (place) => {
      const [left, top, right, bottom] = box(words, place);
      return left >= -128 && right <= 128 && taken.every(([a, b, c, d]) => right <= a || c <= left || bottom <= b || d <= top);
    };
    return [outwards, beyond(x, y), before, inwards].find(isFree) ?? beyond(x, y);
  }

  live.component("attention_by_hand", (figure, opening) => {
    const { words, unit, reach } = opening;
    const [compare, mix] = figure.querySelectorAll("svg");
    const rows = [...figure.querySelectorAll("tbody tr")];
    let state = structuredClone(opening);

    const asking = () => words.indexOf(state.asking);
    const place = ([x, y]) => [unit * x, 0 - unit * y]; // in SVG y grows downwards
    /* What the words and the tips of arrows take up. */
    const taken = (vectors) =>
      vectors.map(place).flatMap(([x, y], i) => [box(words[i], beyond(x, y)), [x - 9, y - 9, x + 9, y + 9]]);

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
        set(text, kind === "query" ? beside(`${state.asking} asks`, x, y, taken(state.keys)) : beyond(x, y));
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
      set(mix.querySelector("text.mixed"), beside(`${state.asking} gets`, x, y, taken(state.values)));
      const largest = Math.max(...weights);
      say(figure, { asking: state.asking, most: words[weights.indexOf(largest)], share: percent(largest) });
      for (const [i, button] of choices.entries()) button.setAttribute("aria-pressed", i === asking());
    }
    redraw();
  });
})();
