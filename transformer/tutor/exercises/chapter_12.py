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
    projections, and of a recurrent layer that makes `gates` vectors at each step from the word and the state: its
    gates and its new state (3 in a GRU, 4 in an LSTM)."""
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
        "You give the orders of table 1 of the paper, n²·d and n·d²: count every product, with its factor.": (
            lambda n, d, gates: (n * n * d, n * d * d)
        ),
        "You count operations: a multiplication and an addition are two, but only multiplications are asked for.": (
            lambda n, d, gates: tuple(2 * count for count in multiplications.reference(n, d, gates))
        ),
        "The two come back in the wrong order: attention first, then recurrence.": (
            lambda n, d, gates: multiplications.reference(n, d, gates)[::-1]
        ),
        "You count one vector too many: `gates` of them are made in all, the new state included.": lambda n, d, gates: (
            _multiplications(n, d, gates)[0],
            2 * (gates + 1) * n * d * d,
        ),
        "There are four projections: for queries, keys, values and the output.": lambda n, d, gates: (
            _multiplications(n, d, gates)[0] - n * d * d,
            _multiplications(n, d, gates)[1],
        ),
        "Your projections are those of one word: all n words are projected.": lambda n, d, gates: (
            4 * d * d + 2 * n * n * d,
            _multiplications(n, d, gates)[1],
        ),
        "n is left out: all n words are projected and gated, and each is compared with n words.": lambda n, d, gates: (
            tuple(count // n for count in multiplications.reference(n, d, gates))
        ),
        "n is left out in the attention: all n words are projected, and each is compared with n words.": (
            lambda n, d, gates: (4 * d * d + 2 * n * d, _multiplications(n, d, gates)[1])
        ),
        "You count n² for the softmax, too: only the products count.": lambda n, d, gates: (
            _multiplications(n, d, gates)[0] + n * n,
            _multiplications(n, d, gates)[1],
        ),
        "n is left out in the projections and in the recurrence: both work on all n words.": lambda n, d, gates: (
            4 * d * d + 2 * n * n * d,
            2 * gates * d * d,
        ),
        "n and d are exchanged in the recurrence: a matrix has d · d numbers, and there are n words.": (
            lambda n, d, gates: (_multiplications(n, d, gates)[0], 2 * gates * n * n * d)
        ),
        "Only d is squared: a projection takes d · d products for each of n words, not (n · d)².": (
            lambda n, d, gates: (4 * (n * d) ** 2 + 2 * n * n * d, _multiplications(n, d, gates)[1])
        ),
        "The gates are added to 2: each gate has two matrices, so 2 · gates.": lambda n, d, gates: (
            _multiplications(n, d, gates)[0],
            (2 + gates) * n * d * d,
        ),
        "Your scores are those of a causal mask: here every word looks at all n words, n · n pairs.": (
            lambda n, d, gates: (4 * n * d * d + n * (n + 1) * d, _multiplications(n, d, gates)[1])
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
    # Two words that read each other, but not themselves: after two layers each has its own news back, and nothing else.
    yield (torch.tensor([[[False, True], [True, False]]] * 2),)


@exercise(
    "12.2",
    tables,
    hints=[
        "Row t of L₂ L₁ has an entry above 0 where t reads, in layer 2, somebody who read s in layer 1.",
        "A higher layer multiplies from the left. Turn the tables into floats first, and the product back by > 0.",
    ],
)
def who_heard(layers):
    """Tables (m, n, n) of m layers, the lowest first, True where the row's word reads the column's: the table (n, n),
    True where the row's word has heard of the column's after all layers. A word keeps its own news only where the
    diagonal says that it reads itself."""
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


def _layer_by_layer(step, start=torch.eye, last=lambda reached: reached > 0):
    """Steps of step(links, reached) → float, both as floats, through all layers."""

    def heard(layers):
        reached = start(*layers[0].shape).double()
        for links in layers.double():
            reached = step(links, reached).double()
        return last(reached)

    return heard


def _without_floats(layers):
    reached = layers[0]
    for links in layers[1:]:
        reached = links @ reached
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
        "What was heard in one layer stays, as if every word read itself, too: the tables say who reads itself.": (
            _layer_by_layer(lambda links, reached: links @ reached + reached > 0)
        ),
        "A word that hears the news from one side only counts, too: > 0, not > 1.": (
            _layer_by_layer(lambda links, reached: links @ reached > 1)
        ),
        "Before the first layer nobody has heard of others: begin with the identity, or with the first table.": (
            _layer_by_layer(lambda links, reached: links @ reached > 0, start=torch.ones)
        ),
        "Each table is transposed: its rows are those who read, and links @ reached takes it as it is.": (
            _layer_by_layer(lambda links, reached: links.mT @ reached > 0)
        ),
        "You use the first table in every layer: each layer has its own.": lambda layers: (
            torch.matrix_power(layers[0].double(), len(layers)) > 0
        ),
        "You use the last table in every layer: each layer has its own.": lambda layers: (
            torch.matrix_power(layers[-1].double(), len(layers)) > 0
        ),
        "You use the union of all tables in every layer: each layer has its own.": lambda layers: (
            torch.matrix_power(layers.any(0).double(), len(layers)) > 0
        ),
        "The last layer is left out.": lambda layers: (
            who_heard.reference([torch.eye(len(layers[0])), *layers[:-1]]) > 0
        ),
        "You give one row, expected the whole table (n, n).": lambda layers: who_heard.reference(layers)[-1],
        "Booleans have no matrix product: turn them into floats, and the product back by > 0.": _without_floats,
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
    """The mask (1, 1, n, n) of restricted self-attention, True where a query may attend: the r positions around it,
    itself in the middle, r odd."""
    distance = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    return (distance <= r // 2)[None, None]


def _window(n, r, wide=False, back=False, inverted=False, flat=False):
    distance = torch.arange(n)[:, None] - torch.arange(n)
    near = distance.abs() <= (r if wide else r // 2)
    near = near & (distance >= 0) if back else near
    near = ~near if inverted else near
    return near if flat else near[None, None]


def _by_distance(rule):
    """A mask by the rule(t − s, n, r)."""
    return lambda n, r: rule(torch.arange(n)[:, None] - torch.arange(n), n, r)[None, None]


def _moved(n, r):
    start = (torch.arange(n) - r // 2).clamp(0, max(0, n - r))[:, None]
    return ((torch.arange(n) >= start) & (torch.arange(n) < start + r))[None, None]


def _by_slices(n, r):
    mask = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        mask[i, i - r // 2 : i + r // 2 + 1] = True
    return mask[None, None]


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
        "The word itself is left out: distance 0 belongs to the window.": _by_distance(
            lambda d, n, r: (d.abs() <= r // 2) & (d != 0)
        ),
        "Your window is two positions too wide: r // 2 on each side, and the word itself, are r.": _by_distance(
            lambda d, n, r: d.abs() <= r // 2 + 1
        ),
        "Your window has r − 1 positions on each side: r is the whole window, so r // 2 on each.": _by_distance(
            lambda d, n, r: d.abs() < r
        ),
        "On the right the outermost position is missing: r // 2 away counts, but a slice ends before it.": _by_distance(
            lambda d, n, r: (d <= r // 2) & (d > -(r // 2))
        ),
        "The outermost position is missing on the left: r // 2 away still counts.": _by_distance(
            lambda d, n, r: (d < r // 2) & (d >= -(r // 2))
        ),
        "All later words are open: take the distance without its sign, abs().": _by_distance(
            lambda d, n, r: d <= r // 2
        ),
        "All earlier words are open: take the distance without its sign, abs().": _by_distance(
            lambda d, n, r: -d <= r // 2
        ),
        "This is a mask of 0 and −∞, to be added to scores: expected True where a query may attend.": _by_distance(
            lambda d, n, r: torch.zeros(n, n).masked_fill(d.abs() > r // 2, -torch.inf)
        ),
        "Your words stand in blocks of r: each query has a window of its own, around it.": lambda n, r: (
            (torch.arange(n) // r)[:, None] == torch.arange(n) // r
        )[None, None],
        "Your window runs round: the last word is not beside the first.": _by_distance(
            lambda d, n, r: torch.minimum(d % n, -d % n) <= r // 2
        ),
        "At the ends you move the window so that it keeps r positions: there it is cut off.": _moved,
        "A slice that begins below 0 begins at the end of the row: begin at max(0, i − r // 2).": _by_slices,
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
        "What does the factor come to at distance 0, at the reach, and at reach + ramp?",
        "The distances are |t − s|: torch.arange(n)[:, None] − torch.arange(n), without signs. clamp(0, 1) is min and "
        "max in one.",
        "Afterwards a row has to sum to 1 again: which axis is added up, and does the sum keep it?",
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


def _near(weights, reach, ramp):
    places = torch.arange(weights.size(-1))
    return ((ramp + reach - (places[:, None] - places).abs()) / ramp).clamp(0, 1)


def _by_factor(factor):
    """Weights times factor(distance, reach, ramp), each row divided by its sum; the distance has its sign."""

    def answer(weights, reach, ramp):
        places = torch.arange(weights.size(-1))
        kept = weights * factor(places[:, None] - places, reach, ramp)
        return kept / kept.sum(-1, keepdim=True)

    return answer


within_reach.mistakes(
    {
        "You take a softmax of what is left: its zeros get weight again. Divide each row by its sum.": (
            lambda weights, reach, ramp: (weights * _near(weights, reach, ramp)).softmax(-1)
        ),
        "You divide by the largest of each row, expected by its sum.": lambda weights, reach, ramp: (
            weights * _near(weights, reach, ramp) / (weights * _near(weights, reach, ramp)).amax(-1, keepdim=True)
        ),
        "You divide by the sum of everything, expected each row by its own: sum(-1, keepdim=True).": (
            lambda weights, reach, ramp: (
                weights * _near(weights, reach, ramp) / (weights * _near(weights, reach, ramp)).sum()
            )
        ),
        "The sums have lost an axis, and no longer fit the rows: sum(-1, keepdim=True).": lambda weights, reach, ramp: (
            weights * _near(weights, reach, ramp) / (weights * _near(weights, reach, ramp)).sum(-1)
        ),
        "You divide the window by its sums, expected the weights after the window.": lambda weights, reach, ramp: (
            weights * _near(weights, reach, ramp) / _near(weights, reach, ramp).sum(-1, keepdim=True)
        ),
        "The window is added, expected multiplied.": lambda weights, reach, ramp: (
            (weights + _near(weights, reach, ramp)) / (weights + _near(weights, reach, ramp)).sum(-1, keepdim=True)
        ),
        "Your window is hard, 1 or 0 (as with //): from reach to reach + ramp it falls in a straight line.": _by_factor(
            lambda d, reach, ramp: d.abs() <= reach
        ),
        "Your window is hard, and the rows are not divided by their sums.": lambda weights, reach, ramp: (
            weights * (_near(weights, reach, ramp) == 1)
        ),
        "Only the distance is divided by the ramp: put ramp + reach − distance in brackets.": _by_factor(
            lambda d, reach, ramp: (ramp + reach - d.abs() / ramp).clamp(0, 1)
        ),
        "The distance has kept its sign, so that all later words are near: take abs().": _by_factor(
            lambda d, reach, ramp: ((ramp + reach - d) / ramp).clamp(0, 1)
        ),
        "The weights come out as they were given: your window does nothing, as where the distance is added. Far words "
        "are to weigh less.": _by_factor(lambda d, reach, ramp: ((ramp + reach + d.abs()) / ramp).clamp(0, 1)),
        "You square the distance, expected its absolute value.": _by_factor(
            lambda d, reach, ramp: ((ramp + reach - d**2) / ramp).clamp(0, 1)
        ),
        "You divide by the reach, expected by the width of the ramp.": _by_factor(
            lambda d, reach, ramp: ((ramp + reach - d.abs()) / reach).clamp(0, 1)
        ),
        "Your window ends at the reach: there the ramp only begins, (ramp + reach − distance) / ramp.": _by_factor(
            lambda d, reach, ramp: ((reach - d.abs()) / ramp).clamp(0, 1)
        ),
        "Your window is a sigmoid: expected a straight line, cut off at 0 and 1, clamp(0, 1).": _by_factor(
            lambda d, reach, ramp: ((ramp + reach - d.abs()) / ramp).sigmoid()
        ),
    }
)
