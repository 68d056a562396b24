"""Exercises of chapter 2, positional encoding."""

import math
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
        "How many frequencies has a vector of d numbers, and what is 2i for each of them?",
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


def _sinusoids(
    n, d,
    halves=False, slow=False, double=False, from_one=False, swapped=False, grows=False, base=False, own=False,
    theirs=False,
):  # fmt: skip
    position = torch.arange(n)[:, None] + from_one
    channel = torch.arange(0, d, 2) * (0.5 if slow else 2 if double else 1)
    sine, cosine = (
        position * (1000.0 if base else 10000.0) ** ((exponent if grows else -exponent) / (d - 2 if theirs else d))
        for exponent in (channel, channel + (2 if double else 1) if own else channel)
    )
    both = [cosine.cos(), sine.sin()] if swapped else [sine.sin(), cosine.cos()]
    return torch.cat(both, -1) if halves else torch.stack(both, -1).flatten(1)


def _with_frequencies(frequency):
    """A wrong answer that computes only its frequencies in another way, from d."""

    def table(n, d):
        angle = torch.arange(n)[:, None] * frequency(d)
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

    return table


def _theirs(d):
    """The frequencies of the authors' code, which has a way out where there is only one."""
    return 10000.0 ** (-torch.arange(d // 2) / max(d // 2 - 1, 1))


def _mixed_rows(n, d):
    angle = torch.arange(n)[:, None] * 10000.0 ** (-torch.arange(0, d, 2) / d)
    return torch.stack([angle.sin(), angle.cos()]).reshape(n, d)


my_sinusoids.knobs(
    _sinusoids,
    halves="All sines come first, then all cosines: that is the layout of tensor2tensor; the paper alternates them.",
    slow="The exponent is i/d, expected 2i/d: your frequencies fall only to about 1/100, expected about 1/10000.",
    double="The exponent is twice as large as 2i/d; torch.arange(0, d, 2) is 2i already.",
    from_one="Your first row is position 1, expected position 0: sines 0, cosines 1.",
    swapped="Cosines stand at even places, sines at odd ones: exchange them.",
    grows="Your frequencies grow with i: divide by 10000^(2i/d), or give the exponent a minus.",
    base="The base is 1000, expected 10000.",
    own="A cosine has another frequency than the sine beside it: both use 2i, the even one.",
    theirs="These are the frequencies of tensor2tensor, with i/(d/2 − 1) in the exponent: the paper has 2i/d.",
)
my_sinusoids.mistakes(
    {
        "reshape mixes up the rows: stack sine and cosine on a new last axis, torch.stack([…], -1), then flatten(1).": (
            _mixed_rows
        ),
        "These are the frequencies of the authors' code, tensor2tensor: the formula divides i by d/2, not d/2 − 1.": (
            _with_frequencies(_theirs)
        ),
        "That is the authors' code, tensor2tensor: the paper alternates sines and cosines, and divides i by d/2.": (
            lambda n, d: torch.cat([f(torch.arange(n)[:, None] * _theirs(d)) for f in (torch.sin, torch.cos)], -1)
        ),
        "All your frequencies are 1, for // leaves out what is behind the point: divide with /.": (
            _with_frequencies(lambda d: 10000.0 ** -(torch.arange(0, d, 2) // d))
        ),
        "All your frequencies after the first are 1/10000, for // gives only whole numbers: divide with /.": (
            _with_frequencies(lambda d: 10000.0 ** (-torch.arange(0, d, 2) // d))
        ),
        "e needs the natural logarithm: math.log, not math.log10.": (
            _with_frequencies(lambda d: torch.exp(-torch.arange(0, d, 2) * math.log10(10000) / d))
        ),
        "2i/d is an exponent, not a factor: 10000 ** (2i/d).": (
            _with_frequencies(lambda d: 1 / (10000 * torch.arange(0, d, 2) / d))
        ),
        "A factor 2π does not belong here: the angle is p / 10000^(2i/d).": (
            _with_frequencies(lambda d: 2 * math.pi * 10000.0 ** (-torch.arange(0, d, 2) / d))
        ),
    }
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
    """The matrix M (d, d) that takes every position k places on: M @ PE(p) = PE(p + k), for all p; k may
    be negative."""
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)  # (d/2,)
    even = torch.arange(0, d, 2)
    M = torch.zeros(d, d)
    M[even, even] = M[even + 1, even + 1] = angle.cos()
    M[even, even + 1] = angle.sin()
    M[even + 1, even] = -angle.sin()
    return M


def _shift(
    k,
    d,
    backwards=False,
    one=False,
    reflects=False,
    exchanged=False,
    slow=False,
    double=False,
    grows=False,
    still=False,
):
    exponent = torch.arange(0, d, 2, dtype=torch.float64) * (0.5 if slow else 2 if double else 1) / d
    angle = (1 if still else k) * 10000.0 ** (exponent if grows else -exponent)
    angle = torch.full_like(angle, float(angle[0])) if one else angle
    cos, sin = angle.cos(), angle.sin()
    cos, sin = (sin, cos) if exchanged else (cos, sin)
    upper, lower = (-sin, sin) if backwards else (sin, -sin)
    return _blocks(cos, upper, upper if reflects else lower)


def _blocks(diagonal, upper, lower):
    """The matrix (d, d) of a block [[diagonal, upper], [lower, diagonal]] for each frequency, from numbers (d/2,)."""
    rows = zip(diagonal, upper, lower, strict=True)
    return torch.block_diag(*[torch.stack([torch.stack([c, u]), torch.stack([low, c])]) for c, u, low in rows])


def _with_angles(angles):
    """A wrong answer that computes only its angles in another way, from k and d."""

    def matrix(k, d):
        angle = angles(k, 10000.0 ** (-torch.arange(0, d, 2) / d))
        return _blocks(angle.cos(), angle.sin(), -angle.sin())

    return matrix


def _sines_only(k, d):
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)
    return _blocks(torch.ones(d // 2), angle.sin(), -angle.sin())


def _without_lower_sines(k, d):
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)
    return _blocks(angle.cos(), angle.sin(), torch.zeros(d // 2))


def _without_first_block(k, d):
    M = shift_matrix.reference(k, d)
    M[:2, :2] = 0
    return M


def _overlapping(k, d):
    M = torch.zeros(d, d)
    for i in range(d // 2):
        angle = torch.tensor(k * 10000.0 ** (-2 * i / d))
        M[i, i] = M[i + 1, i + 1] = angle.cos()
        M[i, i + 1] = angle.sin()
        M[i + 1, i] = -angle.sin()
    return M


def _halves(k, d):
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)
    cos, sin = angle.cos().diag(), angle.sin().diag()
    return torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)])


shift_matrix.knobs(
    _shift,
    backwards="Your matrix is transposed: it gives PE(p − k).",
    one="All pairs turn by the same angle: each pair has its own frequency.",
    reflects="Both sines have a plus: that is no rotation, for the lower one is −sin kω.",
    exchanged="Sine and cosine are exchanged: for k = 0 nothing must move, so cosines stand on the diagonal.",
    slow="The exponent is i/d, expected 2i/d.",
    double="The exponent is twice as large as 2i/d: a step of 2 in the range or in arange makes 2i of i already.",
    grows="Your frequencies grow with i: divide by 10000^(2i/d), or give the exponent a minus.",
    still="k is not used: the angle of each pair is k times its frequency.",
)
shift_matrix.mistakes(
    {
        "This is the identity, which moves nothing: k is not used.": lambda k, d: torch.eye(d),
        "Your matrix is for a table with all sines first: here each cosine follows its sine.": _halves,
        "Both sines have a minus: that is no rotation, for the upper one is +sin kω.": (
            lambda k, d: _shift(k, d, backwards=True, reflects=True)
        ),
        "You take k without its sign: a negative k goes back, so let the sine have it.": (
            lambda k, d: shift_matrix.reference(abs(k), d)
        ),
        "Your matrix goes k + 1 places on: the angle is kω.": lambda k, d: shift_matrix.reference(k + 1, d),
        "You raise a frequency to the power k: the angle is k times the frequency.": _with_angles(lambda k, w: w**k),
        "You convert the angle from degrees: sine and cosine take kω as it is, in radians.": (
            _with_angles(lambda k, w: torch.deg2rad(k * w))
        ),
        "The cosines are missing on the diagonal: you left the 1 of the identity there.": _sines_only,
        "The lower sines are missing: below the diagonal of each block stands −sin kω.": _without_lower_sines,
        "The first block is missing: i counts from 0.": _without_first_block,
        "Your blocks overlap: block i begins at row and column 2i, not i.": _overlapping,
    }
)


@exercise(
    "2.3",
    shifts,
    hints=["sin a · sin b + cos a · cos b = cos(a − b).", "One cosine for each of the d/2 frequencies, added up."],
)
def position_dot(k, d):
    """The dot product PE(p) · PE(p + k) as a number, in closed form: it does not depend on p. k may be
    negative."""
    frequency = 10000.0 ** (-torch.arange(0, d, 2) / d)
    return (k * frequency).cos().sum().item()


def _position_dot(k, d, twice=False, sine=False, mean=False, slow=False, double=False, all_d=False, from_one=False):
    i = torch.arange(d if all_d else d // 2) + from_one
    angle = k * 10000.0 ** (-i * (1 if slow else 4 if double else 2) / d)
    parts = angle.sin() if sine else angle.cos()
    return (2 if twice else 1) * (parts.mean() if mean else parts.sum()).item()


def _frequencies(d):
    return 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)


def _dot_in_table(size):
    """A wrong answer pe[0] @ pe[k] that takes a negative k from the end of a table of so many rows, size(k)."""

    def dot(k, d):
        row = range(size(k))[k]
        return (row * _frequencies(d)).cos().sum().item()

    return dot


TABLES = (201, 256, 300, 500, 512, 1000, 1024, 2000, 2048, 5000)
"""how many rows people give a table"""

position_dot.knobs(
    _position_dot,
    twice="Twice too large: there are d/2 frequencies, not d, for each serves a sine and a cosine.",
    sine="A sum of sines is 0 at k = 0, where the dot product of a vector with itself must be largest: take cosines.",
    mean="You take the mean over the frequencies: a dot product is a sum.",
    slow="The exponent is i/d, expected 2i/d.",
    double="The exponent is twice as large as 2i/d: a step of 2 in the range or in arange makes 2i of i already.",
    all_d="You add up d terms: there are d/2 frequencies, so i runs through range(d // 2).",
    from_one="i counts from 0: your first frequency, i = 0, is to be 1.",
)
position_dot.mistakes(
    {
        "pe[k] with a negative k counts from the end of the table: cos is even, so take abs(k), or the closed form.": (
            _dot_in_table(lambda k: abs(k) + 1)
        ),
        "The first frequency is missing: i counts from 0.": lambda k, d: (k * _frequencies(d)[1:]).cos().sum().item(),
        "Only the cosines of the distance are left: sines do not belong in the sum.": (
            lambda k, d: ((k * _frequencies(d)).cos() + (k * _frequencies(d)).sin()).sum().item()
        ),
        "You take the cosine of the sum: take each cosine first, then add them up.": (
            lambda k, d: (k * _frequencies(d)).sum().cos().item()
        ),
        "You multiply the cosines, expected their sum.": lambda k, d: (k * _frequencies(d)).cos().prod().item(),
        "That is PE(1) · PE(k), a distance of k − 1.": lambda k, d: ((k - 1) * _frequencies(d)).cos().sum().item(),
        "You return one cosine for each frequency: add them up to one number.": (
            lambda k, d: (k * _frequencies(d)).cos()
        ),
        "k belongs inside the cosine: cos(kω), not k · cos ω.": lambda k, d: k * _frequencies(d).cos().sum().item(),
        "A factor too many: 1/√d is for the scores of attention, here the plain dot product is asked for.": (
            lambda k, d: (k * _frequencies(d)).cos().sum().item() / math.sqrt(d)
        ),
        "d/2 is PE(p) · PE(p), which is right for k = 0 only: k must count.": lambda k, d: d / 2,
        "Your frequencies grow with i: divide by 10000^(2i/d), or give the exponent a minus.": (
            lambda k, d: (k / _frequencies(d)).cos().sum().item()
        ),
        "These are the frequencies of tensor2tensor, with i/(d/2 − 1) in the exponent: the paper has 2i/d.": (
            lambda k, d: sum(math.cos(k * 10000 ** (-i / (d // 2 - 1))) for i in range(d // 2))
        ),
    }
)
position_dot.mistakes(
    {
        f"pe[k] with a negative k counts from the end of the table of {rows} rows: cos is even, so take abs(k), or the "
        "closed form.": _dot_in_table(lambda k, rows=rows: rows)
        for rows in TABLES
    }
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
        "The table has more rows than a sentence has words: take the first T, pe[: x.size(1)].": lambda x, pe: x + pe,
        "You have cut the table to the number of features, expected the number of words, x.size(1).": (
            lambda x, pe: x + pe[: x.size(-1)]
        ),
        "You have cut the columns of the table: its rows are the positions, pe[: x.size(1)].": (
            lambda x, pe: x + pe[:, : x.size(1)]
        ),
        "All words get row T: with a colon, pe[: x.size(1)], each gets its own.": lambda x, pe: x + pe[x.size(1)],
        "x has been multiplied by √d_model already, in embed: here it is added as it is.": (
            lambda x, pe: x * math.sqrt(x.size(-1)) + pe[: x.size(1)]
        ),
        "You put the positions beside the words: the paper adds them, and d_model stays.": (
            lambda x, pe: torch.cat([x, pe[: x.size(1)].expand_as(x)], -1)
        ),
        "You take the mean of word and position: the paper adds them.": lambda x, pe: (x + pe[: x.size(1)]) / 2,
        "You take the positions away: the paper adds them.": lambda x, pe: x - pe[: x.size(1)],
        "You add the sum of all positions to every word: word t gets row t.": (
            lambda x, pe: x + pe[: x.size(1)].sum(0)
        ),
    }
)
