"""Exercises of chapter 11, what the heads learned."""

from collections.abc import Iterator
from functools import reduce

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def linked(draw: Draw) -> Iterator[Arguments]:
    """Tables of weights that are not square, and links, some of them more than once."""
    for H, T, S, n in ((2, 3, 4, 2), (3, 5, 4, 6), (2, 6, 7, 5)):
        queries, keys = draw.ids(T, n).tolist(), draw.ids(S, n).tolist()
        yield draw.weights(H, T, S), list(zip(queries, keys, strict=True))


@exercise(
    "11.1",
    linked,
    hints=[
        "torch.tensor(links) is (n, 2); its columns are the queries and the keys.",
        "weights[:, q, k] with two lists of numbers gives (H, n): one weight for each link.",
    ],
    given="""
        q, k = torch.tensor(links).mT  # (n,) each
        at_links = ...  # (H, n): the weight of each head at each link
        return ...
    """,
)
def score_at_links(weights, links):
    """The mean weight (H,) of each head of weights (H, T, S) at the links, a list of pairs (query, key)."""
    q, k = torch.tensor(links).mT
    return weights[:, q, k].mean(-1)


def _score(weights, links, turned=False, total=False, largest=False, table=False, over_heads=False):
    q, k = torch.tensor(links).mT
    if turned:
        size = min(weights.shape[-2:])
        q, k = k % size, q % size
    at_links = weights[:, q][:, :, k].flatten(1) if table else weights[:, q, k]
    if over_heads:
        return at_links.mean(0)
    if largest:
        return at_links.amax(-1)
    return at_links.sum(-1) if total else at_links.mean(-1)


score_at_links.knobs(
    _score,
    total="You add the weights up, expected their mean: a job with many links would always win.",
    largest="You take the largest weight, expected the mean over the links: one lucky place is no job.",
    table="You take every chosen query with every chosen key, expected one weight for each link: weights[:, q, k].",
    over_heads="You take the mean over the heads: each head has a score of its own.",
)
score_at_links.mistakes(
    {
        "You divide by all places of the table, expected the mean over the links.": lambda weights, links: (
            score_at_links.reference(weights, links) * len(links) / weights[0].numel()
        ),
    }
)


def offsets(draw: Draw) -> Iterator[Arguments]:
    """Square tables, and offsets backwards, forwards and none."""
    for H, n, offset in ((2, 4, -1), (3, 5, 1), (2, 6, -2), (2, 4, 0), (3, 6, 2)):
        yield draw.weights(H, n, n), offset


@exercise(
    "11.2",
    offsets,
    hints=[
        "The keys at a fixed distance from their queries lie on a diagonal of the table.",
        "weights.diagonal(offset, -2, -1) is (H, n − |offset|): query i, key i + offset.",
    ],
)
def offset_score(weights, offset):
    """The mean weight (H,) that each head of weights (H, n, n) puts offset places after the query; −1 is the word
    before. Queries for which there is no such key do not count."""
    return weights.diagonal(offset, -2, -1).mean(-1)


def _offset(weights, offset, turned=False, counts_all=False, over_heads=False, distance=False):
    n = weights.size(-1)
    if distance:
        diagonals = {offset, -offset}
        found = torch.cat([weights.diagonal(o, -2, -1) for o in diagonals], dim=-1)
    else:
        found = weights.diagonal(-offset if turned else offset, -2, -1)
    if over_heads:
        return found.mean(0)
    return found.sum(-1) / n if counts_all else found.mean(-1)


offset_score.knobs(
    _offset,
    turned="You look the other way: rows are queries, and −1 is the key one place before the query.",
    counts_all="You divide by all n queries, expected those that have such a key: the first word has none before it.",
    over_heads="You take the mean over the heads: each head has a score of its own.",
    distance="You count both directions: offset −1 is the word before, and not the one after.",
)
offset_score.mistakes(
    {
        "Your keys run round the end of the sentence: the first word has no word before it.": lambda weights, offset: (
            weights.roll(-offset, -1).diagonal(0, -2, -1).mean(-1)
        )
    }
)


