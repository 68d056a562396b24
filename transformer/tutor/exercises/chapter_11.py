"""Exercises of chapter 11, what the heads learned."""

from collections.abc import Iterator
from functools import reduce

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def linked(draw: Draw) -> Iterator[Arguments]:
    """Tables of weights that are not square but for one, and links, in three of them one that stands there twice."""
    yield draw.weights(2, 3, 3), [(0, 1), (2, 0)]
    for H, T, S, n in ((2, 3, 4, 2), (3, 5, 4, 6), (2, 6, 7, 5)):
        queries, keys = draw.ids(T, n).tolist(), draw.ids(S, n).tolist()
        links = list(zip(queries, keys, strict=True))
        yield draw.weights(H, T, S), [*links, links[0]]


@exercise(
    "11.1",
    linked,
    hints=[
        "For one link (q, k) all heads' weights are weights[:, q, k]. What if q and k are lists?",
        "weights[:, q, k] with two lists of n numbers gives (H, n): one weight for each link. Over which axis is the "
        "mean?",
    ],
    given="""
        q, k = torch.tensor(links).mT  # (n,) each
        at_links = ...  # (H, n): the weight of each head at each link
        return ...
    """,
)
def score_at_links(weights, links):
    """The mean weight (H,) of each head of weights (H, T, S) at the links, a list of pairs (query, key); one that
    stands there twice counts twice."""
    q, k = torch.tensor(links).mT  # (n,) each
    at_links = weights[:, q, k]  # (H, n)
    return at_links.mean(-1)


def _score(weights, links, turned=False, total=False, largest=False, table=False, over_heads=False):
    q, k = torch.tensor(links).mT
    if turned:
        q, k = k, q
    at_links = weights[:, q][:, :, k].flatten(1) if table else weights[:, q, k]
    if over_heads:
        return at_links.mean(0)
    if largest:
        return at_links.amax(-1)
    return at_links.sum(-1) if total else at_links.mean(-1)


score_at_links.knobs(
    _score,
    turned="Queries and keys are exchanged: the rows of a table are the queries, weights[:, q, k].",
    total="You add the weights up, expected their mean: a job with many links would always win.",
    largest="You take the largest weight, expected the mean over the links: one lucky place is no job.",
    table="You take every chosen query with every chosen key, expected one weight for each link: weights[:, q, k].",
    over_heads="You take the mean over the heads: each head has a score of its own.",
)


def _by_links(score):
    """The mean over the links of a score (weights, q, k) → (H, n)."""
    return lambda weights, links: score(weights, *torch.tensor(links).mT).mean(-1)


def _by_table(weights, links, n=None):
    """The weights at the links of a table of booleans, added up and divided by their number there, or by n."""
    table = torch.zeros(weights.shape[1:], dtype=torch.bool)
    table[*torch.tensor(links).mT] = True
    return (weights * table).sum((-2, -1)) / (n or table.sum())


