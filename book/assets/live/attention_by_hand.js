/* Attention by hand: the query of one word, the keys and the values of all, as arrows to drag. */
(() => {
  const { softmax, percent, signed, make, set, handle } = live;
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

  /* The corners of the convex hull of points, by Andrew's monotone chain. */
  live.hull = (points) => {
    const cross = ([ax, ay], [bx, by], [cx, cy]) => (bx - ax) * (cy - by) - (by - ay) * (cx - bx);
    const half = (points) => {
      const chain = [];
      for (const point of points) {
        while (chain.length > 1 && cross(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
        chain.push(point);
      }
      return chain.slice(0, -1);
    };
    const ordered = [...points].sort(([ax, ay], [bx, by]) => ax - bx || ay - by);
    return [...half(ordered), ...half(ordered.reverse())];
  };

  /* The path of an arrow from the middle of a plane to a place. */
  function arrow(x, y) {
    const angle = Math.atan2(y, x);
    const [left, right] = [-0.45, 0.45].map((turn) => `${(x - 9 * Math.cos(angle + turn)).toFixed(1)} ${(y - 9 * Math.sin(angle + turn)).toFixed(1)}`);
    const tip = `${x.toFixed(1)} ${y.toFixed(1)}`;
    return `M0 0L${tip}M${left}L${tip}L${right}`;
  }
  const beside = (x, y) => ({ x: x + (x >= 0 ? 13 : -13), y: y + 5, "text-anchor": x >= 0 ? "start" : "end" });
  const beyond = (x, y) => ({ x, y: y + (y > 0 ? 22 : -12) });

  live.component("attention_by_hand", (figure, opening) => {
    const { words, unit, reach } = opening;
    const state = structuredClone(opening);
    const all = (selector) => [...figure.querySelectorAll(selector)];
    const [compare, mix] = all("svg");
    const says = figure.querySelector(".live-says");
    const rows = all("tbody tr").map((row) => row.querySelectorAll("td"));
    const asking = () => words.indexOf(state.asking);
    const place = ([x, y]) => [unit * x, 0 - unit * y];

    /* An arrow: which path, which label, and where in the state its two numbers are. */
    const arrows = [
      ...words.map((word, i) => ({ kind: "key", name: `the key of ${word}`, svg: compare, i: () => i })),
      { kind: "query", name: "the query", svg: compare, i: asking },
      ...words.map((word, i) => ({ kind: "value", name: `the value of ${word}`, svg: mix, i: () => i })),
    ];
    const lists = { key: "keys", query: "queries", value: "values" };
    for (const one of arrows) {
      const nth = one.kind === "query" ? 0 : one.i();
      one.path = all(`path.${one.kind}`)[nth];
      one.label = all(`text.${one.kind}`)[nth];
      one.vector = () => state[lists[one.kind]][one.i()];
      const go = (x, y) => {
        state[lists[one.kind]][one.i()] = [x, y].map((a) => Math.round(100 * Math.min(reach, Math.max(-reach, a))) / 100);
        redraw();
      };
      one.to = handle(one.svg, {
        kind: one.kind, label: one.name, low: -reach, high: reach,
        drag: (x, y) => go(x / unit, -y / unit),
        step: (right, up) => go(one.vector()[0] + STEP * right, one.vector()[1] + STEP * up),
      });
    }

    const asks = words.map((word) => {
      const button = make("button", { type: "button" }, word);
      button.addEventListener("click", () => {
        state.asking = word;
        redraw();
      });
      return button;
    });
    const reset = make("button", { type: "button", class: "live-reset" }, "Reset");
    reset.addEventListener("click", () => {
      Object.assign(state, structuredClone(opening));
      redraw();
    });
    const choice = make("span", { class: "live-choice", role: "group", "aria-label": "Which word asks?" }, ...asks);
    const controls = make("div", { class: "live-controls" }, "Drag the tip of any arrow. Who asks?", choice, reset);
    says.after(controls);
    for (const svg of [compare, mix]) svg.setAttribute("role", "group");

    function redraw() {
      const { scores, scaled, weights, mixed } = live.attention(state.queries[asking()], state.keys, state.values);
      const most = words[weights.indexOf(Math.max(...weights))];
      const told = `${state.asking} takes ${words.map((word, i) => `${percent(weights[i])} from ${word}`).join(", ")}`;
      for (const one of arrows) {
        const [x, y] = place(one.vector());
        one.path.setAttribute("d", arrow(x, y));
        set(one.label, one.kind === "query" ? beside(x, y) : beyond(x, y));
        const [across, up] = one.vector().map((a) => a.toFixed(1));
        one.to(x, y, { now: across, text: `${across} across, ${up} up; ${told}` });
        if (one.kind === "value") one.path.setAttribute("stroke-width", (1.5 + 5 * weights[one.i()]).toFixed(2));
        if (one.kind === "query") one.label.textContent = `${state.asking} asks`;
      }
      for (const [i, [score, divided, share]] of rows.entries()) {
        score.textContent = signed(scores[i]);
        divided.textContent = signed(scaled[i]);
        share.firstElementChild.style.width = `${(100 * weights[i]).toFixed(1)}%`;
        share.lastElementChild.textContent = percent(weights[i]);
      }
      const corners = live.hull(state.values).map((corner) => place(corner).map((a) => a.toFixed(1)).join());
      figure.querySelector("polygon").setAttribute("points", corners.join(" "));
      const [cx, cy] = place(mixed);
      set(figure.querySelector("circle.mixed"), { cx: cx.toFixed(1), cy: cy.toFixed(1) });
      const label = figure.querySelector("text.mixed");
      set(label, beside(cx, cy));
      label.textContent = `${state.asking} gets`;
      const share = percent(Math.max(...weights));
      says.replaceChildren(make("b", {}, state.asking), " takes most from ", make("b", {}, most), `: ${share}`);
      for (const [i, button] of asks.entries()) button.setAttribute("aria-pressed", words[i] === state.asking);
    }
    redraw();
  });
})();
