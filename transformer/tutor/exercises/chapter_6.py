"""Exercises of chapter 6, LayerNorm, BatchNorm and residuals."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def vectors(draw: Draw) -> Iterator[Arguments]:
    """Vectors of small and of large variance, one alone, gains, biases, and an ε that counts, or the usual one."""
    for shape, spread, eps in (((3, 4), 1.0, 0.1), ((2, 3, 5), 0.3, 0.1), ((4, 4), 3.0, 1e-5)):
        yield spread * draw.normal(*shape) + 1, 1 + draw.normal(shape[-1]) / 4, draw.normal(shape[-1]), eps
    yield draw.normal(3), 1 + draw.normal(3) / 4, draw.normal(3), 0.1
    yield draw.normal(2, 6) / 100, 1 + draw.normal(6) / 4, draw.normal(6)  # so short that the usual ε counts


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
def my_layer_norm(x, gain, bias, eps=1e-5):
    """Normalise each vector of x (…, D) over its own features, then scale by gain (D,) and shift by bias (D,)."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return gain * (x - mean) / (variance + eps).sqrt() + bias


def _layer_norm(x, gain, bias, eps=1e-5, unbiased=False, outside=False, inverted=False):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=1 if unbiased else 0)
    deviation = variance.sqrt() + eps if outside else (variance + eps).sqrt()
    normal = (x - mean) / deviation
    return bias * normal + gain if inverted else gain * normal + bias


my_layer_norm.knobs(
    _layer_norm,
    unbiased="Your variance divides by d − 1, expected d: use correction=0.",
    outside="ε stands outside the root: add it to the variance.",
    inverted="Gain and bias have changed places: the gain multiplies, the bias is added.",
)
my_layer_norm.mistakes(
    {
        "You normalise over the batch, which is BatchNorm: take mean and variance over the last axis.": (
            lambda x, gain, bias, eps=1e-5: gain * (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt() + bias
        ),
        "You normalise over all numbers at once: each vector has a mean and a variance of its own.": (
            lambda x, gain, bias, eps=1e-5: gain * (x - x.mean()) / (x.var(correction=0) + eps).sqrt() + bias
        ),
        "You divide by the variance, expected its root.": lambda x, gain, bias, eps=1e-5: (
            gain * (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + eps) + bias
        ),
        "The mean is not subtracted: take it away before you divide.": lambda x, gain, bias, eps=1e-5: (
            gain * x / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() + bias
        ),
        "Gain and bias are not used: they let the layer undo the normalisation.": lambda x, gain, bias, eps=1e-5: (
            F.layer_norm(x, x.shape[-1:], eps=eps)
        ),
    }
)


def padded_batches(draw: Draw) -> Iterator[Arguments]:
    """Batches of sentences with padding in them, and which tokens are real."""
    for batch, time, d in ((2, 3, 2), (3, 4, 5), (2, 5, 3)):
        mask = torch.arange(time) < torch.tensor([time, 1, time - 1][:batch])[:, None]
        yield draw.normal(batch, time, d) + 2, mask


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


def _masked_batch_norm(x, mask, padding=False, unbiased=False, kept=False):
    real = x.flatten(0, 1) if padding else x[mask]
    normal = (x - real.mean(0)) / (real.var(0, correction=1 if unbiased else 0) + 1e-5).sqrt()
    return normal if kept else normal * mask[..., None]


masked_batch_norm.knobs(
    _masked_batch_norm,
    padding="Padding is counted in the mean and the variance: take them over x[mask].",
    unbiased="Your variance divides by n − 1, expected n: use correction=0.",
    kept="Padding keeps numbers: set it to 0 at the end.",
)
masked_batch_norm.mistakes(
    {
        "You normalise each token over its features, which is LayerNorm: take the statistics over the tokens.": (
            lambda x, mask: F.layer_norm(x, x.shape[-1:]) * mask[..., None]
        ),
        "Padding is set to 0 first and then counted as zeros: leave it out of the mean and the variance.": (
            lambda x, mask: _masked_batch_norm(x * mask[..., None], torch.ones_like(mask)) * mask[..., None]
        ),
        "All features share one mean and one variance here: each feature has its own.": lambda x, mask: (
            (x - x[mask].mean()) / (x[mask].var(correction=0) + 1e-5).sqrt() * mask[..., None]
        ),
    }
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
        "It is post-norm whatever `pre` says.": lambda x, sublayer, norm, pre: norm(x + sublayer(x)),
        "It is pre-norm whatever `pre` says.": lambda x, sublayer, norm, pre: x + sublayer(norm(x)),
    }
)
