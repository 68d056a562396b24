/* Decoding by hand: a translation written token by token; what each step computes, what the cache keeps of the steps before,
   and the likeliest next tokens, of which any can be taken. */
(() => {
  const { chance, make, shape, say, addControls, isOff, turnOff, asker } = live;
  const EOS = 2;
  const MOST = 14; // tokens that have room

  /* Additions and multiplications in the decoder's products for token n, where (a, b) times (b, c) takes 2abc. */
  live.operations = ({ N, d, d_ff, S }, n, cached) => {
    const rows = cached ? 1 : n; // tokens that pass through the layers
    const memory = cached && n > 1 ? 0 : S; // tokens of the source that get keys and values
    const projections = 6 * rows * d * d + 2 * memory * d * d;
    const attention = 2 * rows * n * d + 2 * rows * S * d; // scores and means, over own tokens and the source's
    return 2 * N * (projections + 2 * rows * d * d_ff + attention);
  };

  const counted = (number) => number.toLocaleString("en-US");

  live.component("decoding_by_hand", (figure, opening) => {
    const { sentence, sizes, column } = opening;
    const cells = figure.querySelector("svg .cells"), likeliest = figure.querySelector(".live-next"), ask = asker(figure);
    const found = { [opening.written]: opening.next }; // the likeliest next tokens with their probabilities, by what is written
    let { written, pieces } = opening, cached = true, vocabulary; // the last is asked for once

    const buttons = ["Back", "Next"].map((name) => make("button", { type: "button" }, name));
    const [back, next] = buttons;
    back.addEventListener("click", () => isOff(back) || go(written.slice(0, -1)));
    next.addEventListener("click", () => isOff(next) || go([...written, found[written][0][0]]));
    const ways = { "with a cache": true, without: false };
    const choices = Object.entries(ways).map(([name, way]) => {
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => {
        cached = way;
        redraw();
      });
      return { button, way };
    });
    const choice = make("span", { class: "live-choice", role: "group", "aria-label": "What is computed" });
    choice.append(...choices.map(({ button }) => button));
    addControls(figure, "Bright: computed now", [...buttons, choice], () => {
      ask.stop();
      ask.tell("");
      ({ written } = opening);
      cached = true;
      redraw();
    });
    ask.place(choice);
    for (const chip of likeliest.querySelectorAll("span")) chip.remove();

    /* Let the model continue what is to be written. */
    async function go(tokens) {
      if (!found[tokens] && tokens.at(-1) !== EOS) {
        const search = { width: 5, prefix: tokens, maxLength: tokens.length + 1 };
        const result = await ask("translate", [sentence, search]);
        if (result) vocabulary ??= await ask("vocabulary", []);
        if (!result || !vocabulary) return; // something else was asked, or the model did not come
        ({ pieces } = vocabulary);
        const [before, { kept }] = [result.history.at(-2)?.kept[0].logProb ?? 0, result.history.at(-1)];
        found[tokens] = kept.map(({ token, logProb }) => [token, Math.exp(logProb - before)]);
      }
      written = tokens;
      redraw();
    }

    function redraw() {
      const ended = written.at(-1) === EOS, n = written.length + !ended; // tokens that have gone into the decoder
      const words = ["<s>", ...written.map((id) => pieces[id])];
      const all = [true, false].map((cached) => Array.from({ length: n }, (_, i) => live.operations(sizes, i + 1, cached)));
      const [[kept, keptSum], [anew, anewSum]] = all.map((each) => [each.at(-1), each.reduce((a, b) => a + b)]);
      say(figure, { n, written: words.slice(1).join(" "), kept: counted(kept), anew: counted(anew) });
      say(figure, { keptSum: counted(keptSum), anewSum: counted(anewSum), more: ended ? "" : " …" });
      cells.replaceChildren(...Array.from({ length: n }, (_, i) => columnOf(i, words[i], !cached || i === n - 1)).flat());
      const old = [...likeliest.querySelectorAll("button")], at = old.indexOf(document.activeElement);
      const chips = ended ? [] : found[written].map(([id, p]) => chip(id, p));
      for (const button of old) button.remove();
      likeliest.append(...chips);
      if (at >= 0) (chips[at] ?? back).focus({ preventScroll: true }); // who takes tokens by the keyboard goes on here
      likeliest.style.visibility = ended ? "hidden" : ""; // nothing follows the end
      turnOff(back, !written.length);
      turnOff(next, ended || n === MOST);
      for (const { button, way } of choices) button.setAttribute("aria-pressed", way === cached);
    }

    /* A token's key and value in each layer, bright if this step computes them: as in live.py. */
    function columnOf(i, word, isNew) {
      const { left, pitch, top, rows } = column, x = left + pitch * i;
      const place = { transform: `translate(${x + 11} ${top - 5}) rotate(-50)`, fill: "currentColor", "font-size": 12 };
      const opacity = { "fill-opacity": isNew ? 1 : 0.25 };
      const cells = rows.map(([y, fill]) => shape("rect", { x, y, width: pitch - 3, height: 13, fill, ...opacity }));
      return [shape("text", place, word), ...cells];
    }

    /* One of the likeliest next tokens, to be taken. */
    function chip(id, p) {
      const button = make("button", { type: "button" }, `${pieces[id]} ${chance(p)}`);
      button.addEventListener("click", () => go([...written, id]));
      button.disabled = written.length + 1 === MOST;
      button.style.background = opening.bar.replace("$", (100 * p).toFixed(1));
      return button;
    }
    redraw();
  });
})();
