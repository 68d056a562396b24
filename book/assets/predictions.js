/* Predictions: a question becomes a form, and the reader's guess is shown beside what this build measured. Guesses stay on
   the device. What gives the answer away stands blurred behind the question, until there is a guess, or the reader
   scrolls past the question, says "Just show me" or touches what is blurred. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const POINTS = 9; // of a drawn curve
  const BAR = 64; // px at the top of the window, where the page's bar hides what is behind it
  const LINES = 40; // px high is what has room for a word on why it is blurred
  const make = (name, attributes = {}, ...inside) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...inside);
    return element;
  };
  const draw = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const round = (value) => Number(value.toPrecision(3));

  /* Each kind builds its form, and says what to do when there is a guess: form(prediction, guessed) returns show(guess). */

  function choice({ question, asked, options, place, typeset }, guessed) {
    const group = make("div", { class: "prediction-options", role: "group", "aria-label": asked });
    const buttons = options.map((text, i) => {
      const button = make("button", { type: "button", "aria-pressed": "false" });
      button.innerHTML = text;
      button.addEventListener("click", () => guessed(i));
      group.append(button);
      return button;
    });
    place.before(group);
    return (guess) => {
      for (const [i, button] of buttons.entries()) {
        button.setAttribute("aria-pressed", i === guess);
        button.classList.toggle("is-right", guess !== null && i === question.answer);
        button.disabled = guess !== null;
      }
      if (guess === null) return "";
      return guess === question.answer ? "You saw it coming." : `You said: ${typeset(guess)}. Measured:`;
    };
  }

  function slider({ question, asked, place }, guessed) {
    const { low, high, log, unit, step, answer } = question;
    const onStep = (x) => (log && step ? low + step * Math.round(Math.min(x - low, high - low) / step) : x);
    const value = (at) => (log ? onStep(low * (high / low) ** (at / 100)) : Number(at));
    const share = (x) => (log ? Math.log(x / low) / Math.log(high / low) : (x - low) / (high - low));
    const said = (x) => `${round(onStep(x))}${unit ? `\u00a0${unit}` : ""}`;
    const range = log ? { min: 0, max: 100, step: 1 } : { min: low, max: high, step };
    // the type last: before it knows its range, a slider would begin at 50
    const input = make("input", { ...range, type: "range", "aria-label": asked });
    const output = make("output");
    const button = make("button", { type: "button", class: "prediction-done" }, "That is my guess");
    const marks = make("div", { class: "prediction-track", "aria-hidden": "true" });
    const tell = () => {
      output.textContent = said(value(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", tell);
    /* On a logarithm's scale many places share a step at the low end: a key goes on to the next number. */
    input.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!way || !log || !step) return;
      event.preventDefault();
      let at = Number(input.value) + way;
      while (at > 0 && at < 100 && value(at) === value(input.value)) at += way;
      input.value = at;
      tell();
    });
    button.addEventListener("click", () => guessed(round(value(input.value))));
    place.before(make("div", { class: "prediction-slider" }, input, output, button, marks));
    return (guess) => {
      if (guess !== null) input.value = log ? 100 * share(guess) : guess;
      tell();
      for (const control of [input, button]) control.disabled = guess !== null;
      marks.replaceChildren();
      if (guess === null) return "";
      for (const [at, kind, text] of [[guess, "guess", "you"], [answer, "measured", "measured"]])
        marks.append(make("span", { class: `${kind} ${share(at) > 0.7 ? "is-late" : ""}`, style: `left: ${100 * share(at)}%` }, text));
      return said(guess) === said(answer) ? "You saw it coming." : `You said ${said(guess)}. Measured:`;
    };
  }

  function curve({ question, asked, place }, guessed) {
    const [width, height, left, top, below] = [360, 220, 44, 28, 34];
    const { x: [xTitle, xLow, xHigh], y: [yTitle, yLow, yHigh], answer } = question;
    const across = (i) => left + (i / (POINTS - 1)) * (width - left - 12);
    const up = (share) => height - below - share * (height - below - top);
    const xOf = (i) => round(xLow + (i / (POINTS - 1)) * (xHigh - xLow));
    const yOf = (share) => round(yLow + share * (yHigh - yLow));
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${asked} A curve with ${POINTS} points: arrow keys left and right choose a point, up and down move it.` });
    const text = (x, y, anchor, words) => {
      const element = draw("text", { x, y, "text-anchor": anchor });
      element.textContent = words;
      svg.append(element);
    };
    svg.append(draw("path", { class: "axes", d: `M${left} ${top} V${height - below} H${width - 12}` }));
    text(left - 6, height - below, "end", yLow);
    text(left - 6, top + 8, "end", yHigh);
    text(left, height - below + 15, "start", xLow);
    text(width - 12, height - below + 15, "end", xHigh);
    text((width + left) / 2, height - 6, "middle", xTitle);
    text(2, 12, "start", yTitle);
    const measured = draw("polyline", { class: "measured" });
    const line = draw("polyline", { class: "guess" });
    svg.append(measured, line);
    let shares = Array(POINTS).fill(0.5);
    let locked = false;
    const handles = shares.map((_, i) => {
      const handle = draw("circle", {
        r: 6, role: "slider", tabindex: i ? -1 : 0, "aria-orientation": "vertical",
        "aria-valuemin": yLow, "aria-valuemax": yHigh, "aria-label": `${yTitle} at ${xTitle} ${xOf(i)}`,
      });
      handle.addEventListener("keydown", (event) => key(event, i));
      svg.append(handle);
      return handle;
    });
    const redraw = () => {
      line.setAttribute("points", shares.map((share, i) => `${across(i)},${up(share)}`).join(" "));
      for (const [i, handle] of handles.entries()) {
        handle.setAttribute("cx", across(i));
        handle.setAttribute("cy", up(shares[i]));
        handle.setAttribute("aria-valuenow", yOf(shares[i]));
        handle.setAttribute("aria-disabled", locked);
      }
    };
    const put = (i, share) => {
      shares[i] = Math.min(1, Math.max(0, share));
      redraw();
    };
    function key(event, i) {
      const steps = { ArrowUp: 0.05, ArrowDown: -0.05, PageUp: 0.2, PageDown: -0.2 };
      const ends = { Home: 0, End: 1 };
      const moves = { ArrowLeft: -1, ArrowRight: 1 };
      if (event.key in steps && !locked) put(i, shares[i] + steps[event.key]);
      else if (event.key in ends && !locked) put(i, ends[event.key]);
      else if (event.key in moves) {
        const next = handles[Math.min(POINTS - 1, Math.max(0, i + moves[event.key]))];
        handles.forEach((handle) => handle.setAttribute("tabindex", handle === next ? 0 : -1));
        next.focus();
      } else return;
      event.preventDefault();
    }
    /* A finger, or a mouse, draws: every point it passes goes where it is. */
    let last = null;
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * width, y = ((event.clientY - box.top) / box.height) * height;
      const place = ((x - left) / (width - left - 12)) * (POINTS - 1);
      return { i: Math.min(POINTS - 1, Math.max(0, Math.round(place))), share: (height - below - y) / (height - below - top) };
    };
    const drag = (event) => {
      if (last === null || locked) return;
      const now = at(event), steps = Math.max(1, Math.abs(now.i - last.i));
      for (let step = 0; step <= steps; step++)
        put(Math.round(last.i + (step / steps) * (now.i - last.i)), last.share + (step / steps) * (now.share - last.share));
      last = now;
    };
    svg.addEventListener("pointerdown", (event) => {
      if (locked) return;
      svg.setPointerCapture(event.pointerId);
      last = at(event);
      drag(event);
    });
    svg.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => (last = null));

    const button = make("button", { type: "button", class: "prediction-done" }, "That is my curve");
    button.addEventListener("click", () => guessed(shares.map((share) => Number(share.toFixed(3)))));
    place.before(make("div", { class: "prediction-curve" }, svg, button));
    return (guess) => {
      locked = button.disabled = guess !== null;
      if (guess) shares = [...guess];
      svg.classList.toggle("is-answered", locked);
      const shown = answer.filter(([x]) => x >= xLow && x <= xHigh).map(([x, y]) => {
        const share = Math.min(1, Math.max(0, (y - yLow) / (yHigh - yLow)));
        return `${left + ((x - xLow) / (xHigh - xLow)) * (width - left - 12)},${up(share)}`;
      });
      measured.setAttribute("points", locked ? shown.join(" ") : "");
      redraw();
      return locked ? "Dashed: your curve. Full: measured." : "";
    };
  }

  const KINDS = { choice, slider, curve };

  function ask(prediction) {
    const question = JSON.parse(prediction.querySelector("script").textContent);
    const place = prediction.querySelector(":scope > p + *"); // what says it without a script, and on paper
    place.classList.add("prediction-on-paper");
    const answer = prediction.querySelector(".prediction-answer");
    const words = prediction.querySelector("p").cloneNode(true);
    words.querySelector("strong").remove(); // "Predict."
    const asked = words.textContent.trim(); // as it is typeset, for who hears it
    const key = `prediction:${question.name}`;
    const options = [...prediction.querySelectorAll(":scope > ul > li")].map((option) => option.innerHTML);
    const beside = make("p", { class: "prediction-guess", role: "status", tabindex: -1 });
    const again = make("button", { type: "button", class: "prediction-again" }, "Ask me again");
    const settle = (guess, now) => {
      beside.innerHTML = show(guess);
      beside.hidden = again.hidden = guess === null;
      prediction.classList.toggle("is-answered", guess !== null);
      if (now) {
        passed = false;
        answer.open = guess !== null;
        bookKept.set(key, guess === null ? null : JSON.stringify(guess));
        if (guess !== null) beside.focus({ preventScroll: true }); // the button that had the focus cannot keep it
      }
      hide();
    };
    const show = KINDS[question.kind]({ question, asked, options, place, typeset: (i) => options[i] }, (guess) => settle(guess, true));
    again.addEventListener("click", () => {
      settle(null, true);
      prediction.querySelector("button, input, [tabindex='0']").focus();
    });
    answer.before(beside);
    prediction.append(again);
    const telling = whatTells(prediction);
    let seen = false, passed = false; // the question, by a reader who scrolls, or passes it by with a tap on what it hides
    const hide = () => {
      const everything = document.documentElement.dataset.reading === "everything";
      const open = prediction.matches(".is-answered") || answer.open || passed || everything;
      for (const cell of telling) {
        const hidden = !open && !cell.querySelector(":target");
        cell.classList.toggle("is-telling", hidden);
        for (const part of cell.children) part.inert = hidden; // nor is it read out
      }
      const blurred = telling.filter((cell) => cell.matches(".is-telling") && cell.offsetHeight); // the rest is folded away
      const says = blurred.find((cell) => cell.offsetHeight >= LINES) ?? blurred[0];
      for (const cell of telling) cell.classList.toggle("says-why", cell === says);
    };
    const scrolled = (entries) => {
      const { isIntersecting, boundingClientRect: place } = entries.at(-1);
      seen ||= entries.some((entry) => entry.isIntersecting);
      if (!seen || isIntersecting || passed || !place.height || place.bottom > BAR) return; // no height: folded away
      passed = true;
      hide();
    };
    new IntersectionObserver(scrolled, { rootMargin: `${-BAR}px 0px 0px` }).observe(prediction);
    answer.addEventListener("toggle", hide);
    prediction.closest("details.layer")?.addEventListener("toggle", hide); // there is more to be seen then
    addEventListener("hashchange", hide);
    new MutationObserver(hide).observe(document.documentElement, { attributeFilter: ["data-reading"] });
    for (const cell of telling)
      cell.addEventListener("click", () => {
        passed = true;
        hide();
      });
    let before = null;
    try {
      before = valid(question, JSON.parse(bookKept.get(key)));
    } catch {
      /* kept by another version of the book */
    }
    settle(before, false);
    if (before !== null) answer.open = true;
  }

  /* The cells behind a question, whose pictures and claims answer it, and the first paragraph behind them, which says what
     came out. The paragraph gets a box, for what is blurred cannot be touched itself. */
  function whatTells(prediction) {
    const told = [];
    let next = prediction.closest(".cell")?.nextElementSibling;
    for (; next?.matches(".cell:not(.tag_predict)"); next = next.nextElementSibling) told.push(next);
    if (told.length && next?.matches("p")) {
      const box = make("div");
      next.replaceWith(box);
      box.append(next);
      told.push(box);
    }
    return told;
  }

  function valid({ kind, options, low, high }, guess) {
    if (kind === "choice") return Number.isInteger(guess) && guess >= 0 && guess < options.length ? guess : null;
    if (kind === "slider") return typeof guess === "number" && guess >= low && guess <= high ? guess : null;
    return Array.isArray(guess) && guess.length === POINTS && guess.every((share) => share >= 0 && share <= 1) ? guess : null;
  }

  addEventListener("DOMContentLoaded", () => document.querySelectorAll(".prediction:has(script)").forEach(ask));
})();
