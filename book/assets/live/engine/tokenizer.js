/* From text to token ids and back (paper §5.1), as transformer/text/tokenizer.py does it: byte pairs, or whole words. */
globalThis.engine ??= {};
(() => {
  const SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"], UNK = 3; // transformer/text/symbols.py

  /* Words, by whether they are known; marks count neither way while they are. */
  const divided = (words, isKnown) => ({
    known: words.filter((word) => isKnown(word) && /[\p{L}\p{N}]/u.test(word)),
    unknown: words.filter((word) => !isKnown(word)),
  });

  /* Byte-level byte-pair encoding. vocab (V) holds the tokens by id, each byte written as one letter; merges holds pairs of
     ids, in the order in which they were learned, with the id of what they become. */
  class BytePairs {
    static PIECES = new RegExp(
      String.raw`'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+` +
        String.raw`|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+`,
      "gu",
    );
    static UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });
    advice = "Type an English sentence.";
    more = ""; // to say where a word is unknown
    between = ""; // pieces, which bring their blanks along

    constructor({ vocab, merges }) {
      const letters = BytePairs.letters();
      this.vocab = vocab;
      this.byteOf = new Map(letters.map((letter, byte) => [letter, byte]));
      this.ofByte = letters.map((letter) => vocab.indexOf(letter)); // the id of each byte
      this.ranks = new Map(merges.map(([first, second, into], rank) => [this.key(first, second), { rank, into }]));
      this.longest = vocab.reduce((most, token) => Math.max(most, token.length), 0); // token, in bytes
    }

    /* The letter of each byte: itself if it can be seen, else the next one after 255. */
    static letters() {
      let next = 256;
      const seen = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
      return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(seen(byte) ? byte : next++));
    }

    key(first, second) {
      return first * this.vocab.length + second;
    }

    /* The ids of a text; once they are more than `most`, perhaps not all of them. */
    encode(text, most = Infinity) {
      if (text.length > most * this.longest) text = text.slice(0, (most + 1) * this.longest); // too many tokens anyway
      const ids = [];
      for (const [piece] of text.matchAll(BytePairs.PIECES)) {
        ids.push(...this.merge(Array.from(new TextEncoder().encode(piece), (byte) => this.ofByte[byte])));
        if (ids.length > most) break;
      }
      return ids;
    }

    /* Fuse the pair of neighbours that was learned first, the leftmost of equals, until none is left. */
    merge(ids) {
      for (;;) {
        let found = { rank: Infinity };
        for (let i = 1; i < ids.length; i++) {
          const pair = this.ranks.get(this.key(ids[i - 1], ids[i]));
          if (pair?.rank < found.rank) found = { ...pair, i };
        }
        if (!("i" in found)) return ids;
        ids.splice(found.i - 1, 2, found.into);
      }
    }

    /* A sentence as the model has learned to read it: as it stands. */
    begun(sentence) {
      return sentence;
    }

    /* The words of a text, by whether the model can have seen their letters: Latin ones, and none of which it only has bytes. */
    divide(text) {
      const foreign = /[^\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}]|\p{Extended_Pictographic}/u;
      const inBytes = (word) => this.encode(` ${word}`).some((id) => this.decode([id]).includes("\uFFFD"));
      return divided(text.split(" "), (word) => !foreign.test(word) && !inBytes(word));
    }

    decode(ids) {
      const text = ids.filter((id) => id >= SPECIAL.length).map((id) => this.vocab[id]).join("");
      return BytePairs.UTF8.decode(Uint8Array.from(text, (letter) => this.byteOf.get(letter)));
    }
  }

  /* Whole words and marks; others become UNK. */
  class Words {
    static LETTER = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;
    static PIECES = new RegExp(String.raw`[${Words.LETTER}]+|[^${Words.LETTER}\p{White_Space}]+`, "gu");
    advice = "Type an English sentence of words that it knows: their list unfolds below Figure 1 in “Inside the model”.";
    more = " The list of words that it knows unfolds below Figure 1 in “Inside the model”.";
    between = " "; // pieces

    constructor({ vocab }) {
      this.vocab = vocab;
      this.ids = new Map(vocab.map((token, id) => [token, id]));
    }

    encode(text, most = Infinity) {
      const ids = [];
      for (const [piece] of text.matchAll(Words.PIECES)) {
        ids.push(this.ids.get(piece) ?? UNK);
        if (ids.length > most) break;
      }
      return ids;
    }

    /* A sentence as the model has learned to read it: with a small first letter, but for a name. */
    begun(sentence) {
      const [first] = sentence.match(/^\S*/), small = first.toLowerCase();
      const unknown = (word) => this.divide(word).unknown.length;
      return unknown(small) < unknown(first) ? small + sentence.slice(first.length) : sentence;
    }

    /* The words of a text, by whether the vocabulary has them. */
    divide(text) {
      return divided(Array.from(text.matchAll(Words.PIECES), ([piece]) => piece), (word) => this.ids.has(word));
    }

    decode(ids) {
      return ids.filter((id) => id >= SPECIAL.length).map((id) => this.vocab[id]).join(" ");
    }
  }

  const tokenizer = (stored) => (stored.merges ? new BytePairs(stored) : new Words(stored));

  /* Each id as a readable piece of text, special tokens included. */
  const pieces = (tokenizer, ids) => ids.map((id) => SPECIAL[id] ?? tokenizer.decode([id]));

  Object.assign(engine, { tokenizer, pieces, UNK });
})();
