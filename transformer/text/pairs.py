"""A sentence and its translation: what every corpus is made of."""

from dataclasses import dataclass


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

    @property
    def translations(self) -> tuple[str, ...]:
        """Every right translation that is known, most likely first."""
        return tuple(text for text, _ in self.alternatives) or (self.target,)
