/* A sentence to type: Enter, or the button, hands it on. It wraps, so that a phone shows all of it. */
live.sentence = (label, typed) => {
  const { make } = live;
  const input = make("textarea", { "aria-label": label, maxlength: 400, rows: 2, spellcheck: "false" });
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
