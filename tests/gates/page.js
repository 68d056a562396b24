/* What visits do on an open page, and what the gates ask of it. `visits.py` puts it into the page as `gates`. */
window.gates = (() => {
  const CHARTS = ".chart";
  const DRAWN = ".chart-live svg, .chart-live canvas";
  const DRAWN_OR_PICTURE = "svg, canvas, img";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const frame = () => new Promise(requestAnimationFrame);
  const opening = (elements) => elements.slice(0, 5).map((element) => element.outerHTML.slice(0, 120));

  /* What a reader does */

  const ends = ({ playState, effect }) => playState === "running" && effect.getComputedTiming().endTime < Infinity;

  /* Until the page stands still: its fonts are there, and what unfolds or changes colour has done so. */
  async function still() {
    await document.fonts.ready;
    for (let moving = [0]; moving.length; ) {
      await frame();
      moving = document.getAnimations().filter(ends);
      await Promise.allSettled(moving.map((animation) => animation.finished));
    }
  }

  /* Whether a condition is met within a number of frames. */
  async function eventually(condition, frames) {
    for (; frames > 0 && !condition(); frames--) await frame();
    return Boolean(condition());
  }

  /* Unfold what is folded, and see every screen of the page for a frame. */
  async function read() {
    for (const fold of all("details")) fold.open = true;
    for (let top = 0; top < document.documentElement.scrollHeight; top += innerHeight) {
      scrollTo({ top, behavior: "instant" });
      await frame();
    }
    await frame(); // what waits to be near the screen is told after the frame
    scrollTo({ top: 0, behavior: "instant" });
    await still();
  }

  /* Colours and images */

  const inkIsLight = () => {
    const [red, green, blue] = getComputedStyle(document.body).color.match(/[\d.]+/g).map(Number);
    return red + green + blue > 1.5 * 255;
  };

  /* Each image, by its source or its beginning, and its description. */
  const images = () =>
    all("img, svg[role=img], [role=img]")
      .filter((image) => !image.closest("[aria-hidden=true]"))
      // in a link with words of its own, a description would only be read out twice
      .filter((image) => image.alt !== "" || !image.closest("a, button")?.textContent.trim())
      .map((image) => [
        image.getAttribute("src") || image.outerHTML.slice(0, 80),
        image.alt ?? image.getAttribute("aria-label") ?? image.querySelector("title")?.textContent ?? "",
      ]);

  /* The hosts that the page has the browser connect to in advance. */
  const hints = () => all("link:is([rel~=preconnect], [rel~=dns-prefetch])").map((link) => link.href);

  /* Width */

  const hasOverflow = (element, ...kinds) => kinds.includes(getComputedStyle(element).overflowX);

  /* What reaches beyond the screen, without what is inside a box that scrolls. */
  const tooWide = () =>
    opening(
      all("body *")
        .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
        .filter((element) => {
          for (let box = element; box; box = box.parentElement)
            if (hasOverflow(box, "auto", "scroll", "hidden")) return false;
          return true;
        }),
    );

  /* What begins to the left of where scrolling reaches. */
  const cutOff = () =>
    opening(
      all("main *").filter((element) => {
        const { left, right, width } = element.getBoundingClientRect();
        if (width < 2 || right < 0) return false;
        for (let box = element.parentElement; box; box = box.parentElement)
          if (hasOverflow(box, "auto", "scroll")) return left + box.scrollLeft < box.getBoundingClientRect().left - 1;
        return left < -1;
      }),
    );

  /* Charts */

  const isVisible = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return width > 0 && height > 0 && getComputedStyle(element).visibility === "visible";
  };
  const without = (isFine) => all(CHARTS).flatMap((chart, number) => (isFine(chart) ? [] : [`chart ${number}`]));

  /* The charts in whose place there is no drawing, by number. */
  const undrawn = () => without((chart) => chart.querySelector(DRAWN));

  /* The charts in whose place there is nothing to see, neither a drawing nor a picture, by number. */
  const unseen = () => without((chart) => all(DRAWN_OR_PICTURE, chart).some(isVisible));

  /* What is read out of each chart. */
  const chartDescriptions = () =>
    all(CHARTS).map((chart) =>
      all("[aria-label], img", chart)
        .map((part) => part.alt ?? part.getAttribute("aria-label"))
        .join(" "),
    );

  /* A chart's drawing, as text that changes when the drawing does. */
  const drawing = (chart) =>
    all(DRAWN, chart)
      .map((part) => part.toDataURL?.() ?? part.outerHTML)
      .join();

  /* Where the sliders of all charts stand. */
  const sliders = () => all(`${CHARTS} input[type=range]`).map((slider) => slider.value);

  return {
    ...{ still, eventually, read, inkIsLight, images, hints, tooWide, cutOff },
    ...{ undrawn, unseen, chartDescriptions, drawing, sliders },
  };
})();
