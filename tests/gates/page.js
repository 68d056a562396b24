/* What visits do on an open page, and what the gates ask of it. `visits.py` calls it in the page, which then has `gates`, and
   says for how many frames to wait for what comes on a page that is well. */
(patience) => {
  const CHARTS = ".chart";
  const DRAWN = ".chart-live svg, .chart-live canvas";
  const DRAWN_OR_PICTURE = "svg, canvas, img";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const frame = () => new Promise(requestAnimationFrame);
  const opening = (elements) => elements.slice(0, 5).map((element) => element.outerHTML.slice(0, 120));

  /* What a reader does */

  const ends = ({ playState, effect }) => playState === "running" && effect.getComputedTiming().endTime < Infinity;

  /* Until the page stands still: its fonts are there, and what unfolds or changes colour has done so. Frames are asked for
     while the fonts come: without any, a browser that draws nothing new may never say that they are there. */
  async function still() {
    const fontsAreThere = await eventually(() => document.fonts.status === "loaded");
    if (!fontsAreThere) throw new Error("the browser has stalled: fonts are still to come"); // `visits.py` knows the words
    for (let moving = [0]; moving.length; ) {
      await frame();
      moving = document.getAnimations().filter(ends);
      await Promise.allSettled(moving.map((animation) => animation.finished));
    }
  }

  /* Whether a condition is met before the patience is at its end. */
  async function eventually(condition) {
    for (let frames = patience; frames > 0 && !condition(); frames--) await frame();
    return Boolean(condition());
  }

  /* Until the page has followed a change of its width: nothing of it has changed for some frames. */
  function settled() {
    let [frames, before] = [0, ""];
    return eventually(() => {
      const now = [innerWidth, document.documentElement.scrollHeight, all(".goes-on").length, undrawn().length].join();
      [frames, before] = [now === before ? frames + 1 : 0, now];
      return frames > 5;
    });
  }

  /* Unfold what is folded, and come near to every part of the page: charts are drawn from 600 pixels away. */
  async function read() {
    document.querySelector(".reading-switch [data-choice=everything]")?.click();
    for (const fold of all("details")) fold.open = true;
    for (let top = 0; top < document.documentElement.scrollHeight; top += innerHeight + 500) {
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

  /* Mark the elements that are of a kind with three earlier ones of the page and painted alike: their contrast is the same,
     and there are thousands of them. Three, and letters by themselves, since axe does not judge all that it sees. In code
     they become plain text, as axe's work grows with the number of elements. */
  const UNPAINTED = "rgba(0, 0, 0, 0) none 1 none";
  function markAlike() {
    const [grounds, times, alike] = [new Map(), {}, []];
    for (const piece of all("article, article *")) {
      const { color, fontSize, fontWeight, backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(piece);
      const paint = [backgroundColor, backgroundImage, opacity, filter].join(" ");
      const ground = `${grounds.get(piece.parentElement) ?? ""} ${paint === UNPAINTED ? "" : paint}`.trimEnd();
      grounds.set(piece, ground); // that of all around it, too
      const names = [piece, piece.parentElement].map(({ tagName, attributes }) => [tagName, attributes.class?.value]);
      const isLetter = piece.textContent.trim().length < 2;
      const look = [names, isLetter, color, fontSize, fontWeight, ground].join();
      times[look] = (times[look] ?? 0) + 1;
      if (times[look] > 3) alike.push(piece);
    }
    for (const piece of alike) // only now, since after a change the browser would compute every style anew
      if (piece.matches("pre *") && !piece.childElementCount) piece.replaceWith(piece.textContent);
      else piece.dataset.alike = "";
  }

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

  /* Without a script nothing can fade: what scrolls and has no shadow, over which the ground moves at the end. */
  const cutWithoutShadow = () =>
    opening(
      all("article *").filter((box) => {
        if (box.scrollWidth <= box.clientWidth + 16 || box.clientWidth < 40 || !box.checkVisibility()) return false;
        return hasOverflow(box, "auto", "scroll") && !getComputedStyle(box).backgroundAttachment.includes("local");
      }),
    );

  /* What goes on beyond its box and does not show it: by scrolling, and by fading out where it goes on. */
  const cutWithoutCue = () =>
    opening(
      all("article *").filter((box) => {
        if (box.scrollWidth <= box.clientWidth + 16 || box.clientWidth < 40 || !box.checkVisibility()) return false;
        const { overflowX, maskImage, position } = getComputedStyle(box);
        if (overflowX === "visible" || position === "absolute") return false;
        return !hasOverflow(box, "auto", "scroll") || !box.classList.contains("goes-on") || maskImage === "none";
      }),
    );

  /* Figures and code that scroll, and formulas and charts that do so only to show their last few pixels: how wide they are,
     and how wide their box is. */
  const NEARLY = 1.1;
  const nearlyWhole = () =>
    all("article :is(div.math, .picture, .chart, .cell_input pre)")
      .filter((box) => box.checkVisibility() && box.scrollWidth > box.clientWidth + 1)
      .filter((box) => box.matches(".picture, pre") || box.scrollWidth < NEARLY * box.clientWidth)
      .map((box) => [box.textContent.trim().slice(0, 40) || box.className, box.scrollWidth, box.clientWidth]);

  /* What fades out and goes on no further. */
  const fadedForNothing = () =>
    opening(all("article .goes-on").filter((box) => box.checkVisibility() && box.scrollWidth <= box.clientWidth + 1));

  /* Letters */

  const NOT_READ_ALONE = ".katex, sub, sup, [aria-hidden=true]:not(svg *)";

  /* The texts whose letters are smaller than so many pixels, and how small they are. */
  const smallerThan = (smallest) =>
    all("article *").flatMap((element) => {
      const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      if (!own || element.closest(NOT_READ_ALONE) || !element.checkVisibility()) return [];
      let size = parseFloat(getComputedStyle(element).fontSize);
      const place = element.getScreenCTM?.();
      if (place) size *= Math.hypot(place.a, place.b);
      return size < smallest - 0.05 ? [[size, element.textContent.trim().slice(0, 40)]] : [];
    });

  const isLevel = ({ a, b }) => Math.min(Math.abs(a), Math.abs(b)) < 0.02;

  /* The pairs of words in drawings that lie on each other; words at a slant cannot be told, and are left out. */
  const overlaps = () =>
    all("article svg").flatMap((drawing) => {
      const words = all("text", drawing)
        .filter((text) => text.textContent.trim() && text.checkVisibility({ opacityProperty: true }))
        .filter((text) => isLevel(text.getScreenCTM()) && getComputedStyle(text).opacity > 0)
        .map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
      return words.flatMap(([one, a], number) =>
        words.slice(number + 1).flatMap(([other, b]) => {
          const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          const smaller = Math.min(a.width * a.height, b.width * b.height);
          return across > 2 && down > 2 && across * down > 0.2 * smaller ? [[one, other]] : [];
        }),
      );
    });

  /* Words of the style sheet that are read out as one with the text that they follow. */
  const runTogether = () =>
    all("article *").flatMap((element) => {
      const { content, display } = getComputedStyle(element, "::after");
      const isWord = /^"\p{L}/u.test(content) && display.startsWith("inline");
      return isWord && /\S$/.test(element.textContent) ? [`${element.textContent.trim().slice(-20)}${content.slice(1, -1)}`] : [];
    });

  const SAID =
    "h1, h2, h3, h4, title, .claim > summary, .claim-evidence, .prediction, .bd-sidebar a, .page-toc a, #search-results li";
  const TYPESET = "code, .katex, script, svg, .headerlink";

  /* What headings, claims, predictions and results of the search say, without what is typeset in them. */
  const said = () =>
    all(SAID).map((element) => {
      const copy = element.cloneNode(true);
      for (const part of all(TYPESET, copy)) part.remove();
      return copy.textContent.trim();
    });

  /* White */

  function isWhite(colour) {
    const [red, green, blue, opacity = 1] = (colour.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    return colour.startsWith("rgb") && opacity > 0.5 && 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.8 * 255;
  }

  /* What is white, and larger than a letter. */
  const white = () =>
    opening(
      all("article *").filter((element) => {
        const { width, height } = element.getBoundingClientRect();
        if (width * height < 1600 || !element.checkVisibility() || element.closest(".katex")) return false;
        const { fill, fillOpacity, backgroundColor, filter } = getComputedStyle(element);
        if (element instanceof SVGElement)
          return ["rect", "path", "polygon", "circle"].includes(element.localName) && isWhite(fill) && fillOpacity > 0.5;
        return isWhite(backgroundColor) && !filter.includes("invert");
      }),
    );

  /* The page as it opens */

  /* The number of the chapter that the page is; null if it is none. */
  const chapter = () => document.querySelector("article h1")?.textContent.match(/^\d+(?=\. )/)?.[0] ?? null;
  const screens = () => document.documentElement.scrollHeight / innerHeight;

  const SHOWN = "article :is(.picture, .chart, figure, table, .live, .cell_output)";

  /* Whether the first screen shows a picture, or what a cell has put out. */
  const showsSomething = () =>
    all(SHOWN).some((part) => part.checkVisibility() && part.getBoundingClientRect().top + scrollY < innerHeight - 60);

  /* Where the first results of the search lead. */
  const hits = (number) => all("#search-results li > a").slice(0, number).map((link) => link.href);

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

  /* The buttons that can be seen. */
  const buttons = () => opening(all("button").filter((button) => button.checkVisibility()));

  /* A chart's drawing, as text that changes when the drawing does. */
  const drawing = (chart) =>
    all(DRAWN, chart)
      .map((part) => part.toDataURL?.() ?? part.outerHTML)
      .join();

  /* Where the sliders of all charts stand. */
  const sliders = () => all(`${CHARTS} input[type=range]`).map((slider) => slider.value);

  window.gates = {
    ...{ still, settled, eventually, read, inkIsLight, images, hints, markAlike },
    ...{ tooWide, cutOff, cutWithoutCue, cutWithoutShadow, fadedForNothing, nearlyWhole, smallerThan, overlaps, said, white },
    ...{ runTogether, chapter, screens, showsSomething, hits },
    ...{ undrawn, unseen, chartDescriptions, buttons, drawing, sliders },
  };
};
