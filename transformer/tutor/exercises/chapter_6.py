"""Exercises of chapter 6, LayerNorm, BatchNorm and residuals."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def vectors(draw: Draw) -> Iterator[Arguments]:
    """Vectors of small and of large variance, gains, biases, and an ε that counts; also with four axes, so that the
    last one is neither the second nor the third."""
    for shape, spread, eps in (
        ((3, 4), 1.0, 0.1),
        ((2, 3, 5), 0.3, 0.1),
        ((4, 4), 3.0, 1e-5),
        ((2, 3, 3, 4), 1.0, 0.1),
    ):
        yield spread * draw.normal(*shape) + 1, 1 + draw.normal(shape[-1]) / 4, draw.normal(shape[-1]), eps


@exercise(
    "6.1",
    vectors,
    hints=[
        "Mean and variance are taken over the last axis, with keepdim=True, so that they broadcast.",
        "x.var(-1, keepdim=True, correction=0) divides by d; ε is added to the variance, inside the root.",
    ],
    given="""
        mean = ...
        variance = ...
        return ...
    """,
)
def my_layer_norm(x, gain, bias, eps):
    """Normalise each vector of x (…, D) over its own features, then scale by gain (D,) and shift by bias (D,)."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return gain * (x - mean) / (variance + eps).sqrt() + bias


def _layer_norm(x, gain, bias, eps, unbiased=False, outside=False, root=False, unused=False, plain=False, late=False):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=1 if unbiased else 0)
    eps = 0 if unused else eps
    deviation = variance.sqrt() + eps if outside else (variance + eps).sqrt()
    normal = (x - mean) / (variance + eps if root else deviation)
    return normal if plain else gain * (normal + bias) if late else gain * normal + bias


