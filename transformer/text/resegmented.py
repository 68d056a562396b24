"""BPE-dropout: words that are cut into other tokens in every epoch (Provilkov et al. 2020, arXiv:1910.13267).

Byte-pair encoding cuts a word in one way, so a model sees a rare word's pieces only side by side, and seldom. Where
some merges are left out by chance, it meets the same word in smaller pieces too, and learns how words are put together.
The tokeniser's library can leave out merges, but not from a seed, and a training could not be repeated.
"""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer as Backend

from transformer.text.encoded import Encoded, Example
from transformer.text.tokenizer import Tokenizer

VARIANTS = 16
"""segmentations of each distinct word, drawn once; every occurrence takes one of them"""


def segment(word: str, ranks: Mapping[tuple[str, str], int], rate: float, rng: random.Random) -> list[str]:
    """The tokens of a word: neighbours are merged, the pair learned first before the others (`ranks`).

    Before each merge, every pair that could be merged is passed over with probability `rate`; the word is done when
    none is left. With a rate of 0 this is byte-pair encoding.
    """
    pieces = list(word)
    while True:
        possible = [
            (ranks[pair], i) for i, pair in enumerate(pairwise(pieces)) if pair in ranks and rng.random() >= rate
        ]
        if not possible:
            return pieces
        _, i = min(possible)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


class Resegmented:
    """Sentence pairs whose words are cut anew in each epoch: `epoch(n)` gives them as they are then.

    `examples` are the pairs as they came, with no merge left out. What is drawn depends on the seed and the epoch
    alone. Raises ValueError for a tokeniser of whole words.
    """

    def __init__(self, tokenizer: Tokenizer, examples: Sequence[Example], rate: float, seed: int) -> None:
        rules = tokenizer.to_json()
        settings = json.loads(rules)["model"]
        if settings["type"] != "BPE":
            raise ValueError(
                "bpe_dropout leaves out merges, and got a vocabulary of whole words; expected tokenizer bpe, or "
                "bpe_dropout 0"
            )
        self.examples, self.seed = examples, seed
        cut = Backend.from_str(rules).pre_tokenizer.pre_tokenize_str
        numbers: dict[str, int] = {}  # of the distinct words
        words, ends = [], [0]
        for side in (side for pair in examples for side in pair):
            words += [numbers.setdefault(word, len(numbers)) for word, _ in cut(tokenizer.decode(side))]
            ends.append(len(words))
        self._words = np.array(words, np.int64)  # (words of the text,)
        cuts = np.array(ends, np.int64)  # of no pairs numpy would make floats
        self._bounds = np.stack([cuts[:-1:2], cuts[1::2], cuts[2::2]], axis=1)  # (pairs, 3), as in `Encoded`
        ranks = {tuple(pair): rank for rank, pair in enumerate(settings["merges"])}
        rng = random.Random(f"{seed}/{rate}")
        drawn = [segment(word, ranks, rate, rng) for word in numbers for _ in range(VARIANTS)]
        self._lengths = np.array([len(pieces) for pieces in drawn], np.int64).reshape(-1, VARIANTS)
        self._ids = np.array([settings["vocab"][piece] for pieces in drawn for piece in pieces], np.int64)

    def epoch(self, n: int) -> Encoded:
        """All pairs as they are cut in epoch `n`, counted from 0."""
        return self._cut(np.random.default_rng([self.seed, n]).integers(VARIANTS, size=len(self._words)))

    def longest(self) -> Encoded:
        """All pairs, every word in the segmentation with most tokens: no epoch has longer ones."""
        return self._cut(self._lengths.argmax(axis=1)[self._words])

    def _cut(self, variants: np.ndarray) -> Encoded:
        """The pairs with these segmentations of their words, (words of the text,)."""
        chosen = self._words * VARIANTS + variants
        lengths = self._lengths.ravel()[chosen]
        ends = np.concatenate([[0], lengths.cumsum()])
        starts = np.concatenate([[0], self._lengths.cumsum()])[chosen]  # of the chosen ones in the drawn ids
        ids = self._ids[np.arange(ends[-1]) + np.repeat(starts - ends[:-1], lengths)]
        return Encoded(ids, ends[self._bounds], np.arange(1, len(self._bounds) + 1), checksum="")
