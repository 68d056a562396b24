/* What the figures share that come to life: transformer/tutor/live.py has drawn them, with their data. A figure's script says
   live.component(kind, start), and start(figure, state) moves the drawing that is there. Without scripts it stays a picture. */
window.live = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const kinds = {};

  /* Shares (T) of scores (T). */
  function softmax(scores) {
    const largest = Math.max(...scores); // taken away from all, which changes no share, so that nothing overflows
    const powers = scores.map((score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  const percent = (share) => `${(100 * share).toFixed(0)}%`;
  const chance = (p) => (p < 0.005 ? "<1%" : percent(p)); // of what may happen, so never 0
  const signed = (number) => number.toFixed(2).replace("-", "−");

  function make(name, attributes = {}, ...inside) {
    const element = document.createElement(name);
    set(element, attributes);
    element.append(...inside);
    return element;
  }

  /* The same for a part of a drawing. */
  function shape(name, attributes = {}, ...inside) {
    const element = document.createElementNS(SVG, name);
    set(element, attributes);
    element.append(...inside);
    return element;
  }

  function set(element, attributes) {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  }

  /* Say in a figure's words what has changed. */
  function say(figure, texts) {
    for (const [name, text] of Object.entries(texts))
      for (const place of figure.querySelectorAll(`[data-says="${name}"]`)) place.textContent = text;
  }

  /* A line with one instruction, controls, and the way back to the opening state. What the figure says is read out when it
     changes; its label, which told of the picture, keeps no numbers that would no longer be true. */
  function addControls(figure, instruction, controls, reset) {
    const again = make("button", { type: "button", class: "live-reset" }, "Reset");
    again.addEventListener("click", reset);
    const says = figure.querySelector(".live-says");
    says.setAttribute("aria-live", "polite");
    figure.setAttribute("aria-label", figure.dataset.live.replaceAll("_", " "));
    says.after(make("div", { class: "live-controls" }, instruction, ...controls, again));
    for (const svg of figure.querySelectorAll("svg")) svg.setAttribute("role", "group"); // no longer one image
  }

  /* Switch a button off or on without `disabled`, which would take the focus from who has just pressed it; what it does must
     ask isOff. */
  const turnOff = (button, off) => button.setAttribute("aria-disabled", off);
  const isOff = (button) => button.getAttribute("aria-disabled") === "true";

  /* A slider with its name and its value: show(value, text) sets both. */
  function slider(name, min, max, step) {
    const input = make("input", { type: "range", min, max, step, "aria-label": name }), told = make("b");
    const show = (value, text) => {
      told.textContent = text;
      set(input, { "aria-valuetext": text });
      input.value = value;
      input.style.setProperty("--filled", `${(100 * (value - input.min)) / (input.max - input.min || 1)}%`);
    };
    return { input, show, label: make("label", { class: "live-slider" }, name, input, told) };
  }

  /* A place of a drawing to be dragged by mouse and finger, or focused and moved with the arrow keys. drag(x, y) takes where
     it should go, in pixels of the drawing; step(right, up) takes a number of steps. Returns what moves it:
     to(x, y, {now, text}), with its value for those who do not see it. */
  function handle(svg, { kind, label, low, high, drag, step }) {
    const circles = [shape("circle", { class: "hit", r: 17 }), shape("circle", { class: "knob", r: 9 })];
    const group = shape("g", { class: `handle ${kind}`, role: "slider", tabindex: 0, "aria-label": label }, ...circles);
    set(group, { "aria-valuemin": low.toFixed(1), "aria-valuemax": high.toFixed(1) });
    let at = { x: 0, y: 0 };
    let held = null; // how far the pointer is from the middle
    const pointed = ({ clientX, clientY }) => new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
    group.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const { x, y } = pointed(event);
      held = { x: at.x - x, y: at.y - y };
      group.setPointerCapture(event.pointerId);
      group.focus({ preventScroll: true });
      event.preventDefault();
    });
    // Or the finger would scroll the page: touch-action is not heeded inside a drawing.
    group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    group.addEventListener("pointermove", (event) => {
      if (!held) return;
      const { x, y } = pointed(event);
      drag(x + held.x, y + held.y);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
      group.addEventListener(end, () => (held = null));
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    Object.assign(moves, { Home: [-Infinity, 0], End: [Infinity, 0] }); // as far as the figure lets it
    group.addEventListener("keydown", (event) => {
      if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
      step(...moves[event.key].map((way) => way * (event.shiftKey ? 5 : 1)));
      event.preventDefault();
    });
    svg.append(group);
    return (x, y, { now, text }) => {
      at = { x, y };
      set(group, { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, "aria-valuenow": now, "aria-valuetext": text });
    };
  }

  function start(figure) {
    const picture = figure.innerHTML;
    try {
      kinds[figure.dataset.live](figure, JSON.parse(figure.dataset.state));
      figure.classList.add("is-live");
    } catch (error) {
      figure.innerHTML = picture;
      console.error(`${figure.dataset.live} stays a picture:`, error);
    }
  }

  addEventListener("DOMContentLoaded", () => document.querySelectorAll(".live").forEach(start));

  const component = (kind, begin) => (kinds[kind] = begin);
  return { component, softmax, percent, chance, signed, make, shape, set, say, addControls, turnOff, isOff, slider, handle };
})();
