/* Leaks by hand: a decoder's masks switched off layer by layer, one of its words changed, and the outputs that move. */
(() => {
  const { make, say, addControls } = live;

  /* How far an output moved; 0 is exactly 0. */
  live.distance = (moved) => (moved === 0 ? "0" : moved < 0.005 ? "<0.01" : moved.toFixed(2));

  live.component("leaks_by_hand", (figure, opening) => {
    const { words, instead, moved, bars } = opening;
    const rows = [...figure.querySelectorAll("tbody tr")];
    let { place, masks } = structuredClone(opening);

    const boxes = masks.map((_, layer) => {
      const input = make("input", { type: "checkbox" });
      input.addEventListener("change", () => {
        masks[layer] = input.checked;
        redraw();
      });
      return { input, label: make("label", {}, input, ` mask in layer ${layer + 1}`) };
    });
    const buttons = words.slice(1).map((word, i) => {
      const button = make("button", { type: "button" }, word);
      button.addEventListener("click", () => {
        place = i + 1;
        redraw();
      });
      rows[i + 1].querySelector("th").replaceChildren(button);
      return button;
    });
    addControls(figure, "Tap a word below to change it. Untick a mask:", boxes.map(({ label }) => label), () => {
      ({ place, masks } = structuredClone(opening));
      redraw();
    });

    function redraw() {
      const found = moved[masks.map(Number).join("")][place - 1]; // (T)
      const farthest = Math.max(...found) || 1; // where nothing moves, no bar has a length
      const leaks = found.filter((far, t) => t < place && far > 0).length;
      const told = leaks === 1 ? "1 output before it moves" : `${leaks} outputs before it move`;
      say(figure, { word: words[place], other: instead[place - 1], leaks: told });
      for (const [t, row] of rows.entries()) {
        row.querySelector("td:last-child").textContent = live.distance(found[t]);
        row.style.background = bars[t < place ? 1 : 0].replace("$", ((100 * found[t]) / farthest).toFixed(1));
      }
      for (const [i, button] of buttons.entries()) {
        button.textContent = i + 1 === place ? `${words[place]} → ${instead[i]}` : words[i + 1];
        button.setAttribute("aria-pressed", i + 1 === place);
      }
      for (const [layer, { input }] of boxes.entries()) input.checked = masks[layer];
    }
    redraw();
  });
})();
