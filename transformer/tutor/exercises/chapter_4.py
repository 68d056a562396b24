"""Exercises of chapter 4, masking. True means everywhere: may be attended to."""

import math
from collections.abc import Iterator

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def padded(draw: Draw) -> Iterator[Arguments]:
    """Sentences with padding at the end, and once at the beginning; its id is not always 0."""
    yield torch.tensor([[5, 6, 0]]), 0
    yield torch.tensor([[5, 0, 7, 1], [4, 1, 1, 1]]), 1
    yield torch.tensor([[3, 9, 4, 0], [8, 2, 0, 0], [7, 5, 6, 2], [4, 0, 0, 0]]), 0
    yield torch.tensor([[0, 0, 5, 6]]), 0  # to count the real words is not to know where they stand


def padded_as_usual(draw: Draw) -> Iterator[Arguments]:
    """The same, one of them with the usual padding, which need not be named, and one with ids of another dtype."""
    yield (torch.tensor([[7, 0]]),)
    yield from padded(draw)
    yield torch.tensor([[2, 6, 4, 4, 4], [3, 8, 4, 5, 7]], dtype=torch.int32), 4


@exercise(
    "4.1",
    padded_as_usual,
    hints=["A word may be attended to where ids != pad.", "mask[:, None, None, :] adds axes for heads and queries."],
)
def my_padding_mask(ids, pad=0):
    """The mask of ids (B, S) that hides padding from every head and query: (B, 1, 1, S), True at real words."""
    return (ids != pad)[:, None, None, :]


def _padding(ids, pad=0, inverted=False, queries=False, zero=False, greater=False, flat=False, first=False):
    real = ids > pad if greater else ids != (0 if zero else pad)
    real = ~real if inverted else real
    if flat:
        return real
    return real[None, None] if first else real[:, None, :, None] if queries else real[:, None, None, :]


def _counted(ids, pad=0):
    length = (ids != pad).sum(1)
    return (torch.arange(ids.size(1)) < length[:, None])[:, None, None, :]


def _to_add(ids, pad, hidden):
    return torch.zeros(ids.shape).masked_fill(ids == pad, hidden)[:, None, None, :]


my_padding_mask.knobs(
    _padding,
    inverted="The mask is inverted: True means 'may be attended to'.",
    queries="Your shape is (B, 1, S, 1): that masks queries, not keys. Keys are the last axis.",
    zero="You compare with 0, whatever pad is: compare with pad.",
    greater="Real words may have smaller ids than pad: compare with !=, not with >.",
    flat="The axes for heads and queries are missing: (B, S) would be laid against (T, S).",
    first="[None, None] puts the new axes before the batch: they belong behind it, [:, None, None, :].",
)
my_padding_mask.mistakes(
    {
        "One axis is missing: (B, 1, S) lays the sentences against the heads.": lambda ids, pad=0: (ids != pad)[
            :, None
        ],
        "The new axes stand behind the words, (B, S, 1, 1): they belong between batch and keys, [:, None, None, :].": (
            lambda ids, pad=0: (ids != pad)[:, :, None, None]
        ),
        "You count the real words and take as many places from the left: padding may stand anywhere.": _counted,
        "You hide padding as a query too: its row would see nothing and become NaN. Only keys are hidden here.": (
            lambda ids, pad=0: (ids != pad)[:, None, :, None] & (ids != pad)[:, None, None, :]
        ),
        "One row serves all queries: leave its axis at 1, it broadcasts.": (
            lambda ids, pad=0: (ids != pad)[:, None, None, :].expand(-1, 1, ids.size(1), -1)
        ),
        "This is the mask to add to the scores, expected booleans.": (lambda ids, pad=0: _to_add(ids, pad, -math.inf)),
        "This is the mask to add to the scores, with −1e9, expected booleans.": (
            lambda ids, pad=0: _to_add(ids, pad, -1e9)
        ),
    }
)


def lengths(draw: Draw) -> Iterator[Arguments]:
    """Lengths of sentences."""
    yield from ((n,) for n in (2, 1, 3, 6))


@exercise(
    "4.2",
    lengths,
    hints=[
        "torch.ones(n, n, dtype=torch.bool) lets everything through.",
        "tril keeps what is on and below the diagonal.",
    ],
)
def my_causal_mask(n):
    """The mask (1, 1, n, n) that hides the future of n words, all given at once: True where the key is no later than
    the query."""
    return torch.ones(n, n, dtype=torch.bool).tril()[None, None]


