/* Break it: ticks for what the model has, to be taken away; the translation is made again beside the sound one. */
(() => {
  const { make, addControls, asker } = live;

  const PARTS = {
    "encoder.self_attention": "encoder, self",
    "decoder.self_attention": "decoder, masked",
    "decoder.cross_attention": "decoder, cross",
  };

  /* "encoder.layers.1.self_attention.0" in its parts. */
  const taken = (name) => {
    const [side, , layer, attention, head] = name.split(".");
    return { part: PARTS[`${side}.${attention}`], place: `layer ${Number(layer) + 1}, head ${Number(head) + 1}` };
  };

  /* The same as a name, like that of the table in switches.py. */
  const called = (name) => `${taken(name).part}, ${taken(name).place}`;

  live.component("switches", (figure, opening) => {
    const { names, heads, limit, padding } = opening, ask = asker(figure);
    const [sound, broken] = figure.querySelectorAll("dd"), title = figure.querySelectorAll("dt")[1];
    const sentenceShown = figure.querySelector(".live-says");
    const state = structuredClone(opening); // {sentence, off: names of switches and of heads}

    const { form, input } = live.sentence("an English sentence to break", (sentence) => change({ sentence }));

    const ticks = new Map(); // by the names of switches and heads
    const tick = (name, label) => {
      const box = make("input", { type: "checkbox", ...(label ? { "aria-label": label } : {}) });
      box.addEventListener("change", () => {
        const others = state.off.filter((one) => one !== name);
        change({ off: box.checked ? others : [...others, name] });
      });
      ticks.set(name, box);
      return box;
    };
    const parts = Object.entries(names).map(([name, html]) => {
      const words = make("span");
      words.innerHTML = html; // typeset while the pages were built
      return make("label", {}, tick(name), words);
    });
    const rows = grouped(heads);
    const columns = heads.filter((name) => taken(name).part === taken(heads[0]).part).map(taken);
    const titles = columns.map(({ place }) => make("th", { scope: "col" }, place));
    const lines = [...rows].map(([part, names]) => {
      const cells = names.map((name) => make("td", {}, make("label", {}, tick(name, called(name)))));
      return make("tr", {}, make("th", { scope: "row" }, part), ...cells);
    });
    const table = make(
      ...["table", {}, make("thead", {}, make("tr", {}, make("td"), ...titles))],
      make("tbody", {}, ...lines),
    );
    const legend = (text) => make("legend", {}, text);
    addControls(figure, "", [form], () => change(structuredClone(opening)));
    figure.querySelector(".live-controls").after(
      make("fieldset", { class: "ticks" }, legend("Untick what to leave out:"), ...parts),
      make("fieldset", { class: "ticks" }, legend("Or a single head:"), table),
    );
    ask.place(figure.lastElementChild);
    broken.setAttribute("aria-live", "polite");

    // A switch with its formulas, a head by its name.
    const inWords = (name) => (name in names ? ticks.get(name).nextElementSibling.cloneNode(true) : called(name));

    /* Say above a translation what it was made without. */
    function entitle() {
      const words = state.off.flatMap((name, i) => [i ? "; " : "without ", inWords(name)]);
      title.replaceChildren(...(words.length ? words : ["nothing left out"]));
    }

    function change(changes) {
      Object.assign(state, changes);
      mark();
      show();
    }

    /* What is asked for; what was left out is said with the translation. */
    function mark() {
      input.value = state.sentence;
      for (const [name, box] of ticks) box.checked = !state.off.includes(name);
    }

    /* The translation with some things left out; padding stands behind the sentence where it is not hidden. */
    function translated(off) {
      const whole = Object.fromEntries(off.filter((name) => name in names).map((name) => [name, false]));
      const switches = { ...whole, headsOff: off.filter((name) => !(name in names)) };
      const options = { width: 1, maxLength: limit, switches, padding: off.includes("paddingMask") ? padding : 0 };
      return ask("translate", [state.sentence, options]);
    }

    async function show() {
      const right = await translated([]);
      if (right?.problem) return clear(right.say);
      const wrong = right && (await translated(state.off));
      if (wrong) draw(right, wrong, right.say);
    }

    /* No translation, and why. */
    function clear(why) {
      entitle();
      sentenceShown.textContent = "";
      for (const place of [sound, broken]) place.replaceChildren();
      ask.tell(why);
    }

    function draw(right, wrong, more = "") {
      const [words, others] = [right, wrong].map(({ text }) => text.split(" ").filter(Boolean)); // it may write nothing
      sentenceShown.textContent = state.sentence;
      entitle();
      const show = (place, words) => place.replaceChildren(...words.flatMap((word, i) => [i ? " " : "", word]));
      show(sound, live.marked(words, others));
      show(broken, live.marked(others, words));
      const alone = (words, others) => `${live.inCommon(words, others).filter((same) => !same).length} of ${words.length} words`;
      const differ = `Not in both: ${alone(words, others)} of the sound translation, ${alone(others, words)} of the other.`;
      const told = [right.text === wrong.text ? "The same translation." : differ];
      if (!wrong.hypotheses[0].finished) told.push(`It does not end: cut after ${limit} tokens.`);
      if (state.off.includes("paddingMask")) told.push(`Behind the sentence stand ${padding} tokens of padding.`);
      ask.tell([...told, more].join(" "));
    }

    addEventListener("live-sentence", ({ detail }) => detail !== state.sentence && change({ sentence: detail }));
    mark();
  });

  /* Names of heads by their attention, in order. */
  function grouped(heads) {
    const groups = new Map();
    for (const name of heads) groups.set(taken(name).part, [...(groups.get(taken(name).part) ?? []), name]);
    return groups;
  }
})();
