/* A sentence to type: Enter, or the button, hands it on. It wraps, so that a phone shows all of it. Below it, what two
   sentences have in common. */
live.sentence = (label, typed) => {
  const { make } = live;
  const input = make("textarea", { "aria-label": label, rows: 2, spellcheck: "false" });
  const form = make("form", { class: "live-sentence" }, input, make("button", {}, "Translate"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    typed(input.value);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return { form, input };
};

/* Which of some words belong to the longest sequence that they have in common with others: a truth value for each. */
live.inCommon = (words, others) => {
  const length = [...words, ""].map(() => Array(others.length + 1).fill(0)); // of the sequence from (i, j) on
  for (let i = words.length - 1; i >= 0; i--)
    for (let j = others.length - 1; j >= 0; j--)
      length[i][j] = words[i] === others[j] ? 1 + length[i + 1][j + 1] : Math.max(length[i + 1][j], length[i][j + 1]);
  const common = words.map(() => false);
  for (let i = 0, j = 0; i < words.length && j < others.length; ) {
    if (words[i] === others[j]) [common[i++], j] = [true, j + 1];
    else length[i + 1][j] >= length[i][j + 1] ? i++ : j++;
  }
  return common;
};

/* Words, those marked that others do not have in common with them. */
live.marked = (words, others) => {
  const common = live.inCommon(words, others);
  return words.map((word, i) => (common[i] ? word : live.make("mark", {}, word)));
};