def _causal(n, future=False, strict=False, ahead=False, flat=False):
    mask = torch.ones(n, n, dtype=torch.bool).tril(-1 if strict else 1 if ahead else 0)
    mask = mask.mT if future else mask
    return mask if flat else mask[None, None]


my_causal_mask.knobs(
    _causal,
    future="Your words see the future and not the past: the upper triangle is on.",
    strict="No word sees itself, and the first sees nothing: its row would become NaN. Keep the diagonal.",
    ahead="Every word sees one word ahead, the very one it must predict: stop at the diagonal.",
    flat="The axes for batch and heads are missing: (1, 1, n, n).",
)
my_causal_mask.mistakes(
    {
        "This marks what is hidden: the mask is inverted, True means 'may be attended to'.": lambda n: torch.ones(
            n, n, dtype=torch.bool
        ).triu(1)[None, None],
        "This is the mask to add to the scores, expected booleans.": lambda n: torch.full((n, n), -math.inf).triu(1)[
            None, None
        ],
        "Each word sees itself alone: it may see all before it, too, which tril keeps.": (
            lambda n: torch.eye(n, dtype=torch.bool)[None, None]
        ),
        "The last word sees nothing: your loop ends one row too early.": (
            lambda n: (torch.ones(n, n, dtype=torch.bool).tril() & (torch.arange(n) < n - 1)[:, None])[None, None]
        ),
        "Your triangle is turned over, with the keys from right to left: key 0 is on the left.": (
            lambda n: torch.ones(n, n, dtype=torch.bool).tril().flip(-1)[None, None]
        ),
        "Only the first word sees itself: keep the whole diagonal.": (
            lambda n: (torch.ones(n, n, dtype=torch.bool).tril(-1) | (torch.arange(n) + torch.arange(n)[:, None] == 0))[
                None, None
            ]
        ),
        "Nothing is hidden: let only the diagonal and what is below it through.": lambda n: torch.ones(
            1, 1, n, n, dtype=torch.bool
        ),
    }
)


def scores_and_masks(draw: Draw) -> Iterator[Arguments]:
    """Scores with masks, among them rows in which everything is hidden, and square ones."""
    yield draw.normal(2, 3), torch.tensor([[True, False, True], [True, True, False]])
    yield draw.normal(3, 3), torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    for scores in ([1.0, 2.0, 200.0], [-2000.0, -1999.0, -1998.0]):  # hidden ones far above, and far below 0
        yield torch.tensor([scores], dtype=draw.dtype), torch.tensor([[True, True, False]])
    yield draw.normal(2, 2, 4, 4), torch.ones(4, 4, dtype=torch.bool).tril()
    yield draw.normal(2, 1, 2, 3), torch.tensor([[[[True, True, False]]], [[[False, True, True]]]])


@exercise(
    "4.3",
    scores_and_masks,
    hints=[
        "What is hidden must have weight 0 after the softmax. Which score has exponential 0?",
        "A row in which all scores are −∞ becomes NaN: fill the hidden places with 0 once more, after the softmax.",
    ],
    given="""
        scores = ...  # hidden places can no longer win anything
        weights = scores.softmax(-1)
        return ...  # rows in which everything is hidden: all zeros
    """,
)
def masked_softmax(scores, mask):
    """Softmax of scores (…, T, S) over the keys that the mask lets through; a row without any gives zeros. mask is
    boolean, and broadcasts against scores: it may lack axes, or have 1 in their place."""
    scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(-1)
    return weights.masked_fill(~mask, 0.0)


def _masked(scores, mask, inverted=False, zeros=False, axis=False, empty=False):
    mask = ~mask if inverted else mask
    weights = scores.masked_fill(~mask, 0.0 if zeros else -math.inf).softmax(-2 if axis else -1)
    return weights if zeros or empty else weights.masked_fill(~mask, 0.0)


def _filled(scores, mask, hidden):
    """Softmax with another number than −∞ at hidden places, and zeros in rows in which everything is hidden."""
    return scores.masked_fill(~mask, hidden).softmax(-1) * mask.any(-1, keepdim=True)


