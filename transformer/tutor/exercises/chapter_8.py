"""Exercises of chapter 8, training with label smoothing."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def targets(draw: Draw) -> Iterator[Arguments]:
    """Batches of whole target sentences; square ones too."""
    yield from ((draw.ids(9, *shape) + 1,) for shape in ((1, 3), (2, 4), (3, 3), (2, 6)))


@exercise(
    "8.1",
    targets,
    hints=[
        "The last token is never put in, and the first never predicted.",
        "y[:, :-1] goes in, y[:, 1:] is to come out.",
    ],
)
def shift(y):
    """What goes into the decoder and what should come out, each (B, T), for targets y (B, T + 1) from BOS to EOS."""
    return y[:, :-1], y[:, 1:]


shift.mistakes(
    {
        "Input and output are equal: the model learns to copy. The output is one token ahead.": lambda y: (
            y[:, :-1],
            y[:, :-1],
        ),
        "roll wraps around: the last position would have to predict the beginning. Cut instead.": lambda y: (
            y,
            y.roll(-1, 1),
        ),
        "Input and output have changed places: the model would predict the past.": lambda y: (y[:, 1:], y[:, :-1]),
        "You shift the sentences, expected the tokens: cut along the second axis.": lambda y: (y[:-1], y[1:]),
        "The input keeps its last token, so it is one longer than the output.": lambda y: (y, y[:, 1:]),
        "The output is two tokens ahead, expected one.": lambda y: (y[:, :-2], y[:, 2:]),
    }
)


def padded_targets(draw: Draw) -> Iterator[Arguments]:
    """Target ids with padding among them, whose id is not always 0."""
    for n, V, epsilon, pad in ((3, 4, 0.2, 0), (4, 5, 0.1, 2), (6, 8, 0.4, 0)):
        y = draw.ids(V, n)
        y[-1], y[0] = pad, (pad + 1) % V
        yield y, V, epsilon, pad


@exercise(
    "8.2",
    padded_targets,
    hints=[
        "y[:, None] == torch.arange(V) marks the right token: times 1 − ε, and plus ε/V for every token.",
        "A position that is padding teaches nothing: its whole row is 0.",
    ],
)
def smooth(y, V, epsilon, pad):
    """Smoothed targets (n, V) in float32 for ids y (n,): ε/V for every token, the rest for the right one; rows of
    padding are 0."""
    one_hot = y[:, None] == torch.arange(V)  # (n, V)
    smoothed = one_hot * (1 - epsilon) + epsilon / V
    return smoothed * (y != pad)[:, None]


def _smooth(y, V, epsilon, pad, whole=False, kept=False, others=False):
    low = epsilon / (V - 1) if others else epsilon / V
    one_hot = F.one_hot(y, V)
    smoothed = one_hot + low if whole else one_hot * (1 - epsilon) + (1 - one_hot if others else 1) * low
    return smoothed if kept else smoothed * (y != pad)[:, None]


def _smooth_as_published(y, V, epsilon, pad):
    smoothed = torch.full((len(y), V), epsilon / (V - 2))
    smoothed[torch.arange(len(y)), y] = 1 - epsilon
    smoothed[:, pad] = 0
    return smoothed * (y != pad)[:, None]


smooth.knobs(
    _smooth,
    whole="Your rows sum to 1 + ε: the right token gives away ε first, so it keeps 1 − ε + ε/V.",
    kept="Rows of padding must be 0: nothing is learned there.",
    others="You spread ε over the V − 1 others: in this book, as in F.cross_entropy, every token gets ε/V.",
)
smooth.mistakes(
    {
        "This is the version of a well-known tutorial: ε/(V − 2) for all others, nothing for the padding. In this "
        "book, as in F.cross_entropy, every token gets ε/V, the padding too.": _smooth_as_published,
        "Nothing is smoothed: this is the one-hot target.": lambda y, V, epsilon, pad: (
            F.one_hot(y, V).float() * (y != pad)[:, None]
        ),
        "Every token gets ε, expected ε/V.": lambda y, V, epsilon, pad: (
            (F.one_hot(y, V) * (1 - epsilon) + epsilon) * (y != pad)[:, None]
        ),
        "You set the *column* of padding to 0, expected the rows in which padding is the target.": (
            lambda y, V, epsilon, pad: (F.one_hot(y, V) * (1 - epsilon) + epsilon / V) * (torch.arange(V) != pad)
        ),
    }
)


def vocabularies(draw: Draw) -> Iterator[Arguments]:
    """Sizes of a vocabulary, and how much is smoothed."""
    yield from ((2, 0.2), (10, 0.1), (1000, 0.3), (37_000, 0.1))


@exercise(
    "8.3",
    vocabularies,
    hints=[
        "At best the model's distribution is the target itself, and the loss is the target's entropy, −Σ p ln p.",
        "One token has p = 1 − ε + ε/V, and V − 1 have ε/V.",
    ],
)
def loss_floor(V, epsilon):
    """The smallest loss per token, in nats, that any model can have on smoothed targets (ε/V on every token)."""
    low = epsilon / V
    high = 1 - epsilon + low
    return -high * math.log(high) - (V - 1) * low * math.log(low)


loss_floor.mistakes(
    {
        "The floor is not 0: a smoothed target has an entropy, and no loss can be below it.": lambda V, epsilon: 0.0,
        "The right token's probability is 1 − ε + ε/V: it gets its share of the spread part too.": lambda V, epsilon: (
            -(1 - epsilon) * math.log(1 - epsilon) - (V - 1) * epsilon / V * math.log(epsilon / V)
        ),
        "Only the right token is counted: the V − 1 others have entropy too.": lambda V, epsilon: (
            -(1 - epsilon + epsilon / V) * math.log(1 - epsilon + epsilon / V)
        ),
        "This is in bits: take natural logarithms.": lambda V, epsilon: loss_floor.reference(V, epsilon) / math.log(2),
        "The sign is wrong: a loss is −Σ p ln p, above 0.": lambda V, epsilon: -loss_floor.reference(V, epsilon),
        "ε is spread over V − 1 tokens here, expected over all V.": lambda V, epsilon: (
            -(1 - epsilon) * math.log(1 - epsilon) - epsilon * math.log(epsilon / (V - 1))
        ),
    }
)


def moments(draw: Draw) -> Iterator[Arguments]:
    """Steps before, at and after the end of the warm-up."""
    for d, warmup in ((512, 4000), (64, 100)):
        yield from ((step, d, warmup) for step in (1, warmup // 2, warmup, 25 * warmup))


@exercise(
    "8.4",
    moments,
    hints=[
        "Two branches: step · warmup^-1.5 rises, step^-0.5 falls; at step = warmup they are equal.",
        "The smaller of the two is in force. Multiply it by d^-0.5.",
    ],
)
def my_noam(step, d, warmup):
    """The learning rate of update `step`, from 1, for d_model = d, paper §5.3, equation 3."""
    return d**-0.5 * min(step**-0.5, step * warmup**-1.5)


my_noam.mistakes(
    {
        "You take the larger branch: that rate grows for ever. Take the smaller.": lambda step, d, warmup: (
            d**-0.5 * max(step**-0.5, step * warmup**-1.5)
        ),
        "The factor d^-0.5 is missing: wider models get a lower rate.": lambda step, d, warmup: min(
            step**-0.5, step * warmup**-1.5
        ),
        "You multiply by √d, expected d^-0.5.": lambda step, d, warmup: d**0.5 * min(step**-0.5, step * warmup**-1.5),
        "The warm-up is missing: the rate starts at its largest.": lambda step, d, warmup: d**-0.5 * step**-0.5,
        "The rate never falls: after the warm-up it goes with 1/√step.": lambda step, d, warmup: (
            d**-0.5 * step * warmup**-1.5
        ),
        "The exponent of warmup is −1.5, so that the two branches meet at step = warmup.": lambda step, d, warmup: (
            d**-0.5 * min(step**-0.5, step * warmup**-0.5)
        ),
        "After the warm-up the rate stays as it is, expected a fall with 1/√step.": lambda step, d, warmup: (
            d**-0.5 * min(warmup**-0.5, step * warmup**-1.5)
        ),
    }
)


def scored(draw: Draw) -> Iterator[Arguments]:
    """Logits and targets of sentences of unequal lengths."""
    for batch, time, V, pad in ((1, 3, 3, 0), (2, 3, 4, 0), (3, 4, 5, 2)):
        y = draw.ids(V - 1, batch, time)
        y = y + (y >= pad)  # every id but padding
        y[0, -1] = y[-1, 1:] = pad
        yield draw.normal(batch, time, V), y, pad


@exercise(
    "8.5",
    scored,
    hints=[
        "−log of the probability of each target: F.cross_entropy wants the vocabulary second, logits.mT.",
        "Sum over the real tokens of the whole batch, and divide by their number: ignore_index does both.",
    ],
)
def token_loss(logits, y, pad):
    """The mean of −ln p(y) over the real tokens: logits (B, T, V), targets y (B, T) with padding, a number."""
    log_p = logits.log_softmax(-1).gather(-1, y[..., None])[..., 0]  # (B, T)
    real = y != pad
    return -(log_p * real).sum() / real.sum()


def _losses(logits, y):
    return F.cross_entropy(logits.mT, y, reduction="none")  # (B, T)


token_loss.mistakes(
    {
        "Padding is averaged in: divide by the number of real tokens.": lambda logits, y, pad: (
            _losses(logits, y) * (y != pad)
        ).mean(),
        "Padding is learned as a word: leave out the positions where it is the target.": lambda logits, y, pad: (
            F.cross_entropy(logits.mT, y)
        ),
        "You take the mean of each sentence's mean: a word of a short sentence then counts more.": (
            lambda logits, y, pad: ((_losses(logits, y) * (y != pad)).sum(1) / (y != pad).sum(1)).mean()
        ),
        "This is the sum: divide by the number of real tokens.": lambda logits, y, pad: F.cross_entropy(
            logits.mT, y, ignore_index=pad, reduction="sum"
        ),
        "The sign is wrong: a loss is −ln p, above 0.": lambda logits, y, pad: (
            -F.cross_entropy(logits.mT, y, ignore_index=pad)
        ),
        "You divide by the number of sentences, expected the number of real tokens.": lambda logits, y, pad: (
            F.cross_entropy(logits.mT, y, ignore_index=pad, reduction="sum") / len(y)
        ),
        "You average the probability itself: take its logarithm first.": lambda logits, y, pad: (
            -(logits.softmax(-1).gather(-1, y[..., None])[..., 0] * (y != pad)).sum() / (y != pad).sum()
        ),
    }
)
