/* The translator of the front page: a sentence to type, its translation token by token, where the decoder looked for each, and
   what else it held likely, to be chosen instead. tools/pages/translator.py has drawn its opening state. */
(() => {
  const { make, shape, set, say, chance, asker } = live;
  const PAUSE = 250; // ms after the last key before a sentence is translated
  const HOW =
    "Tap or point at a German word, or a piece of one: lines show where the model looked. Tap one of the words in boxes, and it goes on from there.";
  const KEPT = " The page's address holds your sentence, without words that you chose.";
  const SEEN = 0.03; // shares below it get no arc
  const linked = () => new URLSearchParams(location.hash.slice(1)).get("translate"); // a sentence in the page's address
  const link = (sentence) => { // a full stop at the end of an address is often taken for the end of a sentence
    const fragment = sentence && `#${new URLSearchParams({ translate: sentence })}`.replace(/\.$/, "%2E");
    history.replaceState(null, "", location.pathname + location.search + fragment);
  };

  /* What is said of words that are in pieces, as the captions seldom have them, where there are many; else nothing. */
  const ofRare = (pieces) => {
    const lengths = []; // pieces of letters in each word
    for (const piece of pieces) {
      if (piece.startsWith(" ") || !lengths.length) lengths.push(0);
      lengths[lengths.length - 1] += /\p{L}/u.test(piece);
    }
    const rare = lengths.filter((length) => length > 1).length;
    return rare > lengths.length / 4 ? `Rare in its captions, and so in pieces: ${rare} of ${lengths.length} words. Do not trust it here. ` : "";
  };

  const label = (piece) => (piece === "</s>" ? "■" : piece.trim() || "␣");
  const total = (numbers) => numbers.reduce((a, b) => a + b, 0);

  /* The shares (S) that a step (L, H, S) gives the source: those of one head of a layer, or the mean of all its heads. */
  live.looked = ({ attention }, layer, head) => {
    const heads = attention[layer];
    return head === "all" ? Array.from(heads[0], (_, s) => total(heads.map((one) => one[s])) / heads.length) : heads[head];
  };

  /* The place of the token, the end left out, for which another was likely, and which looked hard at one word. */
  live.clearestDoubt = (steps) => {
    const doubts = steps.slice(0, -1).map((step) => step.likeliest[1].p * Math.max(...live.looked(step, step.attention.length - 1, "all")));
    return Math.max(0, doubts.indexOf(Math.max(...doubts)));
  };

  /* Arcs from a token to those it looked at, wherever they stand in their box. */
  function drawArcs(svg, tokens, shares, target) {
    const box = svg.parentElement.getBoundingClientRect(), end = target.getBoundingClientRect();
    const middle = ({ left, width }) => (left + width / 2 - box.left).toFixed(1);
    const paths = [...tokens].flatMap((token, s) => {
      if (shares[s] < SEEN) return [];
      const [begin] = [...token.getClientRects(), token.getBoundingClientRect()]; // where it begins, if a line ends in it
      const [from, to] = [begin.bottom - box.top, end.top - box.top], half = (from + to) / 2;
      const d = `M${middle(begin)} ${from}C${middle(begin)} ${half} ${middle(end)} ${half} ${middle(end)} ${to}`;
      return [shape("path", { d, "stroke-width": 1 + 5 * shares[s], "stroke-opacity": 0.35 + 0.65 * shares[s] })];
    });
    svg.replaceChildren(...paths);
  }

  live.component("translator", (figure, opening) => {
    const block = figure.querySelector(".translation"), list = figure.querySelector(".choices");
    const [english, german] = block.querySelectorAll(".tokens");
    const ask = asker(figure);
    let { text, source, steps, chosen, pieces } = opening, forced = 0; // tokens that the reader has settled
    let shown = text, pinned = false; // the sentence that is seen, and whether a token of it was clicked, which holds
    let layer = opening.layers - 1, head = "all";
    let words, typing, wide; // the whole vocabulary, the timer of the last key, and the width of the block

    const box = make("input", { type: "text", "aria-label": "English sentence", dir: "auto", autocomplete: "off" });
    set(box, { placeholder: "A cat sleeps on a red car.", spellcheck: "false", enterkeyhint: "go" });
    const examples = Object.entries(opening.examples).map(([name, sentence]) => button(name, () => translate(sentence)));
    const form = make("div", { class: "live-controls" }, box, make("span", {}, "or try"), ...examples);
    const said = make("p", { class: "live-heard", "aria-live": "polite" });
    const svg = shape("svg", { class: "arcs", "aria-hidden": "true" });
    const layers = Array.from({ length: opening.layers }, (_, l) => [`${l + 1}`, l]);
    const heads = [["all", "all"], ...Array.from({ length: opening.heads }, (_, h) => [`${h + 1}`, h])];
    const looks = [
      choice("Layer", layers, () => layer, (l) => (layer = l)),
      choice("Head", heads, () => head, (h) => (head = h)),
    ];
    const again = button("Reset", () => {
      if (linked() !== null) link("");
      reset();
    });
    again.className = "live-reset";
    set(figure, { "aria-label": "translator" }); // what it said of the picture would not stay true
    figure.prepend(form, said);
    ask.place(form);
    block.prepend(svg);
    list.after(make("div", { class: "live-controls" }, "Where it looked:", ...looks.map(({ group }) => group), again));
    const choices = Array.from(list.children, (item, n) => {
      const choose = button("", () => {
        if (!steps[chosen]) return; // none is there yet
        text = shown; // which is not what the box holds, where somebody has typed
        write([...tokens(steps.slice(0, chosen)), steps[chosen].likeliest[n].token]);
      });
      item.replaceChildren(choose);
      return choose;
    });

    function button(name, act) {
      const made = make("button", { type: "button" }, name);
      made.addEventListener("click", act);
      return made;
    }

    /* Buttons of which one is pressed, with what they stand for. */
    function choice(name, options, now, choose) {
      const act = (value) => () => {
        choose(value);
        look(chosen);
      };
      const buttons = options.map(([text, value]) => button(text, act(value)));
      const group = make("span", { class: "live-choice", role: "group", "aria-label": name }, ...buttons);
      const show = () => buttons.forEach((one, i) => set(one, { "aria-pressed": options[i][1] === now() }));
      return { group: make("span", { class: "live-named" }, name, group), show };
    }

    const tokens = (steps) => steps.map(({ token }) => token);

    function translate(sentence) {
      clearTimeout(typing);
      box.value = text = sentence;
      write();
    }

    /* Translate the text; the tokens of a prefix are settled. */
    async function write(prefix = []) {
      clearTimeout(typing);
      if (box.value !== text) box.value = text; // as at the opening, where the box is empty
      words ??= await ask("vocabulary", []);
      if (!words) return;
      const each = (step) => {
        ({ pieces } = words);
        if (step.source) return begin(step.source);
        steps.push(step);
        add(step, steps.length - 1);
        drawn ??= requestAnimationFrame(newest);
      };
      const newest = () => { // once for all tokens of a frame
        drawn = undefined;
        if (steps.length) look(steps.length - 1);
      };
      const begin = (ids) => {
        [shown, source, steps, forced, pinned] = [text, ids, [], prefix.length, false];
        redraw();
      };
      let drawn;
      const result = await ask("write", [text, { prefix }], { each });
      cancelAnimationFrame(drawn);
      if (!result) return;
      if (result.problem) begin([]);
      else look(prefix.length ? prefix.length - 1 : live.clearestDoubt(steps));
      link(result.problem ? "" : text);
      const advice = result.say ?? ofRare(source.slice(0, -1).map((id) => pieces[id])) + HOW;
      ask.tell(result.problem ? advice : advice + KEPT);
      said.textContent = result.text ?? "";
      if (result.text) document.dispatchEvent(new CustomEvent("translated", { detail: { text } }));
    }

    /* A token of a sentence, behind a blank where a word begins. */
    const placed = (line, id, token) => line.append(pieces[id].startsWith(" ") ? " " : "", token);

    function add(step, at) {
      const token = make("button", { type: "button", class: "token", tabindex: -1 }, label(pieces[step.token]));
      if (at < forced && step.token !== step.likeliest[0].token) set(token, { class: "token is-forced", title: "your choice" });
      placed(german, step.token, token);
    }

    /* Show where the decoder looked for the token at a place, and what else was likely there. */
    function look(place) {
      chosen = place;
      for (const { show } of looks) show();
      const step = steps[chosen];
      if (!step) return; // it is on its way
      const shares = live.looked(step, layer, head);
      for (const [s, token] of [...english.children].entries()) token.style.setProperty("--weight", shares[s].toFixed(3));
      for (const [t, token] of [...german.children].entries()) {
        token.classList.toggle("is-chosen", t === chosen);
        set(token, { tabindex: t === chosen ? 0 : -1, "aria-pressed": t === chosen });
      }
      for (const [n, { token, p }] of step.likeliest.entries()) {
        choices[n].parentElement.style.setProperty("--p", `${(100 * p).toFixed(1)}%`);
        choices[n].replaceChildren(make("span", {}, label(pieces[token])), " ", make("b", {}, chance(p)));
        set(choices[n], { "aria-pressed": token === step.token });
      }
      const most = source[shares.indexOf(Math.max(...shares))];
      const where = head === "all" ? `layer ${layer + 1}` : `layer ${layer + 1}, head ${head + 1}`;
      say(figure, { token: label(pieces[step.token]), most: label(pieces[most]), where });
      arcs();
    }

    function arcs() {
      const step = steps[chosen]; // of a sentence that is being written it may not be there yet
      if (step) drawArcs(svg, english.children, live.looked(step, layer, head), german.children[chosen]);
    }

    function redraw() {
      figure.classList.toggle("is-empty", !source.length);
      english.replaceChildren();
      german.replaceChildren();
      svg.replaceChildren();
      for (const id of source) placed(english, id, make("span", { class: "token" }, label(pieces[id])));
      steps.forEach(add);
      if (steps.length) look(chosen);
    }

    function reset() {
      ask.stop();
      ask.tell(HOW);
      clearTimeout(typing);
      said.textContent = "";
      ({ text, source, steps, chosen, pieces } = opening);
      [shown, steps, forced, pinned, layer, head] = [text, [...steps], 0, false, opening.layers - 1, "all"];
      box.value = "";
      redraw();
      document.dispatchEvent(new CustomEvent("translator-reset"));
    }

    /* Let the model come before it is asked, unless it is asked already: another question would stop that one. */
    async function prepare() {
      if (words || figure.getAttribute("aria-busy") === "true") return;
      const found = await ask("vocabulary", []);
      if (!found) return;
      words ??= found;
      ask.tell(HOW); // in the place of how far the model had come
    }

    box.addEventListener("focus", prepare, { once: true });
    box.addEventListener("input", () => {
      clearTimeout(typing);
      ask.stop();
      said.textContent = ""; // the translation of another text
      text = box.value;
      typing = setTimeout(write, PAUSE);
    });
    box.addEventListener("keydown", ({ key, isComposing }) => key === "Enter" && !isComposing && write());
    const pointed = ({ type, target }) => {
      const place = [...german.children].indexOf(target);
      if (place < 0 || (pinned && type === "pointerover")) return;
      pinned ||= type === "click";
      if (place !== chosen) look(place);
    };
    for (const event of ["pointerover", "focusin", "click"]) german.addEventListener(event, pointed);
    german.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!way || !german.children[chosen + way]) return;
      event.preventDefault();
      german.children[chosen + way].focus();
    });
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width !== wide) arcs(); // the lines have broken anew
      wide = contentRect.width;
    }).observe(block);
    document.fonts.ready.then(arcs);
    const followLink = () => linked() && linked() !== shown && translate(linked());
    window.addEventListener("hashchange", followLink);
    reset();
    followLink();
  });
})();