def _indexed(scores, mask):
    """Softmax by scores[~mask] = −∞, which fits a mask of the shape of scores only."""
    scores = scores.clone()
    scores[~mask] = -math.inf
    return scores.softmax(-1).masked_fill(~mask, 0.0)


def _emptied(scores, mask, is_empty):
    """Softmax over what the mask lets through, with zeros where is_empty."""
    return scores.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(is_empty, 0.0)


def _divided_again(scores, mask, least):
    weights = scores.softmax(-1) * mask
    return weights / weights.sum(-1, keepdim=True).clamp_min(least)


masked_softmax.knobs(
    _masked,
    inverted="You hide what should be seen: True means 'may be attended to'.",
    zeros="Hidden scores are set to 0, but e⁰ = 1: they still get weight. Use −∞.",
    axis="Your softmax runs over the queries: the keys are the last axis.",
    empty="A row in which everything is hidden is 0/0 = NaN: it should be zeros.",
)
masked_softmax.mistakes(
    {
        "scores[~mask] needs a mask of the shape of scores: masked_fill lets it broadcast.": _indexed,
        "You mask after the softmax: what is left no longer sums to 1. Mask the scores.": lambda scores, mask: (
            scores.softmax(-1) * mask
        ),
        "You divide by the row sum after masking: a huge hidden score leaves nothing to divide. Mask before.": (
            lambda scores, mask: _divided_again(scores, mask, 1e-9)
        ),
        "You mask after the softmax and divide by what is left: where that is 0 you get NaN. Mask before.": (
            lambda scores, mask: _divided_again(scores, mask, 0.0)
        ),
        "The mask comes after the exponential, which may overflow, and ∞ · 0 is NaN: set hidden scores to −∞ before.": (
            lambda scores, mask: scores.exp() * mask / (scores.exp() * mask).sum(-1, keepdim=True).clamp_min(1e-9)
        ),
        "A row in which everything is hidden shares its weight out evenly, as with −1e9: it should be zeros.": (
            lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(-1)
        ),
        "Hidden scores are set to 0, but e⁰ = 1: they still get weight, where a row has visible keys. Use −∞.": (
            lambda scores, mask: _filled(scores, mask, 0.0)
        ),
        "−10 is not low enough, for scores may be as low: hidden places need −∞.": (
            lambda scores, mask: _filled(scores, mask, -10.0)
        ),
        "A number like −100 or −1000 is not low enough, for scores may be lower: hidden places need −∞.": (
            lambda scores, mask: _filled(scores, mask, -1000.0)
        ),
        "A number like −100 or −1000 is not low enough: where scores are lower, hidden places win, and you cut all of "
        "it off. Hidden places need −∞.": lambda scores, mask: scores.masked_fill(~mask, -1000.0).softmax(-1) * mask,
        "The mask is multiplied in before the softmax: a score of 0 still has e⁰ = 1, and gets weight all the same. "
        "Then you mask again, so rows no longer sum to 1.": lambda scores, mask: (scores * mask).softmax(-1) * mask,
        "You add the mask to the scores, but True counts as 1 there: give hidden places −∞ instead.": (
            lambda scores, mask: (scores + mask).softmax(-1)
        ),
        "0 · ∞ is NaN, so (1 − mask) · −∞ spoils the visible keys, which become 0 as well: use masked_fill.": (
            lambda scores, mask: (scores + (1 - mask.float()) * -math.inf).softmax(-1).nan_to_num(0.0)
        ),
        "0 · ∞ is NaN, so (1 − mask) · −∞ spoils the visible keys: use masked_fill.": (
            lambda scores, mask: (scores + (1 - mask.float()) * -math.inf).softmax(-1)
        ),
        "+∞ would take all the weight, and becomes NaN: hidden scores need −∞.": (
            lambda scores, mask: scores.masked_fill(~mask, math.inf).softmax(-1)
        ),
        "−∞ belongs in the scores, before the softmax: behind it a hidden key has weight 0.": (
            lambda scores, mask: scores.softmax(-1).masked_fill(~mask, -math.inf)
        ),
        "keepdim=True is missing in any: without the axis, rows are laid against keys.": (
            lambda scores, mask: _emptied(scores, mask, ~mask.any(-1))
        ),
        "any(-2) looks through the queries of a key: a row is empty where no key is left, any(-1, keepdim=True).": (
            lambda scores, mask: _emptied(scores, mask, ~mask.any(-2, keepdim=True))
        ),
        "You empty each row in which anything is hidden (all for any, or +∞): only rows without any key are zeros.": (
            lambda scores, mask: _emptied(scores, mask, ~mask.all(-1, keepdim=True))
        ),
        "You empty the rows that have visible keys: any says where a row is *not* empty.": (
            lambda scores, mask: _emptied(scores, mask, mask.any(-1, keepdim=True))
        ),
        "The mask is not used: set hidden scores to −∞ before the softmax.": lambda scores, mask: scores.softmax(-1),
    }
)