score_at_links.mistakes(
    {
        "A table of booleans has each link once: one that stands in links twice counts twice, weights[:, q, k].": (
            _by_table
        ),
        "A table of booleans has each link once, though you divide by all of them: one that stands in links twice "
        "counts twice, weights[:, q, k].": lambda weights, links: _by_table(weights, links, len(links)),
        "You divide by all places of the table, expected the mean over the links.": lambda weights, links: (
            score_at_links.reference(weights, links) * len(links) / weights[0].numel()
        ),
        "You divide by the number of queries in the table, expected that of the links.": lambda weights, links: (
            score_at_links.reference(weights, links) * len(links) / weights.size(1)
        ),
        "You take the mean over the heads, too: each head has a score of its own, so .mean(-1), over the links.": (
            lambda weights, links: score_at_links.reference(weights, links).mean()
        ),
        "The heads are the first axis: weights[:, q, k] leaves it whole.": _by_links(
            lambda weights, q, k: weights[q, k]
        ),
        "You take whole rows, which sum to 1: of a query's row, only the key of the link counts.": (
            lambda weights, links: weights[:, torch.tensor(links).mT[0]].mean((1, 2))
        ),
        "You take whole columns: of a key's column, only the query of the link counts.": (
            lambda weights, links: weights[..., torch.tensor(links).mT[1]].mean((1, 2))
        ),
        "You subtract 1 from the places: queries and keys are counted from 0 already.": (
            _by_links(lambda weights, q, k: weights[:, q - 1, k - 1])
        ),
        "You count how often a head looks at the key of the link most: expected the mean weight it puts there.": (
            _by_links(lambda weights, q, k: (weights[:, q].argmax(-1) == k).to(weights.dtype))
        ),
        "You take the softmax once more: these are weights already.": (
            _by_links(lambda weights, q, k: weights.softmax(-1)[:, q, k])
        ),
        "You take the mean of logarithms, expected the mean of the weights.": (
            _by_links(lambda weights, q, k: weights[:, q, k].log())
        ),
        "You take the median over the links, expected the mean.": lambda weights, links: (
            weights[:, *torch.tensor(links).mT].median(-1).values
        ),
        "The last link is left out.": lambda weights, links: score_at_links.reference(weights, links[:-1]),
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


def _at(weights, keys):
    """The weight of every query at its key, (H, n)."""
    q = torch.arange(weights.size(-1))
    return weights[:, q, keys(q)]


def _with_negative_places(weights, offset):
    """The weights of all queries with i + offset < n, (H, n or fewer)."""
    n = weights.size(-1)
    return torch.stack([weights[:, i, i + offset] for i in range(n) if i + offset < n], dim=-1)


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
        ),
        "Negative places count from the end in Python: leave out the queries for which i + offset is below 0.": (
            lambda weights, offset: _with_negative_places(weights, offset).mean(-1)
        ),
        "The divisor is right, but negative places count from the end in Python: leave out the queries for which "
        "i + offset is below 0.": lambda weights, offset: (
            _with_negative_places(weights, offset).sum(-1) / (weights.size(-1) - abs(offset))
        ),
        "Queries without such a key take the first or the last one, as after clamp: leave them out.": (
            lambda weights, offset: _at(weights, lambda q: (q + offset).clamp(0, weights.size(-1) - 1)).mean(-1)
        ),
        "diagonal runs along the first two axes, the heads and the queries, unless you name others: "
        ".diagonal(offset, -2, -1).": lambda weights, offset: weights.diagonal(offset).mean(-1),
        "You add the weights up, expected their mean: divide by the number of queries that have such a key.": (
            lambda weights, offset: weights.diagonal(offset, -2, -1).sum(-1)
        ),
        "You divide by n − 1: n − |offset| queries have such a key.": lambda weights, offset: (
            weights.diagonal(offset, -2, -1).sum(-1) / (weights.size(-1) - 1)
        ),
        "You divide by n − offset: an offset backwards is negative, so n − |offset| queries have such a key.": (
            lambda weights, offset: weights.diagonal(offset, -2, -1).sum(-1) / (weights.size(-1) - offset)
        ),
        "You leave the sign of the offset out: −1 is the word before, 1 the word after.": lambda weights, offset: (
            weights.diagonal(abs(offset), -2, -1).mean(-1)
        ),
        "You are one place too far to the right: the key of query i is i + offset.": lambda weights, offset: (
            weights.diagonal(offset + 1, -2, -1).mean(-1)
        ),
        "The last query with such a key is left out: the end of a range is not included.": lambda weights, offset: (
            weights.diagonal(offset, -2, -1)[:, :-1].mean(-1)
        ),
        "You add all keys up to the offset: only the one at exactly that distance counts.": lambda weights, offset: (
            weights.tril(offset).sum((-2, -1)) / weights.size(-1)
        ),
        "You count how often a head looks there most, expected its mean weight there.": lambda weights, offset: (
            (weights == weights.amax(-1, keepdim=True)).to(weights.dtype).diagonal(offset, -2, -1).mean(-1)
        ),
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


def _without(found, W_O, h, head, interleaved=False, columns=False, only=False, later=False, louder=False):
    size = found.size(-1) // h
    features = torch.arange(found.size(-1))
    owner = features % h if interleaved else features // size
    mask = owner >= head if later else owner == head
    kept = found * (mask if only else ~mask)
    output = (found if columns else kept) @ W_O
    if columns:
        output = _zeroed(output, head * size, (head + 1) * size)
    return output * h / (h - 1) if louder else output


def _zeroed(features, start, end):
    """Features with 0 from start to end, on the last axis."""
    features = features.clone()
    features[..., start:end] = 0
    return features


without_head.knobs(
    _without,
    interleaved="You take every h-th feature, expected a block: head i has the features i·d_v to (i + 1)·d_v.",
    columns="You cut the output (the columns of W_O are its features): after W_O every feature holds something of "
    "every head. Cut before it.",
    only="You keep that head and drop all others, expected the other way round.",
    later="All heads from this one on are dropped: end the block at (head + 1) · d_v.",
    louder="You make up for the missing head as dropout does: expected the plain sum of the others.",
)


def _by_block(block):
    """The output without the features from start to end, block(d_v, h, head, D)."""
    return lambda found, W_O, h, head: _zeroed(found, *block(found.size(-1) // h, h, head, W_O.size(1))) @ W_O


def _with_mean(found, W_O, h, head):
    heads = list(found.chunk(h, -1))
    heads[head] = heads[head].mean((0, 1)).expand_as(heads[head])
    return torch.cat(heads, -1) @ W_O


def _without_words(found, W_O, h, head):
    d_v = found.size(-1) // h
    kept = found.clone()
    kept[:, head * d_v : (head + 1) * d_v] = 0
    return kept @ W_O


def _without_infinite(found, W_O, h, head):
    kept = found.unflatten(-1, (h, -1)).clone()
    kept[..., head, :] = -torch.inf
    return kept.flatten(-2) @ W_O


without_head.mistakes(
    {
        "You subtract what the head found, expected what it adds: its features times its rows of W_O.": (
            lambda found, W_O, h, head: found @ W_O - found[..., :1]
        ),
        "Nothing is left out.": lambda found, W_O, h, head: found @ W_O,
        "You cut the output into h blocks: after W_O every feature holds something of every head. Cut found.": (
            lambda found, W_O, h, head: _zeroed(found @ W_O, head * (W_O.size(1) // h), (head + 1) * (W_O.size(1) // h))
        ),
        "You leave out one feature only: head i has d_v of them, i·d_v to (i + 1)·d_v.": (
            _by_block(lambda d_v, h, head, D: (head, head + 1))
        ),
        "You count heads from 1: head 0 has the features 0 to d_v.": (
            _by_block(lambda d_v, h, head, D: ((head - 1) * d_v, head * d_v))
        ),
        "h is the number of heads, not their size: a head has d_v = found.size(-1) // h features.": (
            _by_block(lambda d_v, h, head, D: (head * h, (head + 1) * h))
        ),
        "You divide the width of the output by h: the heads share the features of found, d_v = found.size(-1) // h.": (
            _by_block(lambda d_v, h, head, D: (head * (D // h), (head + 1) * (D // h)))
        ),
        "The head's last feature is still there: the end of a slice is not included, so end at (head + 1) · d_v.": (
            _by_block(lambda d_v, h, head, D: (head * d_v, (head + 1) * d_v - 1))
        ),
        "You count heads from the end: head 0 has the first features.": (
            _by_block(lambda d_v, h, head, D: ((h - 1 - head) * d_v, (h - head) * d_v))
        ),
        "You leave words out, on axis 1: features are the last axis, found[..., start:end].": _without_words,
        "The head's mean stands in its place, expected 0.": _with_mean,
        "−∞ is for scores before a softmax; here it spoils every sum: set the features to 0.": _without_infinite,
        "The product with W_O is missing.": lambda found, W_O, h, head: _zeroed(
            found, head * found.size(-1) // h, (head + 1) * found.size(-1) // h
        ),
        "W_O is used as it is, found @ W_O: not transposed.": lambda found, W_O, h, head: found @ W_O.mT,
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


def _folded(step, last=lambda result, eye: result):
    """A rollout whose steps are step(mean of a layer's heads (n, n), result so far, identity)."""

    def roll(weights):
        result = eye = torch.eye(weights.size(-1), dtype=weights.dtype)
        for layer in weights.mean(1):
            result = step(layer, result, eye)
        return last(result, eye)

    return roll


def _half(layer, eye):
    return (layer + eye) / 2


def _by_columns(layer, eye):
    return (layer + eye) / (layer + eye).sum(0)


rollout.mistakes(
    {
        "Each layer is transposed, or the product is formed from the wrong side and then transposed: a row of weights "
        "is an output word, and stays a row.": _folded(lambda layer, result, eye: _half(layer.mT, eye) @ result),
        "You add 1 to every entry: the residual path is the identity, 1 on the diagonal alone.": (
            _folded(lambda layer, result, eye: (layer + 1) / 2 @ result)
        ),
        "You multiply entry by entry: layers follow each other by the matrix product, @.": lambda weights: _half(
            weights.mean(1), torch.eye(weights.size(-1), dtype=weights.dtype)
        ).prod(0),
        "The identity comes in once, at the end: every layer has a residual path.": (
            _folded(lambda layer, result, eye: layer @ result, last=_half)
        ),
        "Your residual path leads past all layers below: a layer adds the half of what came in, so mix it with the "
        "identity before the product.": _folded(lambda layer, result, eye: layer @ result / 2 + eye / 2),
        "The last layer alone is left: multiply each layer with what the layers below gave.": (
            _folded(lambda layer, result, eye: _half(layer, eye))
        ),
        "Only the first layer has a residual path: every layer has one.": lambda weights: reduce(
            lambda below, layer: layer @ below, weights[1:].mean(1), rollout.reference(weights[:1])
        ),
        "The first layer is left out.": lambda weights: rollout.reference(weights[1:]),
        "You average over the layers, expected over the heads: the axes are (L, H, n, n), so .mean(1).": (
            lambda weights: rollout.reference(weights.transpose(0, 1))
        ),
        "You add the heads up, expected their mean.": lambda weights: rollout.reference(weights * weights.size(1)),
        "You take the largest weight over the heads, expected their mean.": lambda weights: rollout.reference(
            weights.amax(1, keepdim=True)
        ),
        "Each head is followed through the layers on its own: the output of a layer mixes all heads, so take their "
        "mean in each layer first.": lambda weights: torch.stack(
            [rollout.reference(weights[:, i : i + 1]) for i in range(weights.size(1))]
        ).mean(0),
        "Your layers' columns sum to 1, expected their rows: halve the sum, and nothing else is to be divided.": (
            _folded(lambda layer, result, eye: _by_columns(layer, eye) @ result)
        ),
        "You divide by the number of layers in the end: halve the sum in every layer.": lambda weights: (
            rollout.reference(weights) * 2 ** len(weights) / len(weights)
        ),
    }
)