def found_by_heads(draw: Draw) -> Iterator[Arguments]:
    """What two to four heads found, an output matrix, and the head to leave out."""
    for B, T, h, d_v, D, head in ((1, 2, 2, 2, 3, 0), (2, 3, 2, 3, 5, 1), (1, 4, 3, 2, 4, 1), (2, 2, 4, 2, 6, 2)):
        yield draw.normal(B, T, h * d_v), draw.normal(h * d_v, D), h, head


@exercise(
    "11.3",
    found_by_heads,
    hints=[
        "Head i owns the features i·d_v to (i + 1)·d_v of what was found, with d_v = features / h.",
        "Set them to 0 in a copy (or leave out the same rows of W_O), then multiply.",
    ],
)
def without_head(found, W_O, h, head):
    """The output (B, T, D) of an attention without one of its h heads. found (B, T, h·d_v) is what all heads found,
    side by side; W_O (h·d_v, D) is used as found @ W_O. found itself stays as it is."""
    kept = found.unflatten(-1, (h, -1)).clone()  # (B, T, h, d_v)
    kept[..., head, :] = 0
    return kept.flatten(-2) @ W_O


def _without(found, W_O, h, head, interleaved=False, columns=False, only=False, first=False, louder=False):
    size = found.size(-1) // h
    features = torch.arange(found.size(-1))
    owner = features % h if interleaved else features // size
    mask = owner == (0 if first else head)
    kept = found * (mask if only else ~mask)
    output = (found if columns else kept) @ W_O
    if columns:
        output = output.clone()
        width = W_O.size(1) // h
        output[..., head * width : (head + 1) * width] = 0
    return output * h / (h - 1) if louder else output


without_head.knobs(
    _without,
    interleaved="You take every h-th feature, expected a block: head i has the features i·d_v to (i + 1)·d_v.",
    columns="You cut the output: after W_O every feature holds something of every head. Cut before it.",
    only="You keep that head and drop all others, expected the other way round.",
    louder="You make up for the missing head as dropout does: expected the plain sum of the others.",
)
without_head.mistakes(
    {
        "You subtract what the head found, expected what it adds: its features times its rows of W_O.": (
            lambda found, W_O, h, head: found @ W_O - found[..., :1]
        ),
        "Nothing is left out.": lambda found, W_O, h, head: found @ W_O,
    }
)


def stacks(draw: Draw) -> Iterator[Arguments]:
    """The weights of one, two and three layers of some heads."""
    for L, H, n in ((1, 2, 3), (2, 2, 3), (3, 2, 4), (2, 3, 5)):
        yield (draw.weights(L, H, n, n),)


@exercise(
    "11.4",
    stacks,
    hints=[
        "One layer is 0.5·A + 0.5·I, with A the mean over its heads: half from the words, half from the residual path.",
        "The first layer is applied first, so it stands on the right: layer 2 @ layer 1.",
    ],
)
def rollout(weights):
    """Attention rollout (Abnar and Zuidema 2020): how much of each input word is in each output word, (n, n), given
    the weights (L, H, n, n) of all layers, the first layer first. A layer mixes the mean of its heads and the
    residual path half and half."""
    eye = torch.eye(weights.size(-1), dtype=weights.dtype)
    result = eye
    for layer in weights.mean(1):  # (n, n)
        result = (layer + eye) / 2 @ result
    return result


def _rollout(weights, backwards=False, plain=False, unhalved=False, adds=False, turned=False, one=False):
    eye = torch.eye(weights.size(-1), dtype=weights.dtype)
    mean = weights[:, 0] if one else weights.mean(1)
    layers = mean if plain else (mean + eye) / (1 if unhalved else 2)
    if adds:
        result = layers.mean(0)
    else:
        ordered = layers.flip(0) if backwards else layers
        result = reduce(lambda below, layer: layer @ below, ordered, eye)
    return result.mT if turned else result


rollout.knobs(
    _rollout,
    backwards="Your layers stand in the wrong order: the first one is applied first, so it stands on the right.",
    plain="The residual path is missing: half of a word comes from itself.",
    unhalved="Your rows do not sum to 1: halve the sum of the weights and the identity.",
    adds="You take the mean of the layers, expected their product: what passes through one passes through the next.",
    turned="Your table is transposed: rows are output words, columns are input words.",
    one="You take the first head alone, expected the mean of all heads.",
)
