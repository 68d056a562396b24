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
        "Both are the whole sentence: the input lacks its last token, the output its first.": lambda y: (y, y),
        "Both lack the first token: the input begins with BOS, and lacks the last.": lambda y: (y[:, 1:], y[:, 1:]),
        "The output has lost EOS: it lacks only the first token, y[:, 1:].": lambda y: (y[:, :-1], y[:, 1:-1]),
        "The input has lost BOS: it lacks only the last token, y[:, :-1].": lambda y: (y[:, 1:-1], y[:, 2:]),
        "Both have lost BOS and EOS, and are equal: the input lacks the last token, the output the first.": lambda y: (
            y[:, 1:-1],
            y[:, 1:-1],
        ),
        "The output is the token *before*, expected the one after: y[:, 1:].": lambda y: (
            y[:, :-1],
            y.roll(1, 1)[:, :-1],
        ),
        "You put a token before the first: y begins with BOS already. Cut the last one off instead.": lambda y: (
            F.pad(y[:, :-1], (1, 0)),
            y,
        ),
        "The input is the first token alone, y[:, :1], expected all but the last, y[:, :-1].": lambda y: (
            y[:, :1],
            y[:, 1:],
        ),
        "The output is the last token alone: every position predicts the one after it, y[:, 1:].": lambda y: (
            y[:, :-1],
            y[:, -1],
        ),
        "You return one of the two: what goes in and what should come out.": lambda y: y[:, 1:],
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
    """Smoothed targets (n, V) for ids y (n,): ε/V for every token, the rest for the right one; rows of padding are
    0."""
    one_hot = y[:, None] == torch.arange(V)  # (n, V)
    smoothed = one_hot * (1 - epsilon) + epsilon / V
    return smoothed * (y != pad)[:, None]


