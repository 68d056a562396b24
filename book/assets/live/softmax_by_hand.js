/* Softmax by hand: scores to drag, and a factor that all of them are multiplied by. */
(() => {
  const { softmax, percent, make, set, handle } = live;
  const HIGHEST = 3; // score
  const LARGEST = 12; // factor
  const STEP = 0.1; // of an arrow key

  /* Of scores (T) and the same times a factor: the shares (T), and how far each moves for each unit of its number. */
  live.sharesAndSlopes = (scores, factor) => {
    const shares = softmax(scores.map((score) => factor * score));
    return { shares, slopes: shares.map((p) => p * (1 - p)) };
  };

  live.component("softmax_by_hand", (figure, opening) => {
    const { words, unit, full } = opening;
    const state = structuredClone(opening);
    const svg = figure.querySelector("svg");
    const says = figure.querySelector(".live-says");
    const shown = [...figure.querySelectorAll(".share")]; // two for each word
    const bars = [...figure.querySelectorAll(".score")].map((path, i) => {
      const [x, y] = begin(path);
      const go = (score) => {
        state.scores[i] = Math.round(100 * Math.min(HIGHEST, Math.max(-HIGHEST, score))) / 100;
        redraw();
      };
      const to = handle(svg, {
        kind: "key", label: `the score of ${words[i]}`, low: -HIGHEST, high: HIGHEST,
        drag: (at) => go((at - x) / unit),
        step: (right, up) => go(state.scores[i] + STEP * (right + up)),
      });
      return { path, x, y, to };
    });

    const slider = make("input", { type: "range", min: 1, max: LARGEST, step: 0.5, "aria-label": "the factor of all scores" });
    slider.addEventListener("input", () => {
      state.factor = Number(slider.value);
      redraw();
    });
    const means = make("span", { class: "live-means" });
    const reset = make("button", { type: "button", class: "live-reset" }, "Reset");
    reset.addEventListener("click", () => {
      Object.assign(state, structuredClone(opening));
      redraw();
    });
    says.after(make("div", { class: "live-controls" }, "Drag the scores, or the factor:", slider, means, reset));
    svg.setAttribute("role", "group");

    function begin(path) {
      return path.getAttribute("d").match(/-?[\d.]+/g).map(Number);
    }

    function redraw() {
      const columns = [1, state.factor].map((factor) => live.sharesAndSlopes(state.scores, factor));
      for (const [i, { path, x, y, to }] of bars.entries()) {
        const score = state.scores[i];
        path.setAttribute("d", `M${x} ${y}h${(unit * score).toFixed(1)}`);
        const told = columns.map(({ shares }, j) => `${percent(shares[i])} at × ${[1, state.factor][j]}`).join(", ");
        to(x + unit * score, y, { now: score.toFixed(1), text: `${score.toFixed(1)}; its share is ${told}` });
        for (const [j, { shares, slopes }] of columns.entries()) show(shown[2 * i + j], shares[i], slopes[i]);
      }
      const [before, now] = columns.map(({ slopes }) => Math.max(...slopes).toFixed(2));
      says.replaceChildren("Scores × ", make("b", {}, `${state.factor}`), ": a small nudge of a score moves its share at most ");
      says.append(make("b", {}, now), ` times as far (× 1: ${before})`);
      figure.querySelector(".factor").textContent = `softmax(${state.factor} s)`;
      slider.value = state.factor;
      slider.setAttribute("aria-valuetext", `times ${state.factor}; the steepest slope is ${now}`);
      slider.style.setProperty("--filled", `${(100 * (state.factor - 1)) / (LARGEST - 1)}%`);
      means.textContent = `× ${state.factor}`;
    }

    /* A share's bar, with its slope as an arrow that begins where the bar ends. */
    function show(group, p, slope) {
      const bar = group.querySelector(".bar");
      const [x, y] = begin(bar);
      const head = Math.min(5, full * slope).toFixed(1);
      group.querySelector("text").textContent = percent(p);
      group.querySelector(".slope").textContent = slope.toFixed(2);
      bar.setAttribute("d", `M${x} ${y}h${(full * p).toFixed(1)}`);
      const tip = `m${-head} ${-head}l${head} ${head}l${-head} ${head}`;
      group.querySelector(".nudge").setAttribute("d", `M${(x + full * p).toFixed(1)} ${y}h${(full * slope).toFixed(1)}${tip}`);
    }
    redraw();
  });
})();
