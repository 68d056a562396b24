/* A beam search as a tree that grows, with the best hypothesis at its left edge, as
   transformer/tutor/search_tree.py draws it. */
(() => {
  const { make, shape, set, say, signed, addControls, asker, slider } = live;
  const WIDEST = 8, STRONGEST = 2; // width and α that one can choose
  const END = "■ end";
  const HALF = { stroke: "currentColor", "stroke-opacity": 0.5 };
  const LOOKS = { best: { stroke: "var(--book-query)", "stroke-width": 3 }, cut: { ...HALF, "stroke-dasharray": "3 4" } };

  /* The finished hypotheses of a search, best first; where none is, those that are open at the end. A way holds the places of
     a hypothesis among those kept at each step. */
  live.ended = (steps, alpha) => {
    const ends = steps.flatMap(({ kept }, t) => kept.map((node, i) => ({ ...node, t, i })));
    const finished = ends.filter((node) => node.finished);
    const found = finished.length ? finished : ends.filter(({ t }) => t === steps.length - 1);
    const ranked = found.map(({ t, i, logProb }) => {
      const way = [i];
      for (; t > 0; t--) way.unshift(steps[t].kept[way[0]].parent);
      return { way, logProb, score: logProb / ((5 + way.length) / 6) ** alpha };
    });
    return ranked.sort((a, b) => b.score - a.score);
  };

  /* Where everything of a tree stands: for each hypothesis its step t, its column, that of its parent, and its kind. */
  live.placed = (steps, best) => {
    let before = [0]; // columns of the hypotheses of the step before
    return steps.flatMap(({ kept }, t) => {
      const key = ({ parent }, i) => [before[parent], i !== best[t], i];
      const order = kept.map((_, i) => i).sort((i, j) => {
        const [a, b] = [key(kept[i], i), key(kept[j], j)];
        return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
      });
      const columns = kept.map((_, i) => order.indexOf(i));
      const goOn = steps[t + 1] ? steps[t + 1].kept.map(({ parent }) => parent) : order;
      const kind = ({ finished }, i) => (i === best[t] ? "best" : finished ? "ended" : goOn.includes(i) ? "open" : "cut");
      const nodes = kept.map((node, i) => {
        return { ...node, t, column: columns[i], above: before[node.parent], kind: kind(node, i) };
      });
      before = columns;
      return nodes;
    });
  };

  live.component("search_tree", (figure, opening) => {
    const { column: COLUMN, row: ROW, longest, typed } = opening;
    const svg = figure.querySelector("svg"), table = figure.querySelector("tbody");
    let { text, width, alpha, steps, pieces, between } = structuredClone(opening);
    let shown = steps.length; // steps of the tree that are drawn
    let followed; // the sentence of the page's translator, once it has another than at the opening

    const ask = asker(figure);
    const box = make("input", { type: "text", "aria-label": "sentence to translate", spellcheck: "false" });
    const [widths, alphas] = [slider("width", 1, WIDEST, 1), slider("α", 0, STRONGEST, 0.1)];
    const chosen = { width: widths, alpha: alphas, step: slider("step", 1, 1, 1) };
    box.addEventListener("input", () => {
      text = box.value;
      search();
    });
    chosen.width.input.addEventListener("input", ({ target }) => {
      width = Number(target.value);
      search();
    });
    chosen.alpha.input.addEventListener("input", ({ target }) => {
      alpha = Number(target.value);
      search();
    });
    chosen.step.input.addEventListener("input", ({ target }) => {
      shown = Number(target.value);
      redraw();
    });
    addControls(figure, "", [...(typed ? [box] : []), ...Object.values(chosen).map(({ label }) => label)], () => {
      if (followed === undefined) return open();
      ({ width, alpha } = opening);
      text = followed; // what the translator still shows
      search();
    });
    function open() {
      ask.stop();
      ask.tell("");
      ({ text, width, alpha, steps, pieces, between } = structuredClone(opening));
      shown = steps.length;
      redraw();
    }
    ask.place(figure.querySelector(".live-controls"));

    /* Search anew, and let the tree grow as the steps come. */
    async function search() {
      fill();
      const vocabulary = await ask("vocabulary", []);
      if (!vocabulary) return;
      const growing = [];
      const each = (step) => {
        ({ pieces, between } = vocabulary);
        growing.push(step);
        [steps, shown] = [growing, growing.length];
        redraw();
      };
      const result = await ask("translate", [text, { width, alpha }], { each });
      if (!result) return;
      if (result.problem) {
        steps = [];
        redraw();
      }
      ask.tell(result.say ?? "");
    }

    /* Follow the translator of the page, once this is seen. */
    const fold = figure.closest("details");
    let behind = false;
    const opened = () => {
      [followed, behind] = [undefined, false];
      open();
    };
    const follow = () => {
      if (!behind || fold?.open === false) return;
      behind = false;
      search();
    };
    const heard = ({ detail }) => {
      if (detail.text === followed) return; // the same sentence, of which another word was chosen
      [text, followed, behind] = [detail.text, detail.text, true];
      follow();
    };
    if (!typed) {
      document.addEventListener("translated", heard);
      document.addEventListener("translator-reset", opened);
    }
    fold?.addEventListener("toggle", follow);

    const whole = ({ token }) => (pieces[token] === "</s>" ? END : pieces[token].trim() || "␣");
    const label = (node) => {
      const piece = [...whole(node)];
      return piece.length > longest ? `${piece.slice(0, longest - 3).join("")}…` : piece.join("");
    };
    const said = ({ way }) => {
      const nodes = way.map((i, t) => steps[t].kept[i]).filter(({ finished }) => !finished);
      return nodes.map(({ token }) => pieces[token]).join(between).trim() || END;
    };

    /* What stands for a hypothesis: a line from below its parent, its token, its log-probability. */
    function drawn({ kind, column, above, t, logProb, ...node }) {
      const x = COLUMN * (column + 0.5), y = ROW * t + 16, from = COLUMN * (above + 0.5);
      const top = y - ROW + 20, end = y - 13, half = (top + end) / 2;
      const at = (...place) => place.map((a) => a.toFixed(1)).join(" ");
      const d = `M${at(from, top)}C${at(from, half, x, half, x, end)}`;
      const line = shape("path", { class: kind, d, ...(LOOKS[kind] ?? HALF) });
      const faint = kind === "cut" ? { "fill-opacity": 0.65 } : {};
      const words = { class: kind, x: x.toFixed(1), "text-anchor": "middle", fill: "currentColor", ...faint };
      const bold = kind === "best" ? { "font-weight": "bold" } : {};
      const token = shape("text", { ...words, y: y.toFixed(1), "font-size": 13, ...bold }, label(node));
      if (label(node) !== whole(node)) token.append(shape("title", {}, whole(node))); // read aloud, and shown to a mouse
      const number = shape("text", { ...words, y: (y + 14).toFixed(1), "font-size": 12 }, signed(logProb));
      return { lines: t ? [line] : [], words: [token, number] };
    }

    /* What is asked for; what was found for it is said by redraw. */
    function fill() {
      if (box.value !== text) box.value = text;
      chosen.width.show(width, width);
      chosen.alpha.show(alpha, alpha.toFixed(1));
    }

    function redraw() {
      fill();
      say(figure, { text, width, alpha: Number(alpha.toFixed(1)) });
      set(chosen.step.input, { max: steps.length || 1 });
      if (!steps.length) return clear();
      const part = steps.slice(0, shown), found = live.ended(part, alpha);
      const parts = live.placed(part, found[0].way).map(drawn);
      const size = [COLUMN * Math.max(...part.map(({ kept }) => kept.length)), ROW * part.length];
      set(svg, { viewBox: `0 0 ${size.join(" ")}`, style: `width: ${size[0]}px; min-width: ${size[0]}px` });
      svg.replaceChildren(...parts.flatMap(({ lines }) => lines), ...parts.flatMap(({ words }) => words));
      const cells = (one) => [signed(one.logProb), one.way.length, signed(one.score)].map((number) => make("td", {}, number));
      const over = found.filter(({ way }) => part[way.length - 1].kept[way.at(-1)].finished || shown === steps.length);
      table.replaceChildren(...over.map((one) => make("tr", {}, make("th", { scope: "row" }, said(one)), ...cells(one))));
      const cut = part.at(-1).cut.map((node) => `${label(node)} ${signed(node.logProb)}`).join(", ");
      say(figure, { best: said(found[0]), step: shown, cut: cut || "none" });
      chosen.step.show(shown, `${shown} of ${steps.length}`);
      svg.parentElement.dispatchEvent(new Event("toggle")); // it may be wider than its box
    }

    /* There is nothing to be searched for. */
    function clear() {
      svg.replaceChildren();
      set(svg, { style: "display: none" }); // until it is drawn again
      table.replaceChildren();
      say(figure, { best: "", step: 0, cut: "none" });
      chosen.step.show(1, "none");
    }
    redraw();
  });
})();
