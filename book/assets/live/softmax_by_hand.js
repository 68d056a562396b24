/* Softmax by hand: scores to drag, and a factor that all of them are multiplied by. */
(() => {
  const { softmax, percent, make, say, addControls, handle } = live;
  const LARGEST = 12; // factor
  const STEP = 0.1; // of an arrow key, in scores

  /* The shares (T) of scores (T) times a factor, and how far each moves for each unit of its number in the softmax. */
  live.sharesAndSlopes = (scores, factor) => {
    const shares = softmax(scores.map((score) => factor * score));
    return { shares, slopes: shares.map((p) => p * (1 - p)) };
  };

  /* A bound in words, to two digits. */
  const bounded = (number) => (number >= 0.005 ? `at most ${number.toFixed(2)}` : "less than 0.01");

  /* Where a bar of the drawing begins. */
  const begin = (path) => path.getAttribute("d").match(/-?[\d.]+/g).map(Number);

  live.component("softmax_by_hand", (figure, opening) => {
    const { words, unit, full, highest } = opening;
    const svg = figure.querySelector("svg");
    const shown = [...figure.querySelectorAll(".share")]; // two for each word
    let state = structuredClone(opening);

    const bars = [...figure.querySelectorAll(".score")].map((path, i) => {
      const [x, y] = begin(path);
      const go = (score) => {
        state.scores[i] = Math.round(100 * Math.min(highest, Math.max(-highest, score))) / 100;
        redraw();
      };
      const moveHandle = handle(svg, {
        ...{ kind: "score", label: `the score of ${words[i]}`, low: -highest, high: highest },
        drag: (to) => go((to - x) / unit),
        step: (right, up) => go(state.scores[i] + STEP * (right + up)),
      });
      return { path, x, y, moveHandle };
    });

    const slider = make("input", { type: "range", min: 1, max: LARGEST, step: 0.5, "aria-label": "factor of all scores" });
    slider.addEventListener("input", () => {
      state.factor = Number(slider.value);
      redraw();
    });
    const times = make("b", {}, "× ", make("span", { "data-says": "factor" }));
    addControls(figure, "Drag the scores, or their factor:", [slider, times], () => {
      state = structuredClone(opening);
      redraw();
    });

    function redraw() {
      const { scores, factor } = state;
      const [once, multiplied] = [1, factor].map((factor) => live.sharesAndSlopes(scores, factor));
      for (const [i, { path, x, y, moveHandle }] of bars.entries()) {
        const score = scores[i].toFixed(1), end = x + unit * scores[i];
        path.setAttribute("d", `M${x} ${y}h${(unit * scores[i]).toFixed(1)}`);
        const told = `${percent(once.shares[i])}, and times ${factor} ${percent(multiplied.shares[i])}`;
        moveHandle(end, y, { now: score, text: `${score}; its share is ${told}` });
        show(shown[2 * i], once.shares[i], once.slopes[i]);
        show(shown[2 * i + 1], multiplied.shares[i], multiplied.slopes[i]);
      }
      const [before, steepest] = [once, multiplied].map(({ slopes }) => Math.max(...slopes));
      say(figure, { factor, before: bounded(before), steepest: bounded(steepest) });
      slider.value = factor;
      slider.setAttribute("aria-valuetext", `times ${factor}; the steepest slope is ${steepest.toFixed(2)}`);
      slider.style.setProperty("--filled", `${(100 * (factor - 1)) / (LARGEST - 1)}%`);
    }

    /* A share's bar, with its slope as an arrow that begins where the bar ends: as in live.py. */
    function show(group, p, slope) {
      const [bar, nudge] = group.querySelectorAll("path");
      const [x, y] = begin(bar);
      const head = Math.min(5, full * slope).toFixed(1);
      say(group, { share: percent(p), slope: slope.toFixed(2) });
      bar.setAttribute("d", `M${x} ${y}h${(full * p).toFixed(1)}`);
      const tip = `m-${head} -${head}l${head} ${head}l-${head} ${head}`;
      nudge.setAttribute("d", `M${(x + full * p).toFixed(1)} ${y}h${(full * slope).toFixed(1)}${tip}`);
    }
    redraw();
  });
})();