my_layer_norm.knobs(
    _layer_norm,
    unbiased="Your variance divides by d − 1, expected d: use correction=0.",
    outside="ε stands outside the root: add it to the variance.",
    root="You divide by the variance, expected its root.",
    unused="`eps` is not used: add it to the variance, inside the root.",
    plain="Gain and bias are not used: they let the layer undo the normalisation.",
    late="The gain multiplies the bias too: first gain · normalised, then + bias.",
)
my_layer_norm.mistakes(
    {
        "You normalise over the batch, which is BatchNorm: take mean and variance over the last axis.": (
            lambda x, gain, bias, eps: gain * (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt() + bias
        ),
        "You normalise over all numbers at once: each vector has a mean and a variance of its own.": (
            lambda x, gain, bias, eps: gain * (x - x.mean()) / (x.var(correction=0) + eps).sqrt() + bias
        ),
        "Gain and bias have changed places: the gain multiplies, the bias is added.": lambda x, gain, bias, eps: (
            F.layer_norm(x, x.shape[-1:], bias, gain, eps)
        ),
        "The mean is not subtracted: take it away before you divide.": lambda x, gain, bias, eps: (
            gain * x / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() + bias
        ),
        "This is RMSNorm, which leaves the mean in: take it away from x, and from x in the variance.": (
            lambda x, gain, bias, eps: gain * x / ((x**2).mean(-1, keepdim=True) + eps).sqrt() + bias
        ),
        "Your variance is the mean of x², expected that of (x − mean)².": lambda x, gain, bias, eps: (
            gain * (x - x.mean(-1, keepdim=True)) / ((x**2).mean(-1, keepdim=True) + eps).sqrt() + bias
        ),
        "You add ε to the standard deviation and take another root: ε belongs to the variance, x.var(…).": (
            lambda x, gain, bias, eps: (
                gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + eps).sqrt() + bias
            )
        ),
        "You take the mean of |x − mean|, expected that of (x − mean)².": lambda x, gain, bias, eps: (
            gain
            * (x - x.mean(-1, keepdim=True))
            / ((x - x.mean(-1, keepdim=True)).abs().mean(-1, keepdim=True) + eps).sqrt()
            + bias
        ),
        "ε is 1e-5 whatever `eps` says (the default of F.layer_norm): use `eps`.": lambda x, gain, bias, eps: (
            F.layer_norm(x, x.shape[-1:], gain, bias)
        ),
        "You take axis 1: the features are the last axis, −1, however many stand before it.": (
            lambda x, gain, bias, eps: (
                gain * (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + eps).sqrt() + bias
            )
        ),
        "You take axis 2: the features are the last axis, −1, however many stand before it.": (
            lambda x, gain, bias, eps: (
                gain * (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True, correction=0) + eps).sqrt() + bias
            )
        ),
        "ε is added twice: once, to the variance.": lambda x, gain, bias, eps: my_layer_norm.reference(
            x, gain, bias, 2 * eps
        ),
        "Your gain is 1 + gain: here it is a factor as it stands, and begins at 1 in training.": (
            lambda x, gain, bias, eps: my_layer_norm.reference(x, 1 + gain, bias, eps)
        ),
        "Only the mean is divided, not x − mean: set brackets, (x − mean) / ….": lambda x, gain, bias, eps: (
            gain * x - x.mean(-1, keepdim=True) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() + bias
        ),
        "The mean lost its axis: with keepdim=True it keeps one of length 1, and each vector meets its own mean.": (
            lambda x, gain, bias, eps: gain * (x - x.mean(-1)) / (x.var(-1, correction=0) + eps).sqrt() + bias
        ),
    }
)
my_layer_norm.also_right(
    lambda x, gain, bias, eps: F.layer_norm(x, x.shape[-1:], gain, bias, eps),
    lambda x, gain, bias, eps: torch.addcmul(
        bias, gain, (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
    ),
)


def padded_batches(draw: Draw) -> Iterator[Arguments]:
    """Batches of sentences with padding in them, and which tokens are real; in the last ε is as large as the
    variance, so that it counts."""
    for batch, time, d, spread in ((2, 3, 2, 1.0), (3, 4, 5, 1.0), (2, 5, 3, 0.003)):
        mask = torch.arange(time) < torch.tensor([time, 1, time - 1][:batch])[:, None]
        yield spread * draw.normal(batch, time, d) + 2 * spread, mask


@exercise(
    "6.2",
    padded_batches,
    hints=[
        "x[mask] is (n, D), the real tokens of all sentences: mean and biased variance are taken over its first axis.",
        "Normalise all of x with these, and set the padding to 0 at the end: multiply by mask[..., None].",
    ],
)
def masked_batch_norm(x, mask):
    """Normalise each feature of x (B, T, D) over the real tokens, True in mask (B, T), with ε = 1e-5; padding is 0."""
    real = x[mask]  # (n, D)
    normal = (x - real.mean(0)) / (real.var(0, correction=0) + 1e-5).sqrt()
    return normal * mask[..., None]


def _masked_batch_norm(
    x, mask,
    padding=False, unbiased=False, kept=False, sentence=False, place=False, root=False, outside=False, epsilon=1e-5,
):  # fmt: skip
    counted = (torch.ones_like(mask) if padding else mask)[..., None]
    axes = 1 if sentence else 0 if place else (0, 1)
    n = counted.sum(axes, keepdim=True)
    mean = (x * counted).sum(axes, keepdim=True) / n
    variance = ((x - mean) ** 2 * counted).sum(axes, keepdim=True) / (n - 1 if unbiased else n)
    deviation = variance.sqrt() + epsilon if outside else (variance + epsilon).sqrt()
    normal = (x - mean) / (variance + epsilon if root else deviation)
    return normal if kept else normal * mask[..., None]


def _padding_in_the_variance(x, mask, zero=False, own_mean=False):
    mean = x[mask].mean(0)
    centred = (x * mask[..., None] if zero else x) - (x.mean((0, 1)) if own_mean else mean)
    variance = (centred**2).sum((0, 1)) / (mask.numel() if own_mean else mask.sum())
    return (x - mean) / (variance + 1e-5).sqrt() * mask[..., None]


def _divided_by_all_tokens(x, mask):
    real = mask[..., None]
    mean = (x * real).sum((0, 1)) / mask.numel()
    variance = ((x - mean) ** 2 * real).sum((0, 1)) / mask.numel()
    return (x - mean) / (variance + 1e-5).sqrt() * real


masked_batch_norm.knobs(
    _masked_batch_norm,
    padding="Padding is counted in the mean and the variance: take them over x[mask].",
    unbiased="Your variance divides by n − 1, expected n: use correction=0.",
    kept="Padding keeps numbers: set it to 0 at the end.",
    sentence="Each sentence has a mean and a variance of its own here: take them over the tokens of all sentences.",
    place="Each place in the sentence has a mean and a variance of its own here: take them over all real tokens.",
    root="You divide by the variance, expected its root.",
    outside="ε stands outside the root: add it to the variance.",
)  # fmt: skip
masked_batch_norm.mistakes(
    {
        "You normalise each token over its features, which is LayerNorm: take the statistics over the tokens.": (
            lambda x, mask: F.layer_norm(x, x.shape[-1:]) * mask[..., None]
        ),
        "Padding is set to 0 first and then counted as zeros: leave it out of the mean and the variance.": (
            lambda x, mask: _masked_batch_norm(x * mask[..., None], torch.ones_like(mask)) * mask[..., None]
        ),
        "The mean is right, but padding is counted in the variance: take both over x[mask].": lambda x, mask: (
            _padding_in_the_variance(x, mask, own_mean=True)
        ),
        "The sum of squares counts padding, its divisor does not: take the variance over x[mask].": (
            _padding_in_the_variance
        ),
        "Padding is 0 in x, but no longer in x − mean, so it counts in the variance: mask x − mean.": lambda x, mask: (
            _padding_in_the_variance(x, mask, zero=True)
        ),
        "You divide by the number of all tokens, expected that of the real ones, mask.sum().": _divided_by_all_tokens,
        "The mask is inverted: True means real, and you normalise the padding.": lambda x, mask: (
            masked_batch_norm.reference(x, ~mask)
        ),
        "The padding still has the numbers of x: set it to 0.": lambda x, mask: torch.where(
            mask[..., None], masked_batch_norm.reference(x, mask), x
        ),
        "You return the real tokens alone: put them back into a tensor like x, with 0 for padding.": lambda x, mask: (
            masked_batch_norm.reference(x, mask)[mask]
        ),
        "Your ε is 1e-6, expected 1e-5.": lambda x, mask: _masked_batch_norm(x, mask, epsilon=1e-6),
        "There is no ε: add 1e-5 to the variance, inside the root.": lambda x, mask: _masked_batch_norm(
            x, mask, epsilon=0
        ),
        "The mask lacks the axis of the features: mask[..., None] is (B, T, 1).": lambda x, mask: (
            (x - x[mask].mean(0)) / (x[mask].var(0, correction=0) + 1e-5).sqrt() * mask
        ),
        "All features share one mean and one variance here: each feature has its own.": lambda x, mask: (
            (x - x[mask].mean()) / (x[mask].var(correction=0) + 1e-5).sqrt() * mask[..., None]
        ),
    }
)
masked_batch_norm.also_right(
    lambda x, mask: torch.zeros_like(x).index_put((mask,), F.batch_norm(x[mask], None, None, training=True, eps=1e-5)),
    lambda x, mask: ((x - x[mask].mean(0)) / (x[mask].var(0, correction=0) + 1e-5).sqrt()).masked_fill(
        ~mask[..., None], 0
    ),
)


def _double(x):
    return 2 * x


def _square(x):
    return x**2


def _scaled(x):
    return x / x.norm(dim=-1, keepdim=True)


def _centred(x):
    return x - x.mean(-1, keepdim=True)


def sublayers_and_norms(draw: Draw) -> Iterator[Arguments]:
    """Vectors, sub-layers, norms, and on which side of the sub-layer the norm stands."""
    for shape, sublayer, norm in (
        ((2, 3), _square, _scaled),
        ((2, 3, 4), _double, _centred),
        ((3, 3), _square, _centred),
    ):
        for pre in (True, False):
            yield draw.normal(*shape), sublayer, norm, pre


@exercise(
    "6.3",
    sublayers_and_norms,
    hints=[
        "Post-norm, the paper's: norm(x + sublayer(x)).",
        "Pre-norm: x + sublayer(norm(x)). The x that is added has met no norm: nothing divides the residual stream.",
    ],
)
def residual(x, sublayer, norm, pre):
    """A residual connection around a sub-layer, with the norm before it where `pre` is True, else behind the sum, as in
    the paper. The shape of x."""
    return x + sublayer(norm(x)) if pre else norm(x + sublayer(x))


residual.mistakes(
    {
        "Pre-norm and post-norm have changed places.": lambda x, sublayer, norm, pre: (
            norm(x + sublayer(x)) if pre else x + sublayer(norm(x))
        ),
        "In pre-norm you add norm(x), expected x itself: nothing divides the stream.": lambda x, sublayer, norm, pre: (
            norm(x) + sublayer(norm(x)) if pre else norm(x + sublayer(x))
        ),
        "In post-norm the norm must come after the sum: norm(x + sublayer(x)).": lambda x, sublayer, norm, pre: (
            x + sublayer(norm(x)) if pre else x + norm(sublayer(x))
        ),
        "The residual is missing: add x.": lambda x, sublayer, norm, pre: (
            sublayer(norm(x)) if pre else norm(sublayer(x))
        ),
        "In pre-norm the norm is missing: x + sublayer(norm(x)).": lambda x, sublayer, norm, pre: (
            x + sublayer(x) if pre else norm(x + sublayer(x))
        ),
        "In post-norm the norm is missing: norm(x + sublayer(x)).": lambda x, sublayer, norm, pre: (
            x + sublayer(norm(x)) if pre else x + sublayer(x)
        ),
        "There is no norm at all: before the sub-layer in pre-norm, after the sum in post-norm.": (
            lambda x, sublayer, norm, pre: x + sublayer(x)
        ),
        "In pre-norm you norm the sum as well: the norm stands before the sub-layer only.": (
            lambda x, sublayer, norm, pre: norm(x + sublayer(norm(x))) if pre else norm(x + sublayer(x))
        ),
        "In pre-norm you norm the sub-layer's result as well: only what goes into it meets the norm.": (
            lambda x, sublayer, norm, pre: x + norm(sublayer(norm(x))) if pre else norm(x + sublayer(x))
        ),
        "In pre-norm the norm comes before the sub-layer, not after it: x + sublayer(norm(x)).": (
            lambda x, sublayer, norm, pre: x + norm(sublayer(x)) if pre else norm(x + sublayer(x))
        ),
        "In post-norm you norm x and then add: the norm comes last, norm(x + sublayer(x)).": (
            lambda x, sublayer, norm, pre: x + sublayer(norm(x)) if pre else norm(x) + sublayer(x)
        ),
        "In post-norm nothing meets a norm before the sum: sublayer(x), not sublayer(norm(x)).": (
            lambda x, sublayer, norm, pre: x + sublayer(norm(x)) if pre else norm(x + sublayer(norm(x)))
        ),
        "Both ways are mixed up, and the residual has met a norm: post-norm is norm(x + sublayer(x)), pre-norm "
        "x + sublayer(norm(x)).": lambda x, sublayer, norm, pre: (
            norm(x + sublayer(x)) if pre else norm(x) + sublayer(norm(x))
        ),
        "In post-norm you subtract x from the sub-layer's result: a residual is added.": (
            lambda x, sublayer, norm, pre: x + sublayer(norm(x)) if pre else norm(sublayer(x) - x)
        ),
        "In post-norm the sub-layer is applied twice: x must still be what came in when you add it.": (
            lambda x, sublayer, norm, pre: x + sublayer(norm(x)) if pre else norm(sublayer(x) + sublayer(sublayer(x)))
        ),
        "It is post-norm whatever `pre` says.": lambda x, sublayer, norm, pre: norm(x + sublayer(x)),
        "It is pre-norm whatever `pre` says.": lambda x, sublayer, norm, pre: x + sublayer(norm(x)),
    }
)


def _residual_in_steps(x, sublayer, norm, pre):
    if pre:
        return sublayer(norm(x)).add(x)
    return norm(sublayer(x).add(x))


residual.also_right(_residual_in_steps)
