/* How much of the book is shown: lesson, lesson and code, or everything. Loaded in the head, before there is a page, so that
   nothing is shown first and folded then. Without this script, and in print, everything is open. */
(() => {
  const MODES = ["lesson", "code", "everything"];
  const root = document.documentElement;

  /* What readers choose stays on their device, if it may be kept at all. */
  const kept = {
    get(key) {
      try {
        return localStorage.getItem(key);
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        if (value === null) localStorage.removeItem(key);
        else localStorage.setItem(key, value);
      } catch {
        /* refused: the choice holds for this page */
      }
    },
    names() {
      try {
        return Object.keys(localStorage);
      } catch {
        return [];
      }
    },
  };
  window.bookKept = kept;

  const remembered = kept.get("reading");
  root.dataset.reading = MODES.includes(remembered) ? remembered : "code";

  function apply(mode) {
    root.dataset.reading = mode;
    for (const fold of document.querySelectorAll("details.layer, details.apparatus")) fold.open = mode === "everything";
    for (const fold of document.querySelectorAll("details.code")) fold.open = mode !== "lesson";
    for (const button of document.querySelectorAll(".reading-switch button"))
      button.setAttribute("aria-pressed", button.dataset.choice === mode);
  }

  /* Switching keeps what the reader looks at where it is. */
  function choose(mode) {
    const seen = [...document.querySelectorAll("article :is(h1, h2, h3, p, figure)")].find(
      (element) => element.getBoundingClientRect().top > 0 && element.checkVisibility?.() !== false,
    );
    const before = seen?.getBoundingClientRect().top;
    apply(mode);
    if (seen?.getClientRects().length) scrollBy({ top: seen.getBoundingClientRect().top - before, behavior: "instant" });
    kept.set("reading", mode);
  }

  /* A link, or a hit of the search, into what is folded opens it. */
  function reveal(hash) {
    let target;
    try {
      target = document.getElementById(decodeURIComponent(hash.slice(1)));
    } catch {
      return; // not an address of ours
    }
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    const inside = target.matches("section") && target.querySelector(":scope > details.layer");
    if (inside) inside.open = true;
    target.scrollIntoView({ behavior: "instant" });
  }

  addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.reading);
    root.classList.add("is-folded"); // from here on the folds themselves hide what is in them
    for (const button of document.querySelectorAll(".reading-switch button"))
      button.addEventListener("click", () => choose(button.dataset.choice));
    if (location.hash) reveal(location.hash);
    addEventListener("hashchange", () => reveal(location.hash));
    addEventListener("click", (event) => {
      const link = event.target.closest?.('a[href^="#"]');
      if (link && link.getAttribute("href").length > 1 && link.hash === location.hash) reveal(link.hash);
    });
  });
})();
