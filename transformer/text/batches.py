"""Batches: sentence pairs of unequal length, padded into one tensor, grouped by length or at random (paper §5.1)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer.text.pairs import Pair
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import Tokenizer

Example = tuple[list[int], list[int]]
"""one sentence pair as token ids, without BOS and EOS"""


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair]) -> list[Example]:
    """The pairs as token ids."""
    sources = tokenizer.encode_all([pair.source for pair in pairs])
    targets = tokenizer.encode_all([pair.target for pair in pairs])
    return list(zip(sources, targets, strict=True))


def too_long(examples: Sequence[Example], longest: int) -> dict[int, int]:
    """The examples with more than `longest` tokens on a side, EOS counted: their indices, and how many they have."""
    lengths = {i: max(len(source), len(target)) + 1 for i, (source, target) in enumerate(examples)}
    return {i: length for i, length in lengths.items() if length > longest}


@dataclass(frozen=True)
class Batch:
    """Some sentence pairs, padded to the longest: source (B, S) ends in EOS, target (B, T+1) runs BOS … EOS."""

    source: Tensor
    """token ids (B, S)"""
    target: Tensor
    """token ids (B, T+1)"""

    @property
    def target_in(self) -> Tensor:
        """What the decoder is fed, (B, T): the target shifted right, from BOS to the last word (paper §3.1)."""
        return self.target[:, :-1]

    @property
    def target_out(self) -> Tensor:
        """What it must predict at the same positions, (B, T): from the first word to EOS."""
        return self.target[:, 1:]

    @property
    def target_mask(self) -> Tensor:
        """True where there is a token to predict, False at padding, (B, T)."""
        return self.target_out != PAD

    @property
    def n_tokens(self) -> int:
        """How many tokens are to be predicted; padding does not count."""
        return int(self.target_mask.sum())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(self.source.to(device, non_blocking=True), self.target.to(device, non_blocking=True))


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Stack id lists of unequal length as (B, longest), filled up with PAD on the right."""
    width = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows], dtype=torch.long).view(len(rows), width)


def collate(examples: Sequence[Example]) -> Batch:
    """Make a batch of examples: EOS closes each source, BOS opens and EOS closes each target."""
    return Batch(
        source=pad([[*source, EOS] for source, _ in examples]),
        target=pad([[BOS, *target, EOS] for _, target in examples]),
    )


def plain_batches(examples: Sequence[Example], batch_size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Batches of all examples in random order: index lists of `batch_size`, the last one perhaps shorter."""
    order = list(range(len(examples)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def token_batches(examples: Sequence[Example], max_tokens: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Batches of sentences of like length, index lists of as many as fit in `max_tokens` (paper §5.1).

    The budget counts positions of the padded tensor, source or target, whichever is larger. Each example comes
    exactly once an epoch; the batches come in random order, and so do examples of equal length within them.
    A sentence longer than the budget is a batch of its own.
    """
    rng = random.Random(f"{seed}/{epoch}")
    lengths = [(len(source) + 1, len(target) + 1) for source, target in examples]  # with EOS
    order = list(range(len(examples)))
    rng.shuffle(order)
    order.sort(key=lambda i: _place(*lengths[i]))  # stable: equal lengths stay shuffled

    batches: list[list[int]] = []
    longest = 0
    for i in order:
        longest = max(longest, *lengths[i])
        if not batches or longest * (len(batches[-1]) + 1) > max_tokens:
            batches.append([])
            longest = max(lengths[i])
        batches[-1].append(i)
    rng.shuffle(batches)
    return iter(batches)


def _place(source: int, target: int) -> tuple[int, int]:
    """The key by which pairs are sorted by length: the longer side, then the difference of the two sides.

    The difference rises where the longer side is odd and falls where it is even, so that the last pairs of one
    length and the first of the next are alike on both sides.
    """
    longer = max(source, target)
    return longer, source - target if longer % 2 else target - source
