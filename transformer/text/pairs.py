"""A sentence and its translation: what every corpus is made of."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pair:
    """One sentence and its translation; the embedded corpus also knows why they are one."""

    source: str
    """the sentence"""
    target: str
    """its translation"""
    alignment: tuple[tuple[int, int], ...] = ()
    """(source word, target word) positions that translate each other, counted from 0, where known"""
    tree: str = ""
    """the bracketed parse of the source, where known"""
    alternatives: tuple[tuple[str, float], ...] = ()
    """all right translations with their probabilities, most likely first, where there is more than one"""
    line: int = field(default=0, compare=False, repr=False)
    """the line of its file, from 1; 0 where it comes from none"""

    @property
    def translations(self) -> tuple[str, ...]:
        """Every right translation that is known, most likely first."""
        return tuple(text for text, _ in self.alternatives) or (self.target,)


def refuse_string(texts: object, kind: str = "texts") -> None:
    """Raise TypeError for one string where several are expected, whose letters would each be taken for one."""
    if isinstance(texts, str):
        raise TypeError(f"got one string, {texts[:40]!r}, expected a list of {kind}: put it in brackets")


def checked_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list; raises TypeError for one string, and for a text that is none, such as a missing value."""
    refuse_string(texts)
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {i} is the {type(text).__name__} {text!r}, expected a string, one for each sentence")
    return texts


def checked_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs as a list; raises TypeError for what is no `Pair`."""
    pairs = list(pairs)
    for pair in pairs:
        if not isinstance(pair, Pair):
            raise TypeError(f"got {type(pair).__name__} {pair!r}, expected a Pair of sentences: Pair(source, target)")
    return pairs


def normalised(text: str) -> str:
    """The text in Unicode's form NFC, with one space for every run of white space, and none at the ends.

    Done once, where text comes in: to corpora, to `translate` and to `evaluate`. So "é" is the same word whether it was
    typed as one character or as two, and a tab is a space. A tokeniser changes nothing.

    Raises TypeError for what is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"got {type(text).__name__} {text!r}, expected a string, one sentence")
    return " ".join(unicodedata.normalize("NFC", text).split())
