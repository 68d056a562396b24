"""Exercises of chapter 3, scaled dot-product attention."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def logits(draw: Draw) -> Iterator[Arguments]:
    """Numbers and an axis; square ones, and rows and entries so far apart that only each row's maximum saves them."""
    yield draw.normal(3), 0
    yield draw.normal(3, 3), -1
    yield draw.normal(2, 3, 4), 1
    yield draw.normal(4, 4), 0
    yield draw.normal(2, 3) + torch.tensor([[0.0], [2000.0]], dtype=draw.dtype), -1
    yield draw.normal(2, 3) + torch.tensor([0.0, 1000.0, 500.0], dtype=draw.dtype), -1


@exercise(
    "3.1",
    logits,
    hints=[
        "e¹⁰⁰⁰ overflows. Softmax does not change when the same number is taken from every entry: which number helps?",
        "x.amax(dim, keepdim=True) keeps the axis, so that the result broadcasts against x.",
    ],
)
def softmax(x, dim):
    """Softmax of x along the axis dim, by hand and without overflow: the shape of x."""
    e = (x - x.amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


softmax.mistakes(
    {
        "It overflows: subtract the maximum before the exponential, which leaves the result unchanged.": (
            lambda x, dim: x.exp() / x.exp().sum(dim, keepdim=True)
        ),
        "keepdim=True is missing in the sum: without the axis, the division meets the wrong entries.": (
            lambda x, dim: (x - x.amax(dim, keepdim=True)).exp() / (x - x.amax(dim, keepdim=True)).exp().sum(dim)
        ),
        "You subtract one maximum for all rows: far below it a whole row becomes 0. Each row needs its own.": (
            lambda x, dim: (x - x.max()).exp() / (x - x.max()).exp().sum(dim, keepdim=True)
        ),
        "You normalise over the last axis, whatever dim says.": lambda x, dim: x.softmax(-1),
        "You normalise over all axes at once, expected only dim.": lambda x, dim: x.flatten().softmax(0).view_as(x),
        "The exponential is missing: numbers divided by their sum can be negative.": (
            lambda x, dim: x / x.sum(dim, keepdim=True)
        ),
        "This is the logarithm of the softmax: leave the logarithm out.": lambda x, dim: x.log_softmax(dim),
    }
)


def queries_and_keys(draw: Draw) -> Iterator[Arguments]:
    """Queries and keys, as many of both and not, with and without a batch."""
    yield draw.normal(2, 4), draw.normal(3, 4)
    yield draw.normal(3, 5), draw.normal(3, 5)
    yield draw.normal(2, 4, 3), draw.normal(2, 6, 3)
    yield draw.normal(2, 2, 3, 8), draw.normal(2, 2, 3, 8)


@exercise(
    "3.2",
    queries_and_keys,
    hints=[
        "The scores are all dot products of a query with a key: q @ k.mT, (…, T, S).",
        "Divide by √d_k, where d_k = q.size(-1); then each *query* shares out 1 among the keys: which axis is that?",
    ],
    given="""
        scores = ...  # (…, T, S), scaled
        return ...
    """,
)
def my_attention_weights(q, k):
    """softmax(QKᵀ/√d_k) for queries (…, T, K) and keys (…, S, K), none of them masked: (…, T, S), row t says where
    query t looks."""
    scores = q @ k.mT / math.sqrt(q.size(-1))
    return scores.softmax(-1)


def _weights(q, k, axis=False, unscaled=False, whole=False, multiplied=False, length=False):
    size = k.size(-2) if length else q.size(-1)
    factor = 1 if unscaled else size if whole else math.sqrt(size)
    scores = q @ k.mT
    return (scores * factor if multiplied else scores / factor).softmax(-2 if axis else -1)


my_attention_weights.knobs(
    _weights,
    axis="Your weights sum to 1 over the queries: the softmax is on the wrong axis.",
    unscaled="The scores are not scaled: divide by √d_k before the softmax.",
    whole="You divide by d_k, expected √d_k.",
    multiplied="You multiply by the scale, expected a division.",
    length="You scale by the number of keys, expected d_k, the size of a key.",
)
my_attention_weights.mistakes(
    {
        "Rows and columns are exchanged: rows are queries, columns are keys.": (
            lambda q, k: (k @ q.mT / math.sqrt(q.size(-1))).softmax(-1)
        ),
        "These are the scores: the softmax is missing.": lambda q, k: q @ k.mT / math.sqrt(q.size(-1)),
        "You scale after the softmax, so rows no longer sum to 1: scale the scores.": (
            lambda q, k: (q @ k.mT).softmax(-1) / math.sqrt(q.size(-1))
        ),
    }
)


def weights_and_values(draw: Draw) -> Iterator[Arguments]:
    """Weights and values, with square weights among them."""
    yield draw.weights(3, 3), draw.normal(3, 2)
    yield draw.weights(2, 3), draw.normal(3, 4)
    yield draw.weights(2, 4, 4), draw.normal(2, 4, 3)


@exercise(
    "3.3",
    weights_and_values,
    hints=["Row t of the result is the sum over s of w[t, s] · v[s].", "That is a product of matrices."],
)
def mix_values(w, v):
    """Mix the values v (…, S, d_v) with the weights w (…, T, S) of each query: (…, T, d_v)."""
    return w @ v


mix_values.mistakes(
    {
        "You mix with the transposed weights: that is who attends to me, not to whom I attend.": lambda w, v: w.mT @ v,
        "Only the value with the largest weight is taken: attention mixes all of them.": (
            lambda w, v: F.one_hot(w.argmax(-1), w.size(-1)).to(v) @ v
        ),
        "Every value has the same weight here: use w.": lambda w, v: torch.ones_like(w) / w.size(-1) @ v,
        "w has been through a softmax already: do not apply another.": lambda w, v: w.softmax(-1) @ v,
    }
)


def probabilities(draw: Draw) -> Iterator[Arguments]:
    """Probabilities of a few outcomes."""
    yield from ((draw.weights(n),) for n in (2, 3, 5))


@exercise(
    "3.4",
    probabilities,
    hints=[
        "∂p_i/∂x_j = p_i (δ_ij − p_j), where δ_ij is 1 for i = j and else 0.",
        "torch.outer(p, p) is the p_i · p_j.",
    ],
)
def softmax_jacobian(p):
    """The matrix (n, n) of ∂p_i/∂x_j for p = softmax(x), computed from p (n,) alone."""
    return p.diag() - torch.outer(p, p)


softmax_jacobian.mistakes(
    {
        "Only the diagonal is filled: where one probability rises, the others fall.": lambda p: (p * (1 - p)).diag(),
        "The other probabilities must fall: off the diagonal the sign is minus.": lambda p: (
            p.diag() + torch.outer(p, p)
        ),
        "The products p_i · p_j are missing: rows must sum to 0.": lambda p: p.diag(),
        "The diagonal lacks its p_i: it is p_i (1 − p_i).": lambda p: -torch.outer(p, p),
    }
)


def spreads(draw: Draw) -> Iterator[Arguments]:
    """Sizes of a head and the spreads of queries and keys."""
    yield from ((64, 1.0, 1.0), (16, 2.0, 0.5), (8, 3.0, 1.0), (100, 0.5, 0.25))


@exercise(
    "3.5",
    spreads,
    hints=["A dot product is a sum of d products; variances of independent terms add up.", "A deviation is √variance."],
)
def score_scale(d, std_q, std_k):
    """What to divide q · k by for unit variance, where their d entries are independent, of mean 0, with these std."""
    return math.sqrt(d) * std_q * std_k


score_scale.mistakes(
    {
        "That is the variance: take the root.": lambda d, std_q, std_k: d * std_q**2 * std_k**2,
        "√d is right only where both deviations are 1: multiply it by them.": lambda d, std_q, std_k: math.sqrt(d),
        "The deviation of the sum grows with √d, not with d.": lambda d, std_q, std_k: d * std_q * std_k,
        "You return the factor, expected the divisor.": lambda d, std_q, std_k: 1 / (math.sqrt(d) * std_q * std_k),
    }
)


def temperatures(draw: Draw) -> Iterator[Arguments]:
    """Logits and temperatures, hot and cold."""
    for shape, temperature in (((3,), 2.0), ((3, 3), 0.5), ((2, 3, 4), 5.0)):
        yield draw.normal(*shape), temperature


@exercise(
    "3.6", temperatures, hints=["Divide by the temperature.", "Before the softmax, so that the result still sums to 1."]
)
def with_temperature(logits, temperature):
    """Probabilities of logits (…, n) at a temperature: near 0 the best wins, at ∞ all are alike."""
    return (logits / temperature).softmax(-1)


with_temperature.mistakes(
    {
        "You multiply: heat must make the probabilities more alike, so divide.": lambda x, T: (x * T).softmax(-1),
        "You divide after the softmax: the result no longer sums to 1.": lambda x, T: x.softmax(-1) / T,
        "Two softmaxes: the first has already made the logits small.": lambda x, T: (x.softmax(-1) / T).softmax(-1),
        "The softmax is on the first axis, expected the last.": lambda x, T: (x / T).softmax(0),
        "The temperature is not used: divide the logits by it.": lambda x, T: x.softmax(-1),
    }
)


def _self_attention(x):
    return (x @ x.mT).softmax(-1) @ x


def _running_sum(x):
    return x.cumsum(0)


def _running_features(x):
    return x.cumsum(-1)


def orders(draw: Draw) -> Iterator[Arguments]:
    """Functions that are equivariant and one that is not, with orders that are not their own inverse."""
    for n, perm in ((3, [1, 2, 0]), (5, [3, 0, 4, 2, 1])):
        for function in (_self_attention, _running_sum, _running_features):
            yield function, draw.normal(n, n), torch.tensor(perm)


@exercise(
    "3.7",
    orders,
    hints=["f is equivariant if f(x[perm]) equals f(x)[perm].", "The gap is the largest absolute difference."],
)
def equivariance_gap(f, x, perm):
    """How far f is from permutation equivariance: the largest |f(πx) − π f(x)| as a number, for x (n, d)."""
    return (f(x[perm]) - f(x)[perm]).abs().max().item()


equivariance_gap.mistakes(
    {
        "You compare f(πx) with f(x): that is *in*variance. Permute f(x) too.": lambda f, x, perm: (
            (f(x[perm]) - f(x)).abs().max().item()
        ),
        "You permute the outputs the opposite way: use the same order for x and for f(x).": lambda f, x, perm: (
            (f(x[perm]) - f(x)[perm.argsort()]).abs().max().item()
        ),
        "Differences of both signs count: take the absolute value before the maximum.": lambda f, x, perm: (
            (f(x[perm]) - f(x)[perm]).max().item()
        ),
        "You take the mean: one wrong entry must count.": lambda f, x, perm: (
            (f(x[perm]) - f(x)[perm]).abs().mean().item()
        ),
        "You permute the features, expected the words: the first axis.": lambda f, x, perm: (
            (f(x[:, perm]) - f(x)[:, perm]).abs().max().item()
        ),
    }
)
