"""Exercises of chapter 12, why self-attention."""

from collections.abc import Iterator

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def sizes(draw: Draw) -> Iterator[Arguments]:
    """Numbers of words, sizes of vectors, and numbers of gates."""
    yield from ((2, 3, 1), (10, 64, 3), (100, 16, 4))


@exercise(
    "12.1",
    sizes,
    hints=[
        "Four projections of n words, d by d each; then scores and means, n · n · d each.",
        "A gate makes two products of a vector of d numbers and a matrix d by d, for each word.",
    ],
    given="""
        attention = ...
        recurrence = ...
        return attention, recurrence
    """,
)
def multiplications(n, d, gates):
    """Multiplications in the products of one layer over n words of d numbers: of self-attention with its four
    projections, and of a recurrent layer that makes `gates` vectors from the word and the state at each step."""
    attention = 4 * n * d * d + 2 * n * n * d
    recurrence = 2 * gates * n * d * d
    return attention, recurrence


def _multiplications(n, d, gates, bare=False, single=False, halved=False):
    attention = (0 if bare else 4 * n * d * d) + (1 if single else 2) * n * n * d
    return attention, (1 if halved else 2) * gates * n * d * d


multiplications.knobs(
    _multiplications,
    bare="The projections are missing: queries, keys, values and the output need n·d² each.",
    single="Scores alone are n²d; the weighted means of the values are as many again.",
    halved="Each gate has two matrices, one for the word and one for the state.",
)
multiplications.mistakes(
    {
        "You count one recurrent step: there are n, one for each word.": lambda n, d, gates: (
            4 * n * d * d + 2 * n * n * d,
            2 * gates * d * d,
        ),
        "The gates are missing: each of them has two matrices of its own.": lambda n, d, gates: (
            4 * n * d * d + 2 * n * n * d,
            2 * n * d * d,
        ),
        "n and d are exchanged in the scores: n · n pairs of words, d products each.": lambda n, d, gates: (
            4 * n * d * d + 2 * n * d * d,
            2 * gates * n * d * d,
        ),
    }
)


def tables(draw: Draw) -> Iterator[Arguments]:
    """Tables of several layers, the lowest first: random ones, a chain, one that never connects, and one layer."""
    yield (draw.normal(3, 5, 5) < -0.3,)
    back = torch.arange(6)[:, None] - torch.arange(6)
    yield (((back == 0) | (back == 1)).expand(4, 6, 6).clone(),)
    widening = torch.stack([(back == 0) | (back == step) for step in (1, 2, 4)])
    yield (widening,)
    yield (draw.normal(2, 4, 4) < 0,)
    yield (draw.normal(1, 4, 4) < 0,)


@exercise(
    "12.2",
    tables,
    hints=[
        "Row t of L₂ L₁ has an entry above 0 where t reads, in layer 2, somebody who read s in layer 1.",
        "Newer layers multiply from the left. Turn the tables into floats first, and the product back by > 0.",
    ],
)
def who_heard(layers):
    """Tables (m, n, n) of m layers, the lowest first, True where the row's word reads the column's: the table (n, n),
    True where the row's word has heard of the column's after all layers."""
    reached = layers[0]
    for links in layers[1:]:
        reached = (links.double() @ reached.double()) > 0
    return reached


def _in_the_wrong_order(layers):
    reached = layers[0]
    for links in layers[1:]:
        reached = (reached.double() @ links.double()) > 0
    return reached


def _counts(layers):
    reached = layers[0].double()
    for links in layers[1:]:
        reached = links.double() @ reached
    return reached


who_heard.mistakes(
    {
        "The product is the wrong way round: a higher layer multiplies from the left.": _in_the_wrong_order,
        "You give who read whom in any one layer: news also travels over several.": lambda layers: layers.any(0),
        "You give who read whom in every layer: news may go another way in each.": lambda layers: layers.all(0),
        "You count the ways: the question is only whether there is one.": _counts,
        "Rows and columns are exchanged: you tell whom a word has reached.": lambda layers: (
            who_heard.reference(layers).mT
        ),
    }
)


def windows(draw: Draw) -> Iterator[Arguments]:
    """Numbers of words and odd windows."""
    yield from ((4, 1), (5, 3), (7, 5), (3, 9))


@exercise(
    "12.3",
    windows,
    hints=[
        "The distance of query t and key s is |t − s|: torch.arange(n)[:, None] − torch.arange(n), without signs.",
        "r positions in all: the word itself and r // 2 on each side.",
    ],
)
def my_window_mask(n, r):
    """The mask (1, 1, n, n) of restricted self-attention, True where a query may attend: the r positions around it, r
    odd."""
    distance = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    return (distance <= r // 2)[None, None]


def _window(n, r, wide=False, back=False, inverted=False, flat=False):
    distance = torch.arange(n)[:, None] - torch.arange(n)
    near = distance.abs() <= (r if wide else r // 2)
    near = near & (distance >= 0) if back else near
    near = ~near if inverted else near
    return near if flat else near[None, None]


my_window_mask.knobs(
    _window,
    wide="You let r positions on *each* side in: r is the whole window.",
    back="Later words are hidden: this window looks to both sides.",
    inverted="The mask is inverted: True means that a query may attend.",
    flat="The axes for batch and heads are missing: (1, 1, n, n).",
)
my_window_mask.mistakes(
    {
        "The outermost positions are missing: r // 2 away still counts.": lambda n, r: (
            (torch.arange(n)[:, None] - torch.arange(n)).abs() < r // 2
        )[None, None],
        "The window is r words back: it should lie around the word.": lambda n, r: (
            torch.ones(1, 1, n, n).tril().triu(1 - r).bool()
        ),
    }
)


def reaches(draw: Draw) -> Iterator[Arguments]:
    """Rows of weights, reaches, and widths by which float32 divides exactly: distances may be whole numbers."""
    for batch, n, reach, ramp in ((1, 5, 1.0, 2.0), (3, 6, 0.5, 4.0), (2, 4, 2.5, 1.0), (4, 4, 0.0, 4.0)):
        yield draw.weights(batch, n, n), reach, ramp


@exercise(
    "12.4",
    reaches,
    hints=[
        "((ramp + reach − distance) / ramp).clamp(0, 1) is 1 up to the reach and 0 from reach + ramp on.",
        "Afterwards a row has to sum to 1 again.",
    ],
)
def within_reach(weights, reach, ramp):
    """Attention weights (B, n, n) under a soft window: each times min(max((ramp + reach − distance) / ramp, 0), 1),
    then each row divided by its sum."""
    places = torch.arange(weights.size(-1), dtype=weights.dtype)
    distance = (places[:, None] - places).abs()
    near = ((ramp + reach - distance) / ramp).clamp(0, 1)
    kept = weights * near
    return kept / kept.sum(-1, keepdim=True)


def _reach(weights, reach, ramp, whole=False, above=False, below=False, columns=False):
    places = torch.arange(weights.size(-1))
    near = (ramp + reach - (places[:, None] - places).abs()) / ramp
    near = near if above else near.clamp(max=1)
    kept = weights * (near if below else near.clamp(min=0))
    return kept if whole else kept / kept.sum(-2 if columns else -1, keepdim=True)


within_reach.knobs(
    _reach,
    whole="Rows no longer sum to 1: divide each by its sum.",
    above="Near words are favoured: the factor must not exceed 1.",
    below="Far weights become negative: the factor must not fall below 0.",
    columns="Columns sum to 1: divide along the keys, the last axis.",
)
