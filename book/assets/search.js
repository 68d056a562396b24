/* The search page: finds sections, in the index that `sections.js` holds, by words and by the names that people use. */
(() => {
  /* What people call things, and in which words the book speaks of them. */
  const ALSO = {
    "kv cache": ["cache", "keys and values", "nothing is computed twice"],
    "key value cache": ["cache"],
    "weight tying": ["one matrix in three places", "tied"],
    "tied embeddings": ["one matrix in three places", "tied"],
    "teacher forcing": ["all positions at once", "target shifted", "in parallel", "right shifted"],
    "exposure bias": ["its own mistakes", "own words", "never seen its own", "own output"],
    complexity: ["twice the words", "what heads cost", "what it costs", "n2"],
    quadratic: ["twice the words", "n2"],
    bert: ["encoder alone", "bidirectional"],
    gpt: ["decoder alone", "causal attention"],
    llm: ["decoder alone"],
    "flash attention": ["flashattention", "fused"],
    rope: ["rotation", "relative"],
    rotary: ["rotation", "relative"],
    tokenizer: ["byte-pair", "cutting it up"],
    tokenization: ["byte-pair", "cutting it up"],
    bpe: ["byte-pair", "cutting it up"],
    sinusoidal: ["row of clocks", "sinusoids"],
    "sqrt dk": ["why the scores are divided"],
    "residual connection": ["add, then norm", "why words become one"],
    "attention weights": ["one word asks, every word answers"],
    "skip connection": ["residual"],
    "layer norm": ["layernorm", "normalisation"],
    "layer normalization": ["layernorm", "normalisation"],
    normalization: ["normalisation", "layernorm"],
    "pre ln": ["pre-norm"],
    "post ln": ["post-norm"],
    warmup: ["warm-up", "the rate rises first"],
    "warm up": ["the rate rises first"],
    "learning rate": ["warm-up", "the rate rises first"],
    "lr schedule": ["warm-up", "the rate rises first"],
    noam: ["warm-up", "the rate rises first"],
    "self attention": ["self-attention", "attention"],
    mlp: ["feed-forward"],
    ffn: ["feed-forward"],
    "look ahead mask": ["causal mask", "a triangle, minus infinity"],
    "causal mask": ["a triangle, minus infinity"],
    "masked attention": ["causal mask", "a triangle, minus infinity"],
    "cross attention": ["the target asks, the source answers"],
    perplexity: ["perplexity", "loss"],
    temperature: ["drawing, and agreeing"],
    "top k": ["sampling", "temperature"],
    "top p": ["sampling", "nucleus"],
  };
  /* Lessons come first: other pages answer in short, or name everything and explain little of it. */
  const WEIGHTS = [
    [/^book\/\d\d_/, 1],
    [/^book\/questions/, 0.9],
    [/^book\/myths/, 0.7],
    [/^book\/inside/, 0.6],
    [/^book\/api_/, 0.3],
    [/^/, 0.5],
  ];
  const BEHIND = { laboratory: 0.7, "to-keep": 0.7, exercises: 0.4, "check-yourself": 0.4 };
  const weight = ({ at, behind }) => WEIGHTS.find(([place]) => place.test(at))[1] * (BEHIND[behind] ?? 1);
  const SHOWN = 30;
  const MARK = "⎡", MARKED = "⎤"; // around a word to be marked, until the text is typeset
  const COMMON = new Set("a an and are as at be by do does for how i in is it of on or that the to what why with you".split(" "));

  /* Text as it is compared: small letters; √d with an index becomes the two words that people type for it, and a name or
     a compound its parts, so that KV_cache, kv-cache and KV cache are the same. */
  const plain = (text) =>
    text
      .replace(/[⎘⎗⎙⎖]/g, "")
      .toLowerCase()
      .replace(/√\s*\(?/g, "sqrt ")
      .replace(/(?<![\p{L}\p{N}])(\p{L})_(?=[\p{L}\p{N}])/gu, "$1") // d_k
      .replace(/[_‑–—-]/g, " ");
  const WORD = /[\p{L}\p{N}]+/gu;
  const ENDING = /(ations?|at(?:es?|ed|ing)|ings?|ers?|es|s|ed|e)$/;

  /* The words of a text, and with a compound also its parts in one: warm-up is what others call warmup. */
  const words = (text) => plain(text).match(WORD) ?? [];
  const compounds = (text) => (text.match(/\p{L}+(?:[‑-]\p{L}+)+/gu) ?? []).map((word) => plain(word).replaceAll(" ", ""));

  /* What a word has in common with its other forms, and with its other spelling: initialise, initialization; colour, color. */
  const stem = (word) =>
    word.length > 4 ? word.replace(/iz(?=e|ing|ation)/, "is").replace(/our(?=s?$|ed|ing|al)/, "or").replace(ENDING, "") : word;

  const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

  /* An index, an exponent and code, as `tools/pages/search.py` marks them in texts, become what they are, from the inside out. */
  const MARKUP = { "⎘": ["<sub>", "</sub>"], "⎗": ["<sup>", "</sup>"], "⎙": ['<code class="literal">', "</code>"] };
  const INDEX = /(?<![\p{L}\p{N}_])(\p{L})_([\p{L}\p{N}]+)(?![\p{L}\p{N}_])/gu; // √d_model in words, never in code
  function typeset(text) {
    const parts = escaped(text).split(/(⎙[^⎖]*⎖)/).map((part, number) => (number % 2 ? part : part.replace(INDEX, "$1⎘$2⎖")));
    let html = parts.join(""), before;
    do {
      before = html;
      html = html.replace(/([⎘⎗⎙])([^⎘⎗⎙⎖]*)⎖/g, (_, sign, inside) => MARKUP[sign].join(inside));
    } while (html !== before);
    return html;
  }

  /* The signs of those that have begun and not ended where a text is cut. */
  function begun(text) {
    const signs = [];
    for (const [sign] of text.matchAll(/[⎘⎗⎙⎖]/g)) {
      if (sign === "⎖") signs.pop();
      else signs.push(sign);
    }
    return signs;
  }

  function index(sections) {
    const seen = new Map(); // in how many sections a word stands
    const entries = sections.map((section) => {
      const title = [...words(section.title), ...compounds(section.title)].map(stem);
      const body = [...words(section.text), ...compounds(section.text), ...words(section.more ?? "")].map(stem);
      const counts = new Map();
      for (const word of body) counts.set(word, (counts.get(word) ?? 0) + 1);
      for (const word of new Set([...title, ...body])) seen.set(word, (seen.get(word) ?? 0) + 1);
      return { ...section, titleWords: new Set(title), counts, length: body.length, plain: plain(`${section.title}. ${section.text}`) };
    });
    return { entries, seen };
  }

  /* Okapi BM25 over the section's words; a word of the title, and a phrase that stands there as it was typed, count more. */
  function search({ entries, seen }, query) {
    const asWords = (text) => words(text).filter((word) => !COMMON.has(word)).map(stem);
    const asked = [...new Set(asWords(query))];
    const spoken = ` ${words(query).join(" ")} `;
    const phrase = words(query).join(" ");
    const also = Object.entries(ALSO).flatMap(([name, others]) => (spoken.includes(` ${name} `) ? others : []));
    const about = ({ title, page, titleWords }) => title === page && asked.every((word) => titleWords.has(word));
    const chapters = asked.length ? entries.filter(about) : [];
    const chapter = chapters.find(({ title }) => ` ${words(title).join(" ")} `.includes(` ${phrase} `)) ?? chapters[0];
    const mean = entries.reduce((sum, entry) => sum + entry.length, 0) / entries.length;
    const scored = entries.map((entry) => {
      let score = 0, found = 0;
      for (const word of asked) {
        const rare = Math.log(1 + entries.length / (1 + (seen.get(word) ?? 0)));
        const count = entry.counts.get(word) ?? 0;
        if (count || entry.titleWords.has(word)) found += 1;
        score += (rare * count * 2.2) / (count + 1.2 * (0.25 + (0.75 * entry.length) / mean));
        if (entry.titleWords.has(word)) score += 2 * rare;
      }
      if (asked.length) score *= (found / asked.length) ** 2;
      if (phrase.includes(" ") && entry.plain.includes(phrase)) score += plain(entry.title).includes(phrase) ? 12 : 6;
      for (const other of also) {
        if (entry.plain.includes(plain(other))) score += plain(entry.title).includes(plain(other)) ? 12 : 4;
      }
      if (entry === chapter) score += 15;
      return { entry, score, order: score * weight(entry) };
    });
    const best = scored.filter(({ score }) => score > 0.5).sort((one, other) => other.order - one.order);
    return best.slice(0, SHOWN).map(({ entry }) => {
      const said = also.filter((other) => plain(entry.text).includes(plain(other))); // a title that stands for a name is not marked
      return { ...entry, marked: new Set([...asked, ...said.flatMap(asWords)]) };
    });
  }

  /* The part of a section's text around the first word that was asked for, with all of them marked. */
  function snippet(text, marked) {
    const isMarked = (word) => marked.has(stem(word.toLowerCase()));
    const hit = [...text.matchAll(WORD)].find(([word]) => isMarked(word))?.index ?? 0;
    const from = Math.max(0, hit - 70);
    const start = from ? text.indexOf(" ", from) + 1 : 0;
    const goesOn = start + 220 < text.length;
    const end = goesOn ? text.lastIndexOf(" ", start + 220) : text.length;
    let part = begun(text.slice(0, start)).join("") + text.slice(start, end);
    part += "⎖".repeat(begun(part).length);
    part = part.replace(WORD, (word) => (isMarked(word) ? `${MARK}${word}${MARKED}` : word));
    part = typeset(part).replaceAll(MARK, "<mark>").replaceAll(MARKED, "</mark>");
    return `${start ? "… " : ""}${part}${goesOn ? " …" : ""}`;
  }

  function show(query) {
    const place = document.getElementById("search-results");
    const hits = search(show.index, query);
    const root = document.documentElement.dataset.content_root ?? "./";
    const found = hits.map((hit) => {
      const within = hit.title === hit.page ? "" : ` <span class="search-page">${typeset(hit.page)}</span>`;
      return `<li><a href="${root}${hit.at}">${typeset(hit.title)}</a>${within}<p class="context">${snippet(hit.text, hit.marked)}</p></li>`;
    });
    const said = { 0: "Nothing was found. Try fewer words, or another name for it.", 1: "One section:" };
    place.innerHTML = `<p role="status">${said[hits.length] ?? `${hits.length} sections, the best first:`}</p><ul class="search">${found.join("")}</ul>`;
  }

  addEventListener("DOMContentLoaded", () => {
    if (!document.getElementById("search-results") || !window.BOOK_SECTIONS) return;
    show.index = index(window.BOOK_SECTIONS);
    const query = new URLSearchParams(location.search).get("q") ?? "";
    for (const field of document.querySelectorAll('input[name="q"]')) field.value = query;
    if (query.trim()) show(query);
  });
})();
