/* Heads by hand: any heads of a model switched off, and a sentence translated by all heads and by those that are left. */
(() => {
  const { make, say, addControls, asker } = live;
  const MOST = 18; // words to show of a translation that does not end
  const PATHS = { encoder: "encoder.layers.$.self_attention", decoder: "decoder.layers.$.self_attention" };
  PATHS.cross = "decoder.layers.$.cross_attention";

  /* "encoder 2, head 1" under the engine's name, which counts from 0. */
  live.headOf = (name) => {
    const [, part, layer, head] = name.match(/^(\w+) (\d+), head (\d+)$/);
    return `${PATHS[part].replace("$", layer - 1)}.${head - 1}`;
  };

  live.component("heads_by_hand", (figure, opening) => {
    const [whole, without] = figure.querySelectorAll("dd"), ask = asker(figure);
    const opened = [whole, without].map((place) => [place, [...place.childNodes]]);
    const sound = {}; // translations by all heads, by sentence
    let { sentence } = opening, off = new Set(opening.off), soon, turn = 0;

    const { form, input: box } = live.sentence("sentence to translate", () => translate());
    box.addEventListener("input", () => {
      sentence = box.value;
      clearTimeout(soon);
      soon = setTimeout(translate, 300); // once nobody types
    });
    const buttons = [...figure.querySelectorAll("tbody td")].map((cell) => {
      const name = cell.title, button = make("button", { type: "button", "aria-label": `switch off ${name}` }, cell.textContent);
      button.addEventListener("click", () => {
        off.delete(name) || off.add(name);
        redraw();
        translate();
      });
      cell.removeAttribute("title");
      cell.replaceChildren(button);
      return { name, button };
    });
    addControls(figure, "Tap a head, or change the sentence:", [form], () => {
      turn++;
      ask.stop();
      ask.tell("");
      clearTimeout(soon);
      ({ sentence } = opening);
      off = new Set(opening.off);
      for (const [place, inside] of opened) place.replaceChildren(...inside);
      redraw();
    });
    ask.place(figure.querySelector("dl").parentElement);
    without.setAttribute("aria-live", "polite");

    function redraw() {
      say(figure, { off: off.size });
      for (const { name, button } of buttons) button.setAttribute("aria-pressed", off.has(name));
      if (box.value !== sentence) box.value = sentence;
    }

    /* By all heads, and by those that are left; a later call puts an end to an earlier one. */
    async function translate() {
      clearTimeout(soon); // of what was typed: it is read now
      const mine = ++turn, text = sentence, headsOff = [...off].map(live.headOf);
      const all = (sound[text] ??= await ask("translate", [text, { width: 1 }]));
      if (mine !== turn || !all) return;
      const left = await ask("translate", [text, { width: 1, switches: { headsOff } }]);
      if (mine !== turn || !left) return;
      ask.tell(left.say ?? "");
      const [right, others] = [all, left].map(({ text = "" }) => text.split(" ")); // no text where there is a problem
      show(whole, right, right);
      show(without, others, right);
    }

    /* Write words, and mark those that others do not have in common with them. */
    function show(place, words, others) {
      const shown = live.marked(words, others).slice(0, MOST);
      place.replaceChildren(...shown.flatMap((word) => [word, " "]), words.length > MOST ? "…" : "");
    }
    redraw();
  });
})();
