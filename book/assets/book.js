/* The book's own behaviour. A classic script, so that pages opened from disk have it too; every page reads without it. */
(() => {
  const here = document.currentScript.src;

  /* Charts. The picture in the page gives way to the live chart when the reader comes near. Ink is `currentColor` and the
     ground transparent, so that a chart follows the light and dark switch without being drawn anew. */
  const load = (address) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(address, here).href;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} did not load`));
      document.head.append(script);
    });
  let vega;

  async function draw(chart) {
    const name = chart.dataset.chart;
    try {
      await Promise.all([(vega ??= load("vega.js")), load(`charts/${name}.js`)]);
      const specification = window.bookCharts[name];
      const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false };
      chart.classList.add("is-live"); // first, since the chart is as wide as its place
      await window.vegaEmbed(chart.querySelector(".chart-live"), specification, options);
    } catch (error) {
      chart.classList.remove("is-live"); // the picture stays
      console.error("A chart could not be drawn:", error);
    }
  }

  function drawWhenNear(charts) {
    const near = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          near.unobserve(target);
          draw(target);
        }
      },
      { rootMargin: "600px" },
    );
    charts.forEach((chart) => near.observe(chart));
  }

  /* What scrolls sideways inside its own box can be reached with the keyboard, and fades out where it goes on. What is
     folded in is left alone until it is opened: to measure it, the browser would have to lay it out. */
  const BOXES = "div.math, .cell_output, .cell_output > .output, .pst-scrollable-table-container, .chart, .picture, pre";
  function measured(box) {
    const beyond = box.scrollWidth - box.clientWidth;
    const goesOn = beyond - Math.abs(box.scrollLeft) > 16 && getComputedStyle(box).overflowX !== "visible";
    return { box, scrolls: beyond > 1, goesOn };
  }
  function reachScrollBoxes() {
    const seen = [...document.querySelectorAll(BOXES)].filter((box) => box.checkVisibility());
    // All are measured before one is changed: after each change the browser would lay the page out anew.
    for (const { box, scrolls, goesOn } of seen.map(measured)) {
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
      box.classList.toggle("goes-on", goesOn);
    }
  }
  function watchScrollBoxes() {
    const sizes = new ResizeObserver(reachScrollBoxes); // of the window, letters, folds that open, charts that are drawn
    for (const box of document.querySelectorAll(BOXES)) [box, ...box.children].forEach((part) => sizes.observe(part));
    const fade = ({ target }) => target.matches?.(BOXES) && target.classList.toggle("goes-on", measured(target).goesOn);
    addEventListener("scroll", fade, { capture: true, passive: true });
  }

  /* Code on a phone. Each line becomes a box of its own, which breaks where it must and goes on further in than it begins:
     nothing is hidden beyond the edge, and the indentation stays in sight. */
  function hangLines(pre) {
    let token = ""; // the tag of one that goes on in the next line, as a docstring does; tokens do not nest
    const lines = pre.innerHTML.replace(/\n$/, "").split("\n");
    pre.innerHTML = lines
      .map((line) => {
        const before = token;
        for (const tag of line.match(/<\/?span[^>]*>/g) ?? []) token = tag === "</span>" ? "" : tag;
        const begins = line.replace(/<[^>]*>/g, "").search(/\S|$/);
        return `<span class="line" style="--begins: ${begins}ch">${before}${line}${token && "</span>"}\n</span>`;
      })
      .join("");
  }
  function hangOnPhones() {
    const narrow = matchMedia("(width <= 600px)");
    const hang = () => document.querySelectorAll("article :not(.output) > div.highlight > pre").forEach(hangLines);
    if (narrow.matches) hang();
    else narrow.addEventListener("change", hang, { once: true });
  }

  /* Hints: what a link's title says, shown to touch and keyboard too. A finger's first tap opens the hint in place, and the
     hint leads on. Escape, or a tap elsewhere, closes it. */
  function showHints() {
    const hint = Object.assign(document.createElement("div"), { id: "hint", className: "hint", hidden: true });
    hint.setAttribute("role", "tooltip");
    document.querySelector("main").append(hint);
    const hide = () => (hint.hidden = true);
    const show = (link, leadsOn) => {
      const words = link.dataset.hint.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
      hint.innerHTML = words
        .replace(/(?<!\p{L})(\p{L})_(?:\{([^}]*)\}|([\p{L}\p{N}]+))/gu, "$1<sub>$2$3</sub>") // d_k
        .replace(/(10|\p{L})\^(?:\{([^}]*)\}|(\d+))/gu, "$1<sup>$2$3</sup>");
      if (leadsOn) {
        const onward = Object.assign(document.createElement("a"), { href: link.href, textContent: "Go there" });
        hint.append(" ", onward);
      }
      hint.hidden = false;
      const at = link.getBoundingClientRect();
      const left = Math.min(at.left, innerWidth - hint.offsetWidth - 12);
      const above = at.bottom + hint.offsetHeight + 8 > innerHeight;
      hint.style.left = `${Math.max(12, left) + scrollX}px`;
      hint.style.top = `${(above ? at.top - hint.offsetHeight - 4 : at.bottom + 4) + scrollY}px`;
    };
    for (const link of document.querySelectorAll("article a.internal[title]")) {
      link.dataset.hint = link.title;
      link.removeAttribute("title"); // or the browser's own hint would cover ours
      link.setAttribute("aria-description", link.dataset.hint);
      let leaving, pointer;
      link.addEventListener("pointerdown", ({ pointerType }) => (pointer = pointerType));
      link.addEventListener("click", (event) => {
        if (pointer === "touch") {
          event.preventDefault();
          show(link, true);
        }
        pointer = undefined; // the next click may be the keyboard's
      });
      link.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && show(link));
      link.addEventListener("focus", () => pointer === "touch" || show(link));
      link.addEventListener("blur", () => hint.querySelector("a") || hide());
      link.addEventListener("pointerleave", ({ pointerType }) => {
        if (pointerType === "mouse") leaving = setTimeout(hide, 150);
      });
      hint.addEventListener("pointerenter", () => clearTimeout(leaving)); // one may rest on the hint itself
    }
    hint.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && hide());
    addEventListener("pointerdown", ({ target }) => hint.contains(target) || target.closest("[data-hint]") || hide());
    addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  }

  /* On paper nothing can be unfolded, and there is no dark. */
  function prepareForPrint() {
    const root = document.documentElement;
    let closed = [], theme;
    addEventListener("beforeprint", () => {
      closed = [...document.querySelectorAll("article details:not([open])")];
      closed.forEach((details) => (details.open = true));
      ({ theme } = root.dataset);
      root.dataset.theme = "light";
    });
    addEventListener("afterprint", () => {
      closed.forEach((details) => (details.open = false));
      root.dataset.theme = theme;
    });
  }

  addEventListener("DOMContentLoaded", () => {
    drawWhenNear(document.querySelectorAll(".chart"));
    hangOnPhones(); // before it is measured what scrolls
    watchScrollBoxes();
    showHints();
    prepareForPrint();
  });
})();
