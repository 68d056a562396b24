"""Batches: sentence pairs of unequal length, padded into one tensor, grouped by length or at random (paper §5.1)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transformer.text.encoded import Encoded, Example
from transformer.text.pairs import Pair, checked_pairs
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import Tokenizer


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair]) -> list[Example]:
    """The pairs as token ids; raises TypeError for what is no `Pair`."""
    pairs = checked_pairs(pairs)
    sources = tokenizer.encode_all([pair.source for pair in pairs])
    targets = tokenizer.encode_all([pair.target for pair in pairs])
    return list(zip(sources, targets, strict=True))


def lengths_of(examples: Sequence[Example]) -> np.ndarray:
    """How many tokens the two sides of each example have, EOS not counted: whole numbers, (n, 2)."""
    if isinstance(examples, Encoded):
        return examples.lengths
    return np.array([(len(source), len(target)) for source, target in examples], dtype=np.int32).reshape(-1, 2)


def too_long(examples: Sequence[Example], longest: int) -> dict[int, int]:
    """The examples with more than `longest` tokens on a side, EOS counted: their indices, and how many they have."""
    lengths = lengths_of(examples).max(axis=1, initial=0) + 1
    found = np.flatnonzero(lengths > longest)
    return dict(zip(found.tolist(), lengths[found].tolist(), strict=True))


@dataclass(frozen=True, eq=False)  # by identity, as == of tensors is neither true nor false
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
    """Stack id lists of unequal length as (B, longest), filled up with PAD on the right.

    Raises TypeError for ids that are no whole numbers.
    """
    width = max(map(len, rows), default=0)
    try:
        ids = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    except (TypeError, ValueError, RuntimeError) as error:  # of strings, of None, of numbers beyond 2⁶³
        raise TypeError(f"got {rows!r:.80} for ids, expected whole numbers, as `encode` gives them") from error
    if ids.is_floating_point() and ids.numel():  # of nothing at all PyTorch makes a tensor of floats, too
        raise TypeError("got ids with a decimal point, expected whole numbers")
    return ids.long().view(len(rows), width)


def collate(examples: Sequence[Example]) -> Batch:
    """Make a batch of examples: EOS closes each source, BOS opens and EOS closes each target.

    Raises ValueError for no examples, TypeError for ids that are no whole numbers.
    """
    if not len(examples):
        raise ValueError("got no examples, expected at least one to make a batch of")
    return Batch(
        source=pad([[*source, EOS] for source, _ in examples]),
        target=pad([[BOS, *target, EOS] for _, target in examples]),
    )


def plain_batches(examples: Sequence[Example], batch_size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Batches of all examples in random order: index lists of `batch_size`, the last one perhaps shorter.

    Raises ValueError for a size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    order = _shuffled(len(examples), random.Random(f"{seed}/{epoch}"))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size].tolist()


def token_batches(examples: Sequence[Example], max_tokens: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Batches of sentences of like length, index lists of as many as fit in `max_tokens` (paper §5.1).

    The budget counts positions of the padded source or of the decoder's input, whichever is larger; `Batch.target` has
    one column more. Each example comes exactly once an epoch; the batches come in random order, and so do examples of
    equal length within them.
    A sentence longer than the budget is a batch of its own. Raises ValueError for a budget below 1.
    """
    rng = random.Random(f"{seed}/{epoch}")
    order = _shuffled(len(examples), rng)
    longer, difference = _keys(lengths_of(examples))
    order = order[np.lexsort((difference[order], longer[order]))]  # stable: equal lengths stay shuffled
    cuts = _cuts(longer[order], max_tokens)
    for batch in _shuffled(len(cuts) - 1, rng).tolist():
        yield order[cuts[batch] : cuts[batch + 1]].tolist()


def count_token_batches(examples: Sequence[Example], max_tokens: int) -> int:
    """How many batches `token_batches` makes of these examples, which is the same in every epoch.

    Raises ValueError for a budget below 1.
    """
    return len(_cuts(np.sort(_keys(lengths_of(examples))[0]), max_tokens)) - 1


def _shuffled(n: int, rng: random.Random) -> np.ndarray:
    """The numbers from 0 to n - 1 in random order."""
    order = list(range(n))
    rng.shuffle(order)
    return np.array(order, dtype=np.int64)


def _keys(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What pairs are sorted by, (n,) each: the length of the longer side with EOS, then the sides' difference.

    The difference rises where the longer side is odd and falls where it is even, so that the last pairs of one
    length and the first of the next are alike on both sides.
    """
    longer, difference = lengths.max(axis=1, initial=0) + 1, lengths[:, 0] - lengths[:, 1]
    return longer, np.where(longer % 2 == 1, difference, -difference)


def _cuts(longer: np.ndarray, max_tokens: int) -> list[int]:
    """Where to cut sentences in their order into batches: 0, the beginnings of the others, and the number of sentences.

    The lengths (n,) rise, so a batch is as wide as its last sentence.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected at least 1")
    cuts = [0]
    for i, length in enumerate(longer.tolist()):
        if i > cuts[-1] and length * (i - cuts[-1] + 1) > max_tokens:
            cuts.append(i)
    return [*cuts, len(longer)] if len(longer) else cuts
