"""Exercises of chapter 2, positional encoding."""

from collections.abc import Iterator

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def tables(draw: Draw) -> Iterator[Arguments]:
    """Numbers of positions and of features."""
    yield from ((3, 4), (1, 2), (7, 6), (12, 16))


@exercise(
    "2.1",
    tables,
    hints=[
        "Make a column of positions (n, 1) and a row of frequencies (d/2,): their product has shape (n, d/2).",
        "Frequency i is 10000^(−2i/d), and 2i runs through torch.arange(0, d, 2).",
        "torch.stack([sine, cosine], -1).flatten(1) puts each cosine beside its sine.",
    ],
    given="""
        position = torch.arange(n)[:, None]  # (n, 1)
        frequency = ...  # (d/2,)
        angle = position * frequency  # (n, d/2)
        return ...  # (n, d)
    """,
)
def my_sinusoids(n, d):
    """The table (n, d) of paper §3.5, in float32: PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos(the same), p
    from 0."""
    position = torch.arange(n)[:, None]  # (n, 1)
    frequency = 10000.0 ** (-torch.arange(0, d, 2) / d)  # (d/2,)
    angle = position * frequency  # (n, d/2)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def _sinusoids(n, d, halves=False, slow=False, from_one=False, swapped=False, grows=False, base=False):
    position = torch.arange(n)[:, None] + from_one
    exponent = torch.arange(d // 2) * (1 if slow else 2) / d
    angle = position * (1000.0 if base else 10000.0) ** (exponent if grows else -exponent)
    both = [angle.cos(), angle.sin()] if swapped else [angle.sin(), angle.cos()]
    return torch.cat(both, -1) if halves else torch.stack(both, -1).flatten(1)


def _own_frequencies(n, d):
    channel = torch.arange(d)
    angle = torch.arange(n)[:, None] * 10000.0 ** (-channel / d)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


my_sinusoids.knobs(
    _sinusoids,
    halves="All sines come first, then all cosines: that is the layout of tensor2tensor; the paper alternates them.",
    slow="The exponent is i/d, expected 2i/d: half of your frequencies are missing.",
    from_one="Your first row is position 1, expected position 0: sines 0, cosines 1.",
    swapped="Cosines stand at even places, sines at odd ones: exchange them.",
    grows="Your frequencies grow with i: divide by 10000^(2i/d), or give the exponent a minus.",
    base="The base is 1000, expected 10000.",
)
my_sinusoids.mistakes(
    {"A cosine has another frequency than the sine beside it: both use 2i, the even one.": _own_frequencies}
)


def shifts(draw: Draw) -> Iterator[Arguments]:
    """Distances, in both directions, and numbers of features."""
    yield from ((1, 4), (3, 6), (-2, 4), (5, 2), (200, 8))


@exercise(
    "2.2",
    shifts,
    hints=[
        "sin(a + b) = sin a · cos b + cos a · sin b, and cos(a + b) = cos a · cos b − sin a · sin b.",
        "M has a block of 2 × 2 on the diagonal for each frequency ω: [[cos kω, sin kω], [−sin kω, cos kω]].",
    ],
)
def shift_matrix(k, d):
    """The matrix M (d, d) that takes every position k places on: M @ PE(p) = PE(p + k), for all p."""
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)  # (d/2,)
    even = torch.arange(0, d, 2)
    M = torch.zeros(d, d)
    M[even, even] = M[even + 1, even + 1] = angle.cos()
    M[even, even + 1] = angle.sin()
    M[even + 1, even] = -angle.sin()
    return M


def _shift(k, d, backwards=False, one=False, reflects=False, exchanged=False, slow=False):
    exponent = torch.arange(d // 2) * (1 if slow else 2) / d
    angle = -k * 10000.0 ** (-exponent) if backwards else k * 10000.0 ** (-exponent)
    angle = torch.full_like(angle, float(angle[0])) if one else angle
    cos, sin = (angle.sin(), angle.cos()) if exchanged else (angle.cos(), angle.sin())
    blocks = [
        torch.stack([torch.stack([c, s]), torch.stack([s if reflects else -s, c])])
        for c, s in zip(cos, sin, strict=True)
    ]
    return torch.block_diag(*blocks)


def _halves(k, d):
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)
    cos, sin = angle.cos().diag(), angle.sin().diag()
    return torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)])


shift_matrix.knobs(
    _shift,
    backwards="Your matrix is transposed: it gives PE(p − k).",
    one="All pairs turn by the same angle: each pair has its own frequency.",
    reflects="Both sines have the same sign: that is no rotation. One of them is negative.",
    exchanged="Sine and cosine are exchanged: for k = 0 nothing must move, so cosines stand on the diagonal.",
    slow="The exponent is i/d, expected 2i/d.",
)
shift_matrix.mistakes({"Your matrix is for a table with all sines first: here each cosine follows its sine.": _halves})


@exercise(
    "2.3",
    shifts,
    hints=["sin a · sin b + cos a · cos b = cos(a − b).", "One cosine for each of the d/2 frequencies, added up."],
)
def position_dot(k, d):
    """The dot product PE(p) · PE(p + k) as a number, in closed form: it does not depend on p."""
    frequency = 10000.0 ** (-torch.arange(0, d, 2) / d)
    return (k * frequency).cos().sum().item()


def _position_dot(k, d, twice=False, sine=False, mean=False, slow=False):
    angle = k * 10000.0 ** (-torch.arange(d // 2) * (1 if slow else 2) / d)
    parts = angle.sin() if sine else angle.cos()
    return (2 if twice else 1) * (parts.mean() if mean else parts.sum()).item()


position_dot.knobs(
    _position_dot,
    twice="Twice too large: there are d/2 frequencies, not d, for each serves a sine and a cosine.",
    sine="A sum of sines is 0 at k = 0, where the dot product of a vector with itself must be largest: take cosines.",
    mean="You take the mean over the frequencies: a dot product is a sum.",
    slow="The exponent is i/d, expected 2i/d.",
)


def sentences(draw: Draw) -> Iterator[Arguments]:
    """Batches of sentences, and tables with more positions than needed; in two, as many sentences as words."""
    for batch, time, d in ((1, 2, 4), (3, 3, 2), (2, 5, 4), (4, 4, 4)):
        yield draw.normal(batch, time, d), draw.normal(7, d)


@exercise(
    "2.4",
    sentences,
    hints=["x has shape (B, T, D): which axis counts the words?", "Take the first T rows; they broadcast over B."],
)
def add_positions(x, pe):
    """Add to word t of every sentence in x (B, T, D) row t of the table pe (N, D), N ≥ T: (B, T, D)."""
    return x + pe[: x.size(1)]


add_positions.mistakes(
    {
        "You have cut the table to the number of sentences, expected the number of words, x.size(1).": (
            lambda x, pe: x + pe[: x.size(0)]
        ),
        "Every sentence gets a position, not every word: the axis of time is the second.": (
            lambda x, pe: x + pe[: x.size(0), None]
        ),
        "All words get the first position: one row of the table for each word.": lambda x, pe: x + pe[0],
        "Your positions start at 1, expected 0.": lambda x, pe: x + pe[1 : x.size(1) + 1],
        "You take the end of the table, expected its beginning.": lambda x, pe: x + pe[-x.size(1) :],
        "You multiply by the positions: the paper adds them.": lambda x, pe: x * pe[: x.size(1)],
    }
)
