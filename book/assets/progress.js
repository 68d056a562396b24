/* What a reader has read, predicted and solved: noted in the chapters, told on the front page, and kept on the device alone.
   Without a script there is nothing to see of it. */
(() => {
  const NOTES = ["read:", "prediction:", "solved:"];
  const kept = window.bookKept;

  /* In a chapter: who sees its last section has read it. */
  function noteReading(heading) {
    const chapter = location.pathname.split("/").pop().replace(/\.html$/, "");
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      seen.disconnect();
      kept.set(`read:${chapter}`, "true");
    });
    seen.observe(heading);
  }

  /* Exercises are checked in the notebook, which the pages know nothing of; so readers say themselves what they have solved. */
  function askWhetherSolved(verdict) {
    const number = verdict.querySelector("strong")?.textContent.match(/\d+\.\d+/)?.[0];
    if (!number) return;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "solved" });
    button.textContent = `I have solved ${number}`;
    const tell = () => button.setAttribute("aria-pressed", kept.get(`solved:${number}`) !== null);
    button.addEventListener("click", () => {
      kept.set(`solved:${number}`, kept.get(`solved:${number}`) === null ? "true" : null);
      tell();
      countSolved();
    });
    tell();
    verdict.append(button);
    offerColab(verdict, number);
  }

  /* What the notebook's own bar, which was empty when the page was built, shows of these marks. */
  function countSolved() {
    const solved = kept.names().filter((name) => name.startsWith("solved:")).length;
    for (const bar of document.querySelectorAll(".verdict progress")) {
      bar.value = solved;
      bar.previousSibling.textContent = `${solved} of ${bar.max} marked as solved `;
    }
  }

  /* One click to the exercise's own cell. Where nobody has published the book, no page leads to Colab, and this does not either. */
  function offerColab(verdict, number) {
    const notebook = document.querySelector('a[href^="https://colab.research.google.com/github/"]');
    if (!notebook) return;
    const link = Object.assign(document.createElement("a"), { className: "in-colab", target: "_blank", rel: "noopener" });
    link.href = `${notebook.href.split("#")[0]}#scrollTo=exercise-${number.replace(".", "-")}`; // as tools/exercises.py names it
    link.textContent = `Try ${number} in Colab`;
    verdict.append(" ", link);
  }

  /* On the front page. */
  function tellProgress(places) {
    const count = (names, kind) => {
      const all = names.split(" ").filter(Boolean);
      return [all.filter((name) => kept.get(kind + name) !== null).length, all.length];
    };
    for (const place of places) {
      const { chapter, predictions, exercises } = place.dataset;
      const [predicted, questions] = count(predictions, "prediction:");
      const [solved, tasks] = count(exercises, "solved:");
      const told = [];
      if (kept.get(`read:${chapter}`) !== null) told.push("read");
      if (predicted) told.push(`${predicted} of ${questions} predicted`);
      if (solved) told.push(`${solved} of ${tasks} solved`);
      place.textContent = told.join(" · ");
    }
  }

  function offerToForget(places) {
    const notes = () => kept.names().filter((name) => NOTES.some((kind) => name.startsWith(kind)));
    if (!notes().length) return;
    const words = "What you have read, predicted and solved is kept on this device, and nowhere else. ";
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Forget it" });
    const line = Object.assign(document.createElement("p"), { className: "forget" });
    line.setAttribute("role", "status");
    line.append(words, button);
    places[0].closest("ul").after(line);
    button.addEventListener("click", () => {
      for (const name of notes()) kept.set(name, null);
      tellProgress(places);
      line.textContent = "Forgotten.";
    });
  }

  addEventListener("DOMContentLoaded", () => {
    const last = document.querySelector("section#to-keep > h2");
    if (last) noteReading(last);
    document.querySelectorAll(".verdict").forEach(askWhetherSolved);
    countSolved();
    const places = [...document.querySelectorAll(".so-far")];
    if (!places.length) return;
    tellProgress(places);
    offerToForget(places);
  });
})();
