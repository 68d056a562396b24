/* The search page: finds sections, in the index that `sections.js` holds, by words and by the names that people use. */
(() => {
  /* What people call things, and in which words the book speaks of them. */
  const ALSO = {
    "kv cache": ["cache", "keys and values"],
    "key value cache": ["cache"],
    "key-value cache": ["cache"],
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
    tokenizer: ["byte-pair", "tokens"],
    tokenization: ["byte-pair", "tokens"],
    bpe: ["byte-pair"],
    "skip connection": ["residual"],
    "layer norm": ["layernorm", "normalisation"],
    "layer normalization": ["layernorm", "normalisation"],
    normalization: ["normalisation", "layernorm"],
    "pre-ln": ["pre-norm"],
    "post-ln": ["post-norm"],
    warmup: ["warm-up", "learning rate"],
    "lr schedule": ["learning rate", "warm-up"],
    softmax: ["softmax"],
    temperature: ["temperature"],
    "cross attention": ["cross-attention"],
    "self attention": ["self-attention", "attention"],
    mlp: ["feed-forward"],
    ffn: ["feed-forward"],
    "look ahead mask": ["causal mask"],
    "look-ahead mask": ["causal mask"],
    perplexity: ["perplexity", "loss"],
    "top-k": ["sampling", "temperature"],
    "top-p": ["sampling", "nucleus"],
  };
  const SHOWN = 30;
  const COMMON = new Set("a an and are as at be by do does for how i in is it of on or that the to what why with you".split(" "));

  /* Text as it is compared: small letters; √d with an index becomes the two words that people type for it. */
  const plain = (text) =>
    text
      .replace(/[⎘⎗]([^⎖]*)⎖/g, "$1")
      .toLowerCase()
      .replace(/√\s*\(?/g, "sqrt ")
      .replace(/_/g, "")
      .replace(/[‑–—]/g, "-");
  const words = (text) => plain(text).match(/[\p{L}\p{N}]+(?:-[\p{L}\p{N}]+)*/gu) ?? [];
  const stem = (word) => (word.length > 4 ? word.replace(/(ations?|ings?|ers?|es|s|ed)$/, "") : word);

  const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const typeset = (text) =>
    escaped(text).replace(/⎘([^⎖]*)⎖/g, "<sub>$1</sub>").replace(/⎗([^⎖]*)⎖/g, "<sup>$1</sup>");

  function index(sections) {
    const seen = new Map(); // in how many sections a word stands
    const entries = sections.map((section) => {
      const title = words(section.title).map(stem);
      const body = words(section.text).map(stem);
      const counts = new Map();
      for (const word of body) counts.set(word, (counts.get(word) ?? 0) + 1);
      for (const word of new Set([...title, ...body])) seen.set(word, (seen.get(word) ?? 0) + 1);
      return { ...section, titleWords: new Set(title), counts, length: body.length, plain: plain(`${section.title}. ${section.text}`) };
    });
    return { entries, seen };
  }

  /* Okapi BM25 over the section's words; a word of the title, and a phrase that stands there as it was typed, count more. */
  function search({ entries, seen }, query) {
    const asked = [...new Set(words(query).filter((word) => !COMMON.has(word)).map(stem))];
    const spoken = ` ${plain(query)} `;
    const phrases = [plain(query).trim()];
    const also = Object.entries(ALSO).flatMap(([name, others]) => (spoken.includes(` ${name} `) ? others : []));
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
      for (const phrase of phrases) if (phrase.includes(" ") && entry.plain.includes(phrase)) score += 6;
      for (const other of also) {
        if (entry.plain.includes(plain(other))) score += plain(entry.title).includes(plain(other)) ? 9 : 4;
      }
      if (entry.at.startsWith("book/api_")) score *= 0.7; // a signature explains little
      return { entry, score };
    });
    const best = scored.filter(({ score }) => score > 0.5).sort((one, other) => other.score - one.score);
    return { hits: best.slice(0, SHOWN).map(({ entry }) => entry), marked: [...asked, ...also.map(plain)] };
  }

  /* The part of a section's text around the first word that was asked for, with all of them marked. */
  function snippet(text, marked) {
    const hits = marked.map((word) => plain(text).indexOf(word)).filter((at) => at >= 0);
    const from = Math.max(0, Math.min(...(hits.length ? hits : [0])) - 70);
    const start = from ? text.indexOf(" ", from) + 1 : 0;
    let part = text.slice(start, start + 220);
    if (start + 220 < text.length) part = `${part.slice(0, part.lastIndexOf(" "))} …`;
    part = part.replace(/[⎘⎗][^⎖]*$/, ""); // cut within an index
    let shown = typeset(`${start ? "… " : ""}${part}`);
    for (const word of marked)
      shown = shown.replace(
        new RegExp(`(?<![\\p{L}&#])(${word.replace(/[^\p{L}\p{N} -]/gu, ".")}\\p{L}*)(?![^<]*>)`, "giu"),
        "<mark>$1</mark>",
      );
    return shown;
  }

  function show(query) {
    const place = document.getElementById("search-results");
    const { hits, marked } = search(show.index, query);
    const root = document.documentElement.dataset.content_root ?? "./";
    const found = hits.map((hit) => {
      const within = hit.title === hit.page ? "" : ` <span class="search-page">${typeset(hit.page)}</span>`;
      return `<li><a href="${root}${hit.at}">${typeset(hit.title)}</a>${within}<p class="context">${snippet(hit.text, marked)}</p></li>`;
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