@exercise(
    "4.4",
    padded,
    hints=[
        "A key must be real *and* not in the future.",
        "(B, 1, 1, T) and (1, 1, T, T) broadcast to (B, 1, T, T). Who has solved 4.1 and 4.2 has both masks: "
        "my_padding_mask(ids, pad) & my_causal_mask(ids.size(1)).",
    ],
)
def decoder_mask(ids, pad):
    """The decoder's mask for ids (B, T), neither padding nor future: (B, 1, T, T)."""
    n = ids.size(1)
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    return (ids != pad)[:, None, None, :] & causal


def _decoder(ids, pad, either=False, inverted=False, future=False, strict=False, queries=False, zero=False):
    n, real = ids.size(1), ids != (0 if zero else pad)
    real = ~real if inverted else real
    real = real[:, None, :, None] if queries else real[:, None, None, :]
    causal = torch.ones(n, n, dtype=torch.bool).tril(-1 if strict else 0)
    causal = causal.mT if future else causal
    return real | causal if either else real & causal


decoder_mask.knobs(
    _decoder,
    either="A key gets through where only one mask lets it: it must pass both, so *and* (of what is hidden: *or*).",
    inverted="The padding mask is inverted: only padding can be seen.",
    future="The causal mask is the wrong way round: words see the future and not the past.",
    strict="No word sees itself: keep the diagonal of the causal mask.",
    queries="Padding is hidden as a query, not as a key: keys are the last axis.",
    zero="You compare with 0, whatever pad is: compare with pad.",
)


def _causal_of(n):
    return torch.ones(n, n, dtype=torch.bool).tril()


def _decoder_to_add(ids, pad):
    future = torch.full((ids.size(1), ids.size(1)), -math.inf).triu(1)
    return torch.zeros(ids.shape).masked_fill(ids == pad, -math.inf)[:, None, None, :] + future


decoder_mask.mistakes(
    {
        "Padding is not hidden: join the causal mask with that of the padding.": lambda ids, pad: (
            torch.ones(ids.size(1), ids.size(1), dtype=torch.bool).tril().expand(len(ids), 1, -1, -1)
        ),
        "Padding is not hidden: this is the causal mask alone, (1, 1, T, T).": (
            lambda ids, pad: _causal_of(ids.size(1))[None, None]
        ),
        "The future is not hidden: this is the mask of the padding alone, (B, 1, 1, T).": (
            lambda ids, pad: (ids != pad)[:, None, None, :]
        ),
        "Padding is hidden as a query too: its row sees nothing and would become NaN. Hide it as a key only.": (
            lambda ids, pad: (ids != pad)[:, None, :, None] & (ids != pad)[:, None, None, :] & _causal_of(ids.size(1))
        ),
        "This is the mask to add to the scores, expected booleans.": _decoder_to_add,
        "ids.size(0) is the number of sentences: the causal mask has as many rows as there are words, ids.size(1).": (
            lambda ids, pad: (ids != pad)[:, None, None, :] & _causal_of(ids.size(0))
        ),
        "& comes before !=, so pad & causal is compared: put brackets around (ids != pad).": (
            lambda ids, pad: ids[:, None, None, :] != pad & _causal_of(ids.size(1))
        ),
        "'and' takes one truth value on each side: for each entry by itself it is &.": (
            lambda ids, pad: (ids != pad)[:, None, None, :] and _causal_of(ids.size(1))
        ),
        "[None, None] puts the new axes before the batch: they belong behind it, [:, None, None, :].": (
            lambda ids, pad: (ids != pad)[None, None] & _causal_of(ids.size(1))
        ),
        "The future is not hidden: join the mask of the padding with the causal one.": lambda ids, pad: (ids != pad)[
            :, None, None, :
        ].expand(-1, 1, ids.size(1), -1),
    }
)
