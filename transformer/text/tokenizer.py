"""From text to token ids and back (paper §5.1): byte-level byte-pair encoding, or whole words."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import TypeVar

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from transformer.files import CheckpointError, check_unchanged, replace_text, resolve
from transformer.text.corpora import Corpus
from transformer.text.pairs import refuse_string
from transformer.text.symbols import SPECIAL_TOKENS, UNK

JOINED = "￭"
"""how a vocabulary of words writes that a mark touches the word beside it, as OpenNMT does; in a text it is left out"""
ALL = 2**31
"""more words than any text has: the library stops at 30,000 unless it is told"""
MOST_TOKENS = 2**24
"""tokens of a byte-pair encoding, at most"""
ENOUGH = 500_000
"""sentence pairs that a vocabulary is learned from, at most: more hardly change which pieces are frequent"""
_Item = TypeVar("_Item")


class Tokenizer:
    """A vocabulary and the rules that cut text into its tokens; `tokenizer.json` holds both.

    Made by `Tokenizer.bpe`, `Tokenizer.words` or `Tokenizer.load`. Ids never include BOS or EOS: `collate` adds
    them to a batch. Text that happens to spell a special token, such as "<s>", is text like any other.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._backend.encode_special_tokens = True  # or "<s>" in a sentence would become BOS

    @classmethod
    def bpe(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Learn a byte-level byte-pair encoding of at most `vocab_size` tokens from the texts.

        It starts from the 256 bytes, so no string in any script is unknown, and decode(encode(x)) == x.

        Raises ValueError for a vocabulary that cannot hold the bytes and the special tokens, TypeError for a single
        string, and what `encode` raises for any of the texts.
        """
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        smallest = len(alphabet) + len(SPECIAL_TOKENS)
        # The library reserves memory for all of them, and ends the process without it.
        _check_size(vocab_size, smallest, MOST_TOKENS, "256 bytes and the special tokens")
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator(_checked(texts), trainer)
        return cls(backend)

    @classmethod
    def words(cls, texts: Iterable[str], vocab_size: int | None = None) -> "Tokenizer":
        """Give every word of the texts, and every punctuation mark, an id of its own; others become UNK.

        A mark that touches a word is another token than one that stands apart, so "sleeps." comes back as "sleeps." and
        "sleeps ." as "sleeps .": decode(encode(x)) == " ".join(x.split()) where all words are known and none has a "￭".
        With a `vocab_size`, the most frequent words get ids, special tokens counted; None: all of them.

        Raises ValueError for a vocabulary that cannot hold a word beside the special tokens, TypeError for a single
        string, and what `encode` raises for any of the texts.
        """
        if vocab_size is not None:
            _check_size(vocab_size, len(SPECIAL_TOKENS) + 1, ALL, "special tokens and a word")
        backend = Backend(models.WordLevel(unk_token=SPECIAL_TOKENS[UNK]))
        # Marks are cut off, and those that touch a word say so: "a dog." is read as "a dog ￭.".
        before, behind = r"(?<=\w)(?=[^\w\s])", r"(?<=[^\w\s])(?=\w)"
        backend.normalizer = normalizers.Sequence(
            [
                normalizers.Replace(JOINED, ""),
                normalizers.Replace(Regex(before), f" {JOINED}"),
                normalizers.Replace(Regex(behind), f"{JOINED} "),
            ]
        )
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        backend.decoder = decoders.Sequence(
            [
                decoders.Replace(Regex("^"), " "),
                decoders.Fuse(),
                *(decoders.Replace(joined, "") for joined in (f" {JOINED}", f"{JOINED} ", JOINED)),
                decoders.Strip(" ", 1, 0),
            ]
        )
        trainer = trainers.WordLevelTrainer(
            vocab_size=vocab_size or ALL, special_tokens=list(SPECIAL_TOKENS), show_progress=False
        )
        backend.train_from_iterator(_checked(texts), trainer)
        return cls(backend)

    def __len__(self) -> int:
        """The number of tokens, special ones included."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, without BOS and EOS.

        Raises TypeError for what is not a string, ValueError for one that is no valid Unicode text.
        """
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, in parallel; raises what `encode` raises, and TypeError for a single string."""
        return [encoding.ids for encoding in self._backend.encode_batch(list(_checked(texts)))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out; no model is asked, `transformer.decoding` does that.

        Raises IndexError for an id that is not in the vocabulary, TypeError for what are no ids of one text.
        """
        return self._backend.decode(self._known(ids), skip_special_tokens=True)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each id as a readable piece of text, special tokens included: labels for a figure.

        Raises what `decode` raises.
        """
        return [
            SPECIAL_TOKENS[i] if i < len(SPECIAL_TOKENS) else self._backend.decode([i], skip_special_tokens=False)
            for i in self._known(ids)
        ]

    def _known(self, ids: Sequence[int]) -> list[int]:
        """The ids as a list; the library would pass over one that is not in the vocabulary."""
        try:
            known = [operator.index(i) for i in ids]  # of NumPy and PyTorch, too
        except TypeError as error:
            raise TypeError(f"got {ids!r:.80}, expected the token ids of one text, as `encode` gives them") from error
        size = len(self)
        for i in known:
            if not 0 <= i < size:
                raise IndexError(f"there is no token {i}, expected ids from 0 to {size - 1}")
        return known

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`, whole or not at all."""
        replace_text(Path(path), self.to_json())

    def to_json(self) -> str:
        """What `tokenizer.json` holds."""
        return self._backend.to_str(pretty=True)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "Tokenizer":
        """The tokeniser of a checkpoint, a run or a shipped model, as `Transformer.from_pretrained` finds it.

        Raises CheckpointError where there is none of that name, or where no tokeniser lies beside the model, and
        ValueError for a file that is none.
        """
        folder = resolve(name)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing, expected the tokenizer that the model was trained with; save it beside the model "
                f"with tokenizer.save({str(path)!r})"
            )
        tokenizer = cls.load(path)
        check_unchanged(folder, "tokenizer.json")
        return tokenizer

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a `tokenizer.json` that `save` wrote.

        Raises FileNotFoundError where there is none, ValueError for a file that is not one, or whose special
        tokens have other ids.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} is missing, expected the tokenizer that the model was trained with")
        try:
            backend = Backend.from_str(Path(path).read_text(encoding="utf-8"))
        except Exception as error:  # the Rust side raises bare Exception for anything it cannot parse
            raise ValueError(
                f"{path} is not a tokenizer file ({error}); was it cut off, or made by another program?"
            ) from error
        found = tuple(backend.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
        if found != SPECIAL_TOKENS:
            raise ValueError(
                f"{path} begins with the tokens {found}, expected {SPECIAL_TOKENS}; it is of another program"
            )
        return cls(backend)


def _check_size(vocab_size: int, least: int, most: int, contents: str) -> None:
    if not isinstance(vocab_size, Integral):
        raise TypeError(f"vocab_size is {vocab_size!r}, expected a whole number")
    if vocab_size < least:
        raise ValueError(f"vocab_size is {vocab_size}, expected at least {least}: {contents}")
    if vocab_size > most:
        raise ValueError(f"vocab_size is {vocab_size}, expected at most {most:,}")


def _checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts, one after the other; raises TypeError or ValueError at the first one that is no Unicode text."""
    refuse_string(texts)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"got {type(text).__name__} {text!r}, expected a string to encode")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{text!r} holds half a surrogate pair, expected Unicode text; was it read as UTF-8?"
            ) from error
        yield text


def evenly_spaced(items: Iterable[_Item], most: int) -> list[_Item]:
    """At most `most` of the items, and at least half as many, at equal distances; all of them where they are fewer."""
    kept, distance = [], 1
    for i, item in enumerate(items):
        if i % distance == 0:
            kept.append(item)
        if len(kept) > most:
            kept, distance = kept[::2], 2 * distance
    return kept


def make_tokenizer(kind: str, corpus: Corpus, vocab_size: int) -> Tokenizer:
    """Learn the joint vocabulary of both languages, from the training split alone; `kind` is "bpe" or "words".

    Of a split with more than ENOUGH pairs, as many as half of that to all of it are read, evenly spaced.

    Raises ValueError for another kind, and what `Tokenizer.bpe` or `Tokenizer.words` raises for a vocabulary that is
    too small.
    """
    if kind not in ("bpe", "words"):
        raise ValueError(f"kind is {kind!r}, expected 'bpe' or 'words'")
    texts = (text for pair in evenly_spaced(corpus.stream("train"), ENOUGH) for text in (pair.source, pair.target))
    return Tokenizer.words(texts, vocab_size) if kind == "words" else Tokenizer.bpe(texts, vocab_size)
