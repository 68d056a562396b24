/* Figure 1 with a sentence inside: each box is a button that opens the tensor at its place, and the section of the page that
   explains it; one token can be followed from bottom to top. */
(() => {
  const { make, set, say, percent, signed, addControls, asker } = live;
  const SECTIONS = "#box-by-box > section", BOS = 1;

  live.component("inside", (figure, opening) => {
    const { sizes, vocabulary, examples } = opening, ask = asker(figure);
    const boxes = [...figure.querySelectorAll("[data-box]")];
    const [place, shape, view, note] = [".inside-place", ".inside-shape", ".inside-view", ".live-note"].map((name) =>
      figure.querySelector(`.inside-panel ${name}`),
    );
    const [numbers, stream] = [".inside-numbers", ".inside-stream"].map((name) => figure.querySelector(name));
    const start = () => ({ ...structuredClone(opening), view: 0, side: "target" });
    let state = start();
    let traced; // {sentence, text, ids, words, places}: the model's pass over a sentence

    // The sentence

    const { form, input } = live.sentence("an English sentence", (sentence) => change({ sentence }));
    const another = make("button", { type: "button" }, "Another");
    another.addEventListener("click", () => {
      state.sentence = input.value = examples[(examples.indexOf(state.sentence) + 1) % examples.length];
      show();
    });
    addControls(figure, "", [form, another], () => {
      state = start();
      input.value = state.sentence;
      address(state.box);
      show();
    });
    input.value = state.sentence;
    ask.place(figure.querySelector(".live-controls"));
    const controls = make("div", { class: "live-controls inside-controls" });
    place.after(controls);
    place.setAttribute("aria-live", "polite");

    /* The model's pass over the sentence in hand and its own translation; undefined where there is none, and a sentence that
       cannot be read changes nothing. */
    async function pass(sentence) {
      const found = await ask("translate", [sentence, { width: 1 }]);
      if (!found) return undefined;
      if (found.problem) {
        ask.tell(found.say);
        state.sentence = traced?.sentence ?? opening.sentence;
        return undefined;
      }
      const { tokens } = found.hypotheses[0], ids = { source: found.source, target: [BOS, ...tokens] };
      const places = await ask("trace", [found.source, tokens]);
      if (!places) return undefined;
      ask.tell(found.say ?? "");
      const spelled = (ids) => ids.map((id) => vocabulary[id]);
      const words = { source: spelled(ids.source), target: spelled(ids.target) };
      return { sentence, text: found.text, ids, words, places };
    }

    /* Show what the state asks for, after the model has read the sentence. */
    async function show() {
      ask.stop();
      ask.tell("");
      markBox(); // its explanation needs no model
      if (traced?.sentence !== state.sentence) {
        const found = await pass(state.sentence);
        if (!found) return;
        traced = found;
        dispatchEvent(new CustomEvent("live-sentence", { detail: found.sentence })); // for the other figures of the page
      }
      draw();
    }

    function change(changes) {
      Object.assign(state, changes);
      return show();
    }
    function openBox(box, layer = state.layer) {
      address(box);
      return change({ box, layer, view: 0, side: rowsOf(live.place(box, layer).views[0]) });
    }
    const follow = (side, row) => change({ side, rows: { ...state.rows, [side]: row } });

    // The boxes

    for (const box of boxes) {
      box.setAttribute("role", "button");
      const open = (event) => {
        event.preventDefault();
        openBox(box.dataset.box);
        if (place.getBoundingClientRect().top > innerHeight - 80) place.scrollIntoView({ block: "center" });
      };
      box.addEventListener("click", open);
      box.addEventListener("keydown", (event) => event.key === " " && open(event));
    }

    const sectionOf = (box) => boxes.find(({ dataset }) => dataset.box === box).getAttribute("href");

    /* Let the address name a box, where its section is on this page. */
    function address(box) {
      if (sectionOf(box).startsWith("#")) history.replaceState(null, "", sectionOf(box));
    }

    /* A box for those who hear it, since some have the same words. */
    function called(box) {
      const { title } = live.place(box.dataset.box, state.layer), words = box.textContent;
      return title.toLowerCase().includes(words.toLowerCase()) ? title : `${words}: ${title}`;
    }

    function markBox() {
      for (const box of boxes) set(box, { "aria-pressed": box.dataset.box === state.box, "aria-label": called(box) });
      const explained = sectionOf(state.box).slice(1);
      for (const section of document.querySelectorAll(SECTIONS)) section.classList.toggle("is-open", section.id === explained);
    }

    // The panel

    const buttons = (label, names, chosen, choose) => {
      const made = names.map((name, i) => {
        const button = make("button", { type: "button", "aria-pressed": i === chosen, "data-key": `${label} ${i}` }, name);
        button.addEventListener("click", () => choose(i));
        return button;
      });
      return make("span", { class: "live-choice", role: "group", "aria-label": label }, ...made);
    };

    function drawControls({ layered, views }) {
      const count = (n, what) => Array.from({ length: n }, (_, i) => `${what} ${i + 1}`);
      const parts = [];
      if (layered) parts.push(buttons("layer", count(sizes.N, "layer"), state.layer, (layer) => change({ layer })));
      if (views[state.view].shape[0] === "H")
        parts.push(buttons("head", count(sizes.H, "head"), state.head, (head) => change({ head })));
      if (views.length > 1) {
        const select = make("select", { "aria-label": "what to show", "data-key": "view" });
        select.append(...views.map(({ label }, i) => make("option", { value: i }, label)));
        select.value = state.view;
        select.addEventListener("change", () => change({ view: Number(select.value) }));
        parts.push(select);
      }
      controls.replaceChildren(...parts);
    }

    /* The numbers of each letter of a shape. */
    const size = (letter) =>
      ({ S: traced.words.source.length, T: traced.words.target.length, V: vocabulary.length })[letter] ?? sizes[letter];
    const side = (letter) => ({ S: "source", T: "target" })[letter];
    const rowsOf = ({ shape }) => side(shape.at(-2) ?? shape[0]); // whose tokens are the rows

    function draw() {
      const focused = figure.contains(document.activeElement) && document.activeElement.dataset.key;
      const { words, places, text } = traced;
      for (const name of ["source", "target"]) state.rows[name] = Math.min(state.rows[name], words[name].length - 1);
      const what = live.place(state.box, state.layer), one = what.views[state.view];
      const rows = rowsOf(one);
      drawControls(what);
      place.replaceChildren(make("b", {}, what.title));
      const head = one.shape[0] === "H" ? `, head ${state.head + 1}` : "";
      shape.textContent = `${one.label} (${one.shape.join(", ")}) = (${one.shape.map(size).join(", ")})${head}`;
      one.ids ? drawIds(rows) : drawMap(one, rows, one.shape.at(-1));
      numbers.replaceChildren(...(what.attention ? asked(what) : []));
      const more = { side: state.side, row: state.rows[state.side], words, layers: sizes.N, vocabulary };
      stream.replaceChildren(...live.stream(places, { ...more, follow, open: openBox }));
      const chances = live.softmax([...places.output[state.rows.target]]);
      const [[following, chance]] = live.most(chances, vocabulary);
      say(figure, { text, following, chance: percent(chance) });
      figure.querySelector(".live-says").firstChild.textContent = `${traced.sentence} `;
      if (focused) figure.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
    }

    function drawIds(rows) {
      const chip = (word, t) => make("span", { class: "inside-id" }, make("kbd", {}, word), ` ${traced.ids[rows][t]}`);
      view.replaceChildren(make("p", { class: "inside-ids" }, ...traced.words[rows].map(chip)));
      note.textContent = `Ids count the ${vocabulary.length} tokens of the vocabulary from 0.`;
    }

    function drawMap(one, rows, letter) {
      const matrix = live.matrix(traced.places, one, state.head), labels = traced.words[rows];
      const columns = live.columns(matrix, one); // those that are drawn
      const names = letter === "V" ? vocabulary : traced.words[side(letter)];
      const told = (number) => (one.shares ? `${(100 * number).toFixed(1)}%` : signed(number));
      const where = (i, j) => `${labels[i]}, ${names ? names[j] : `number ${j + 1}`}`;
      const range = live.extremes(matrix).map(({ number, i, j }) => `${told(number)} (${where(i, j)})`);
      const part = one.likeliest ? ` Drawn are ${columns.length} of ${matrix[0].length} columns: the likeliest tokens.` : "";
      const still = `Smallest ${range[0]}, largest ${range[1]}.${part}`;
      const drawn = matrix.map((row) => columns.map((j) => row[j]));
      const heat = live.heat({
        ...{ rows: drawn, largest: one.shares ? 1 : live.largestSize(drawn), labels },
        columns: names ? columns.map((j) => names[j]) : [],
        chosen: state.rows[rows],
        choose: (row) => follow(rows, row),
        description: `${one.label}: ${still}`,
        point: (i, j) => (note.textContent = `${where(i, columns[j])}: ${told(drawn[i][j])}`),
      });
      heat.addEventListener("pointerleave", ({ pointerType }) => {
        if (pointerType === "mouse") note.textContent = still; // a finger leaves whenever it lifts
      });
      view.replaceChildren(heat);
      note.textContent = still;
    }

    function asked(what) {
      const [queries, keys] = what.views[0].shape.slice(1).map((letter) => side(letter));
      const { words, places } = traced;
      const more = { layer: state.layer, headNumber: state.head, row: state.rows[queries] };
      return live.byTheNumbers(places, what, { ...more, queries: words[queries], keys: words[keys] });
    }

    // As it opens: Python has drawn it, and the model comes when it is first asked.

    figure.querySelectorAll(".heat-rows span").forEach((label, row) => {
      const button = make("button", { type: "button", "data-key": `row ${row}` }, label.textContent);
      set(button, { class: label.className, "aria-pressed": row === state.rows.target });
      button.addEventListener("click", () => follow("target", row));
      label.replaceWith(button);
    });
    drawControls(live.place(state.box, state.layer));
    markBox();

    /* An address that names a section opens its box. */
    async function arrive() {
      const box = boxes.find((box) => box.getAttribute("href") === location.hash);
      if (!box || document.querySelector(location.hash)?.classList.contains("is-open")) return;
      await openBox(box.dataset.box); // until then the section is hidden, and above it things move
      document.querySelector(location.hash)?.scrollIntoView();
    }
    addEventListener("hashchange", arrive);
    arrive();
  });

  /* The smallest and the largest number of a matrix (n, m), with their places. */
  live.extremes = (rows) => {
    let [smallest, largest] = [{ number: Infinity }, { number: -Infinity }];
    rows.forEach((row, i) =>
      row.forEach((number, j) => {
        if (number < smallest.number) smallest = { number, i, j };
        if (number > largest.number) largest = { number, i, j };
      }),
    );
    return [smallest, largest];
  };
})();