def _smooth(
    y, V, epsilon, pad,
    whole=False, kept=False, others=False, bare=False, undivided=False, exchanged=False, column=False,
):  # fmt: skip
    if exchanged:
        epsilon = 1 - epsilon
    low = epsilon if undivided else epsilon / (V - 1 if others else V)
    one_hot = F.one_hot(y, V)
    smoothed = one_hot * (1 if whole else 1 - epsilon) + (1 - one_hot if others or bare else 1) * low
    smoothed = smoothed * (torch.arange(V) != pad) if column else smoothed
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
    bare="The right token lacks its share: it gets ε/V as every token does, together 1 − ε + ε/V.",
    undivided="Every token gets ε, expected ε/V.",
    exchanged="ε and 1 − ε have changed places: the right token gets 1 − ε, and all together share ε.",
    column="You set the column of padding to 0, too: only the rows in which padding is the target are 0.",
)  # fmt: skip
smooth.mistakes(
    {
        "This is the version of a well-known tutorial: ε/(V − 2) for all others, nothing for the padding. In this "
        "book, as in F.cross_entropy, every token gets ε/V, the padding too.": _smooth_as_published,
        "This is the version of a well-known tutorial, and with 0 for the padding whatever `pad` is: every token gets "
        "ε/V, the padding too, and `pad` says which rows are 0.": lambda y, V, epsilon, pad: _smooth_as_published(
            y, V, epsilon, 0
        ),
        "Nothing is smoothed: this is the one-hot target.": lambda y, V, epsilon, pad: (
            F.one_hot(y, V).float() * (y != pad)[:, None]
        ),
        "Rows of padding hold ε/V: set them to 0 at the end, after the smoothing.": lambda y, V, epsilon, pad: (
            F.one_hot(y, V) * (y != pad)[:, None] * (1 - epsilon) + epsilon / V
        ),
        "You set row number `pad` to 0, expected the rows in which padding is the target, y == pad.": (
            lambda y, V, epsilon, pad: _smooth(y, V, epsilon, pad, kept=True) * (torch.arange(len(y)) != pad)[:, None]
        ),
        "The condition is turned round: the rows of padding, y == pad, are 0, and you set all others to 0.": (
            lambda y, V, epsilon, pad: _smooth(y, V, epsilon, pad, kept=True) * (y == pad)[:, None]
        ),
        "The id of padding is `pad`, not always 0.": lambda y, V, epsilon, pad: (
            _smooth(y, V, epsilon, pad, kept=True) * (y != 0)[:, None]
        ),
        "Rows and columns are mixed up: (y != pad)[:, None] has one entry for each row.": lambda y, V, epsilon, pad: (
            _smooth(y, V, epsilon, pad, kept=True) * (y != pad)
        ),
        "You leave the rows of padding out: keep them, as zeros, so that each target has its row.": (
            lambda y, V, epsilon, pad: smooth.reference(y, V, epsilon, pad)[y != pad]
        ),
        "Every token gets ε/(V − 1), the right one besides its 1 − ε: rows then sum to more than 1. Divide by V.": (
            lambda y, V, epsilon, pad: (F.one_hot(y, V) * (1 - epsilon) + epsilon / (V - 1)) * (y != pad)[:, None]
        ),
        "You divide ε by the number of targets, expected the number of tokens, V.": lambda y, V, epsilon, pad: (
            (F.one_hot(y, V) * (1 - epsilon) + epsilon / len(y)) * (y != pad)[:, None]
        ),
        "[:, y] means these columns of *every* row: one entry for each row is [torch.arange(n), y].": (
            lambda y, V, epsilon, pad: (
                (torch.isin(torch.arange(V), y) * (1 - epsilon) + epsilon / V) * (y != pad)[:, None]
            )
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


def _floor(V, epsilon, bits=False, unshared=False, one=False, every=False, alone=False, others=False, negative=False):
    low = epsilon / (V - 1 if others else V)
    high = 1 - epsilon + (0 if unshared or others else low)
    n = 0 if alone else 1 if one else V if every else V - 1
    entropy = -high * math.log(high) - n * low * math.log(low)
    return entropy / (math.log(2) if bits else 1) * (-1 if negative else 1)


loss_floor.knobs(
    _floor,
    bits="This is in bits: take natural logarithms.",
    unshared="The right token's probability is 1 − ε + ε/V: it gets its share of the spread part too.",
    one="One other token is counted: there are V − 1 of them, with ε/V each.",
    every="You count ε/V for V tokens besides the right one: there are V − 1 others.",
    alone="Only the right token is counted: the V − 1 others have entropy too.",
    others="ε is spread over V − 1 tokens here, expected over all V.",
    negative="The sign is wrong: a loss is −Σ p ln p, above 0.",
)
loss_floor.mistakes(
    {
        "The floor is not 0: a smoothed target has an entropy, and no loss can be below it.": lambda V, epsilon: 0.0,
        "This is −ln p of the right token alone, and without its ε/V: the mean over the target is −Σ p ln p.": (
            lambda V, epsilon: -math.log(1 - epsilon)
        ),
        "This is −ln p of the right token alone: the mean over the smoothed target is −Σ p ln p, over all V tokens.": (
            lambda V, epsilon: -math.log(1 - epsilon + epsilon / V)
        ),
        "These are logarithms to the base 10: take natural ones.": lambda V, epsilon: (
            loss_floor.reference(V, epsilon) / math.log(10)
        ),
        "This is ln V, the loss of a model that knows nothing: the best one predicts the smoothed target.": (
            lambda V, epsilon: math.log(V)
        ),
        "This is e to the floor, a perplexity: the loss is its logarithm.": lambda V, epsilon: math.exp(
            loss_floor.reference(V, epsilon)
        ),
        "This is how far ahead the right token's *logit* is at best: the loss is −Σ p ln p of the probabilities.": (
            lambda V, epsilon: math.log(1 + V * (1 - epsilon) / epsilon)
        ),
        "You treat all the rest as one token of probability ε: it is spread over the tokens, ε/V on each.": (
            lambda V, epsilon: -(1 - epsilon) * math.log(1 - epsilon) - epsilon * math.log(epsilon)
        ),
        "You divide by V: the entropy is the sum over the tokens, each weighted by its probability.": (
            lambda V, epsilon: loss_floor.reference(V, epsilon) / V
        ),
        "Each logarithm is weighted by its probability: −p ln p, not −ln p.": lambda V, epsilon: (
            -math.log(1 - epsilon + epsilon / V) - (V - 1) * math.log(epsilon / V)
        ),
        "This is what is left up to ln V: the floor itself is the entropy of the target.": lambda V, epsilon: (
            math.log(V) - loss_floor.reference(V, epsilon)
        ),
    }
)


def moments(draw: Draw) -> Iterator[Arguments]:
    """Steps before, at and after the end of the warm-up; a short one first, whose rates are large enough to compare."""
    for d, warmup in ((16, 4), (64, 100), (512, 4000)):
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


def _noam(step, d, warmup, larger=False, bare=False, root=False, half=False, ahead=False):
    step = step + 1 if ahead else step
    factor = 1 if bare else d**0.5 if root else d**-0.5
    return factor * (max if larger else min)(step**-0.5, step * warmup ** (-0.5 if half else -1.5))


my_noam.knobs(
    _noam,
    larger="You take the larger branch: that rate grows for ever. Take the smaller.",
    bare="The factor d^-0.5 is missing: wider models get a lower rate.",
    root="You multiply by √d, expected d^-0.5.",
    half="The exponent of warmup is −1.5, so that the two branches meet at step = warmup.",
    ahead="Your steps are one ahead: `step` counts from 1 already.",
)


def _noam_halved(step, d, warmup, of_warmup=False, of_d=False, of_step=False):
    """With exponents written as -3/2 and -1/2."""
    rising = step * (warmup**-3 / 2 if of_warmup else warmup**-1.5)
    return (d**-1 / 2 if of_d else d**-0.5) * min(step**-1 / 2 if of_step else step**-0.5, rising)


my_noam.knobs(
    _noam_halved,
    of_warmup="A power comes before a division: warmup ** -3/2 is warmup⁻³ / 2.",
    of_d="A power comes before a division: d ** -1/2 is d⁻¹ / 2.",
    of_step="A power comes before a division: step ** -1/2 is step⁻¹ / 2.",
)
my_noam.mistakes(
    {
        "A power comes before a division, at all three places: d ** -1/2 is d⁻¹ / 2, warmup ** -3/2 is warmup⁻³ / 2.": (
            lambda *args: _noam_halved(*args, of_warmup=True, of_d=True, of_step=True)
        ),
        "The rate is largest at step 1 and only falls, so there is no warm-up: the rising branch is step · warmup^-1.5 "
        "(mind the minus), and it must be the smaller one at first.": lambda step, d, warmup: d**-0.5 * step**-0.5,
        "The rate never falls: after the warm-up it goes with 1/√step.": lambda step, d, warmup: (
            d**-0.5 * step * warmup**-1.5
        ),
        "The exponent of warmup is −2 here, expected −1.5: the branches would not meet at step = warmup.": (
            lambda step, d, warmup: d**-0.5 * min(step**-0.5, step * warmup**-2)
        ),
        "The rising branch is step / warmup here, which is 1 after the warm-up: step · warmup^-1.5.": (
            lambda step, d, warmup: d**-0.5 * min(step**-0.5, step / warmup)
        ),
        "step is raised to −1.5 as well: only warmup is, step * warmup ** -1.5.": lambda step, d, warmup: (
            d**-0.5 * min(step**-0.5, (step * warmup) ** -1.5)
        ),
        "The exponent of step is −0.5: yours is √step, which grows.": lambda step, d, warmup: (
            d**-0.5 * min(step**0.5, step * warmup**-1.5)
        ),
        "The rate falls with 1/step, expected 1/√step.": lambda step, d, warmup: (
            d**-0.5 * min(step**-1, step * warmup**-1.5)
        ),
        "The exponent of d is −1, expected −0.5 (in Python -1 // 2 is −1).": lambda step, d, warmup: (
            d**-1 * min(step**-0.5, step * warmup**-1.5)
        ),
        "-d ** 0.5 is −√d: Python takes the power first. The minus belongs to the exponent, d ** -0.5.": (
            lambda step, d, warmup: -(d**0.5) * min(step**-0.5, step * warmup**-1.5)
        ),
        "Your steps are one behind: `step` counts from 1.": lambda step, d, warmup: my_noam.reference(
            max(step - 1, 1), d, warmup
        ),
        "The warm-up is always 4000 here: use `warmup`.": lambda step, d, warmup: my_noam.reference(step, d, 4000),
        "d is always 512 here: use `d`.": lambda step, d, warmup: my_noam.reference(step, 512, warmup),
        "You add the two branches: the smaller one alone is in force.": lambda step, d, warmup: (
            d**-0.5 * (step**-0.5 + step * warmup**-1.5)
        ),
        "You multiply the two branches: the smaller one alone is in force.": lambda step, d, warmup: (
            d**-0.5 * step**-0.5 * step * warmup**-1.5
        ),
        "Only the falling branch has the factor d^-0.5: multiply the smaller of the two by it.": (
            lambda step, d, warmup: min((d * step) ** -0.5, step * warmup**-1.5)
        ),
        "Only the rising branch has the factor d^-0.5: multiply the smaller of the two by it.": (
            lambda step, d, warmup: min(step**-0.5, d**-0.5 * step * warmup**-1.5)
        ),
        "step and warmup have changed places.": lambda step, d, warmup: my_noam.reference(warmup, d, step),
        "After the warm-up you count steps from its end: it is 1/√step, from the first step on.": (
            lambda step, d, warmup: d**-0.5 * (step * warmup**-1.5 if step < warmup else (step - warmup + 1) ** -0.5)
        ),
        "After the warm-up the rate stays as it is, expected a fall with 1/√step.": lambda step, d, warmup: (
            d**-0.5 * min(warmup**-0.5, step * warmup**-1.5)
        ),
    }
)


def scored(draw: Draw) -> Iterator[Arguments]:
    """Logits and targets of sentences of unequal lengths; the last logits lie so far up that exp overflows in float32,
    and so far apart that probabilities become 0, and that a small number added to one shows."""
    sizes = (((1, 3, 3), 0, 0, 1), ((2, 3, 4), 0, 0, 1), ((3, 4, 5), 2, 0, 1), ((3, 4, 6), 1, 100, 60))
    for (batch, time, V), pad, mean, spread in sizes:
        y = draw.ids(V - 1, batch, time)
        y = y + (y >= pad)  # every id but padding
        y[0, -1] = y[-1, 1:] = pad
        yield mean + spread * draw.normal(batch, time, V), y, pad


@exercise(
    "8.5",
    scored,
    hints=[
        "log_softmax has ln p of every word of the vocabulary; gather(-1, …) picks each target's, by y[..., None].",
        "Sum over the real tokens of the whole batch, and divide by their number. (F.cross_entropy does it all, with "
        "the vocabulary second, logits.mT, and ignore_index.)",
    ],
)
def token_loss(logits, y, pad):
    """The mean of −ln p(y) over the real tokens, one number: logits (B, T, V), targets y (B, T) with padding.
    Logits may be large: exp of them can overflow."""
    log_p = logits.log_softmax(-1).gather(-1, y[..., None])[..., 0]  # (B, T)
    real = y != pad
    return -(log_p * real).sum() / real.sum()


def _losses(logits, y):
    return F.cross_entropy(logits.mT, y, reduction="none")  # (B, T)


def _token_loss(
    logits, y, pad,
    averaged=False, learned=False, sentences=False, batch=False, places=False, total=False, negative=False,
    probability=False, axis=False, bits=False,
):  # fmt: skip
    log_p = logits.log_softmax(1 if axis else -1).gather(-1, y[..., None])[..., 0]
    real = torch.ones_like(y) if learned else y != pad
    losses = (log_p.exp() if probability else log_p / math.log(2) if bits else log_p) * real * (1 if negative else -1)
    if sentences:
        return (losses.sum(1) / real.sum(1)).mean()
    n = 1 if total else len(y) if batch else y.size(1) if places else y.numel() if averaged else real.sum()
    return losses.sum() / n


token_loss.knobs(
    _token_loss,
    averaged="Padding is averaged in: divide by the number of real tokens.",
    learned="Padding is learned as a word: leave out the positions where it is the target.",
    sentences="You take the mean of each sentence's mean: a word of a short sentence then counts more.",
    total="This is the sum: divide by the number of real tokens.",
    negative="The sign is wrong: a loss is −ln p, above 0.",
    batch="You divide by the number of sentences, expected the number of real tokens.",
    places="You divide by the length of the sentences, expected the number of real tokens.",
    probability="You average the probability itself: take its logarithm first.",
    axis="The softmax is taken over the positions, expected over the vocabulary, the last axis.",
    bits="This is in bits: take the natural logarithm.",
)  # fmt: skip


def _by_hand(logits, y, pad):
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return -p.gather(-1, y[..., None])[..., 0][y != pad].log().mean()


def _log_of_the_mean(logits, y, pad):
    return -logits.softmax(-1).gather(-1, y[..., None])[..., 0][y != pad].mean().log()


def _with_a_small_number(logits, y, pad):
    return -(logits.softmax(-1).gather(-1, y[..., None])[..., 0][y != pad] + 1e-9).log().mean()


token_loss.mistakes(
    {
        "exp of a large logit is inf in float32: take log_softmax, which subtracts the maximum first.": _by_hand,
        "Where a target is very unlikely, its probability is 0 in float32, and log 0 is −∞: take log_softmax.": (
            lambda logits, y, pad: -logits.softmax(-1).gather(-1, y[..., None])[..., 0][y != pad].log().mean()
        ),
        "You take the logarithm of the mean probability, expected the mean of the logarithms.": _log_of_the_mean,
        "You add a small number to p, which changes the loss where p is small: take log_softmax, which never meets "
        "log 0.": _with_a_small_number,
        "There is no softmax: logits are not yet logarithms of probabilities. Take log_softmax first.": (
            lambda logits, y, pad: F.nll_loss(logits.mT, y, ignore_index=pad)
        ),
        "F.cross_entropy takes a softmax itself: give it the logits, not probabilities.": lambda logits, y, pad: (
            F.cross_entropy(logits.softmax(-1).mT, y, ignore_index=pad)
        ),
        "This is e to the loss, the perplexity: the loss is the mean of −ln p itself.": lambda logits, y, pad: (
            F.cross_entropy(logits.mT, y, ignore_index=pad).exp()
        ),
        "The id of padding is `pad`, not always 0.": lambda logits, y, pad: _losses(logits, y)[y != 0].mean(),
        "Real is every id but `pad`, y != pad: ids below it are words, too.": lambda logits, y, pad: _losses(logits, y)[
            y > pad
        ].mean(),
        "The condition is turned round: you average over the padding.": lambda logits, y, pad: _losses(logits, y)[
            y == pad
        ].mean(),
        "You shift once more: y is already what should come out at each position.": lambda logits, y, pad: (
            F.cross_entropy(logits[:, :-1].mT, y[:, 1:], ignore_index=pad)
        ),
        "F.cross_entropy wants the vocabulary as the second axis: logits.mT, (B, V, T).": lambda logits, y, pad: (
            F.cross_entropy(logits, y, ignore_index=pad)
        ),
        "reshape(B, V, T) lays the numbers out anew, and mixes words: exchange the axes, logits.mT.": (
            lambda logits, y, pad: F.cross_entropy(logits.reshape(len(y), -1, y.size(1)), y, ignore_index=pad)
        ),
        "You take the likeliest word's probability, expected the target's: gather(-1, y[..., None]).": (
            lambda logits, y, pad: -logits.log_softmax(-1).amax(-1)[y != pad].mean()
        ),
        "You average over all words of the vocabulary, expected the target's alone: gather(-1, y[..., None]).": (
            lambda logits, y, pad: -logits.log_softmax(-1)[y != pad].mean()
        ),
        "The targets are not to be smoothed here: leave label_smoothing out.": lambda logits, y, pad: F.cross_entropy(
            logits.mT, y, ignore_index=pad, label_smoothing=0.1
        ),
        "You return one loss for each position: take their mean over the real tokens.": lambda logits, y, pad: (
            F.cross_entropy(logits.mT, y, ignore_index=pad, reduction="none")
        ),
    }
)
