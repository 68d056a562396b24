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
    yield draw.normal(3) - 1000, 0  # the largest absolute value is far above all of these


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


def _softmax(x, dim, raw=False, one_max=False, flat_max=False, flat_sum=False, last=False, first=False, one_sum=False):
    dim = -1 if last else 0 if first else dim
    e = (x - (0 if raw else x.max() if one_max else x.amax(dim, keepdim=not flat_max))).exp()
    return e / (e.sum() if one_sum else e.sum(dim, keepdim=not flat_sum))


def _softmax_less(x, dim, less):
    """Softmax that takes another number than the maximum from every entry."""
    e = (x - less).exp()
    return e / e.sum(dim, keepdim=True)


softmax.knobs(
    _softmax,
    raw="It overflows: subtract the maximum before the exponential, which leaves the result unchanged.",
    one_max="You subtract one maximum for all rows: far below it a whole row becomes 0. Each row needs its own.",
    flat_max="keepdim=True is missing in the maximum: without the axis, the subtraction meets the wrong entries.",
    flat_sum="keepdim=True is missing in the sum: without the axis, the division meets the wrong entries.",
    last="You normalise over the last axis, whatever dim says.",
    first="You normalise over the first axis, whatever dim says.",
    one_sum="You divide by the sum of all entries: each row along dim has a sum of its own.",
)
softmax.mistakes(
    {
        "x.max(dim) returns two things, values and indices: take .values, or x.amax(dim).": (
            lambda x, dim: _softmax_less(x, dim, x.max(dim, keepdim=True))
        ),
        "The mean does not keep the exponential from overflowing: subtract the maximum.": (
            lambda x, dim: _softmax_less(x, dim, x.mean(dim, keepdim=True))
        ),
        "The largest absolute value can lie far above all entries: then all exponentials are 0. Take the maximum.": (
            lambda x, dim: _softmax_less(x, dim, x.abs().amax(dim, keepdim=True))
        ),
        "The denominator has not been shifted: use the same exponentials above and below.": (
            lambda x, dim: (x - x.amax(dim, keepdim=True)).exp() / x.exp().sum(dim, keepdim=True)
        ),
        "You divide by the maximum, which changes the result: subtract it.": (
            lambda x, dim: (x / x.amax(dim, keepdim=True)).softmax(dim)
        ),
        "A clamp makes all large entries alike: subtract the maximum, which keeps the differences.": (
            lambda x, dim: x.clamp(max=80).exp() / x.clamp(max=80).exp().sum(dim, keepdim=True)
        ),
        "This is the sigmoid, each number by itself: a softmax shares out 1 among the entries.": (
            lambda x, dim: x.sigmoid()
        ),
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


def _all_axes_turned(k):
    return k.permute(*reversed(range(k.dim())))  # k.T, without the warning that it gives


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
        "k.T turns all axes round, those of a batch too: k.mT exchanges only the last two.": (
            lambda q, k: (q @ _all_axes_turned(k) / math.sqrt(q.size(-1))).softmax(-1)
        ),
        "Axis 1 is the keys for one table only; with a batch it is the queries, with heads the heads. The keys are the "
        "last axis, −1.": lambda q, k: (q @ k.mT / math.sqrt(q.size(-1))).softmax(1),
        "q.shape[1] is d_k for one table only; with a batch it is the number of queries. Take q.size(-1).": (
            lambda q, k: (q @ k.mT / math.sqrt(q.shape[1])).softmax(-1)
        ),
        "Yours fits one axis of batches only: @ and .mT take any number.": (
            lambda q, k: (torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.size(-1))).softmax(-1)
        ),
        "keepdim=True is missing in the sum: without the axis, the division meets the wrong entries.": (
            lambda q, k: (q @ k.mT / math.sqrt(q.size(-1))).exp() / (q @ k.mT / math.sqrt(q.size(-1))).exp().sum(-1)
        ),
        "You multiply by 0.5, expected the power: q.size(-1) ** 0.5.": (
            lambda q, k: (q @ k.mT / q.size(-1) * 0.5).softmax(-1)
        ),
        "You divide by the root of √d_k: divide the scores by √d_k, or both q and k by its root.": (
            lambda q, k: (q @ k.mT / q.size(-1) ** 0.25).softmax(-1)
        ),
        "You compare directions, with cosines: a score is the dot product of q and k as they are.": (
            lambda q, k: (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT / math.sqrt(q.size(-1))).softmax(-1)
        ),
        "You hide the future: this exercise has no mask, every query sees all keys.": (
            lambda q, k: (
                (q @ k.mT / math.sqrt(q.size(-1)) + torch.full((q.size(-2), k.size(-2)), -math.inf).triu(1))
                .to(q.dtype)
                .softmax(-1)
            )
        ),
        "You divide the scores by their sum: the exponential is missing, a weight cannot be negative.": (
            lambda q, k: q @ k.mT / (q @ k.mT).sum(-1, keepdim=True)
        ),
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
        "The factors are exchanged: the weights stand on the left, w @ v.": lambda w, v: v @ w,
        "* multiplies entry by entry: a product of matrices is @.": lambda w, v: w * v,
        "Do not transpose the values: w (…, T, S) @ v (…, S, d_v) sums over S already.": lambda w, v: w @ v.mT,
        "Yours fits one axis of batches only: @ takes any number.": lambda w, v: torch.bmm(w, v),
        "You take the mean over the values: the weights sum to 1 already, so add up.": lambda w, v: w @ v / v.size(-2),
        "A factor too many: 1/√d is for the scores, not for the values.": lambda w, v: w @ v / math.sqrt(v.size(-1)),
        "You sum over the queries: the sum runs over the keys s, and each query keeps its own.": (
            lambda w, v: (w[..., None] * v[..., None, :, :]).sum(-3)
        ),
        "Your loop keeps only its last step: begin with zeros, and add each step to them.": (
            lambda w, v: w[..., -1:] * v[..., -1:, :]
        ),
        "The first value is missing: s counts from 0.": lambda w, v: w[..., 1:] @ v[..., 1:, :],
        "You make the columns of w sum to 1: its rows do, and that is how they are needed.": (
            lambda w, v: w / w.sum(-2, keepdim=True) @ v
        ),
    }
)


def probabilities(draw: Draw) -> Iterator[Arguments]:
    """Probabilities of a few outcomes."""
    yield from ((draw.weights(n),) for n in (2, 3, 5))


@exercise(
    "3.4",
    probabilities,
    hints=[
        "Raise one x_j a little. Which probabilities rise, which fall, and what is the sum of all changes?",
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
        "This is only the diagonal, as a vector: how p_i changes with x_j needs a matrix (n, n).": lambda p: (
            p * (1 - p)
        ),
        "p_i (1 − p_j) holds on the diagonal only: elsewhere it is −p_i · p_j.": lambda p: torch.outer(p, 1 - p),
        "p has been through the softmax already: do not apply another.": (
            lambda p: p.softmax(0).diag() - torch.outer(p.softmax(0), p.softmax(0))
        ),
        "The diagonal lacks its −p_i²: it is p_i (1 − p_i).": (
            lambda p: p.diag() - torch.outer(p, p).fill_diagonal_(0.0)
        ),
        "The diagonal is right, but the other probabilities must fall: off it the sign is minus.": (
            lambda p: torch.outer(p, p).fill_diagonal_(0.0) + (p * (1 - p)).diag()
        ),
        "p_i² is taken from the diagonal twice: torch.outer(p, p) has it already.": (
            lambda p: (p * (1 - p)).diag() - torch.outer(p, p)
        ),
        "The second p is that of the column: p_i (δ_ij − p_j), with p[None, :].": (
            lambda p: p[:, None] * (torch.eye(len(p), dtype=p.dtype) - p[:, None])
        ),
        "The factor p_i is missing: row i is p_i (δ_ij − p_j).": lambda p: torch.eye(len(p), dtype=p.dtype) - p,
        "p @ p is one number: the products p_i · p_j are torch.outer(p, p).": lambda p: p.diag() - p @ p,
    }
)


def spreads(draw: Draw) -> Iterator[Arguments]:
    """Sizes of a head and the spreads of queries and keys, each of them once the larger."""
    yield from ((64, 1.0, 1.0), (16, 2.0, 0.5), (8, 3.0, 1.0), (100, 0.5, 0.25), (4, 0.5, 3.0))


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
        "That is the variance: take the root.": lambda d, q, k: d * q**2 * k**2,
        "√d is right only where both deviations are 1: multiply it by them.": lambda d, q, k: math.sqrt(d),
        "The deviation of the sum grows with √d, not with d.": lambda d, q, k: d * q * k,
        "You return the factor, expected the divisor.": lambda d, q, k: 1 / (math.sqrt(d) * q * k),
        "You return a factor, expected the divisor, with both deviations.": lambda d, q, k: 1 / math.sqrt(d),
        "Only d stands under the root: the variance of a product has both deviations squared.": (
            lambda d, q, k: math.sqrt(d * q * k)
        ),
        "The deviations of independent factors of mean 0 multiply: you add them.": (
            lambda d, q, k: math.sqrt(d) * (q + k)
        ),
        "The variances of independent factors of mean 0 multiply: you add them.": (
            lambda d, q, k: math.sqrt(d * (q**2 + k**2))
        ),
        "You take the mean of the deviations: those of independent factors of mean 0 multiply.": (
            lambda d, q, k: math.sqrt(d) * (q + k) / 2
        ),
        "You take the root of d only: the squared deviations need it, too.": lambda d, q, k: math.sqrt(d) * q**2 * k**2,
        "You divide √d by the deviations: the larger they are, the larger are the scores. Multiply.": (
            lambda d, q, k: math.sqrt(d) / (q * k)
        ),
        "The larger deviation alone is not enough: multiply by both.": lambda d, q, k: math.sqrt(d) * max(q, k),
        "std_k is missing: multiply by both deviations.": lambda d, q, k: math.sqrt(d) * q,
    }
)


def temperatures(draw: Draw) -> Iterator[Arguments]:
    """Logits and temperatures, hot and cold."""
    for shape, temperature in (((3,), 2.0), ((3, 3), 0.5), ((2, 3, 4), 5.0)):
        yield draw.normal(*shape), temperature
    yield torch.tensor([60.0, 59.5, 50.0], dtype=draw.dtype), 0.5  # e^120 overflows in float32


@exercise(
    "3.6",
    temperatures,
    hints=[
        "As T grows, all have to become alike. What has to happen to the differences between logits?",
        "Divide the logits by the temperature, before the softmax, so that the result still sums to 1.",
    ],
)
def with_temperature(logits, temperature):
    """Softmax of logits (…, n) over a temperature: near 0 the best wins, at ∞ all are alike. Logits
    may be large: exp of them can overflow."""
    return (logits / temperature).softmax(-1)


with_temperature.mistakes(
    {
        "The temperature acts the wrong way round: divide the logits by it, or give probabilities the power 1/T.": (
            lambda x, T: (x * T).softmax(-1)
        ),
        "You divide after the softmax: the result no longer sums to 1.": lambda x, T: x.softmax(-1) / T,
        "Two softmaxes: the first has already made the logits small.": lambda x, T: (x.softmax(-1) / T).softmax(-1),
        "The softmax is on the first axis, expected the last.": lambda x, T: (x / T).softmax(0),
        "The temperature has no effect, for it is not used or cancels out: divide the logits by it, before the "
        "exponential.": lambda x, T: x.softmax(-1),
        "It overflows: subtract the maximum before the exponential, or take softmax.": (
            lambda x, T: (x / T).exp() / (x / T).exp().sum(-1, keepdim=True)
        ),
        "Powers of probabilities do not sum to 1: divide them by their sum.": lambda x, T: x.softmax(-1) ** (1 / T),
        "Exponentials alone do not sum to 1: divide them by their sum.": lambda x, T: (x / T).exp(),
        "Only the numerator has the temperature: the sum below it is that of the same exponentials.": (
            lambda x, T: (x / T).exp() / x.exp().sum(-1, keepdim=True)
        ),
        "Below temperature 1 you take only the best: the others keep some probability until T is 0.": (
            lambda x, T: F.one_hot(x.argmax(-1), x.size(-1)).to(x.dtype) if T < 1 else (x / T).softmax(-1)
        ),
        "You sum over all rows: each row has its own sum, over the last axis.": (
            lambda x, T: (x / T).flatten().softmax(0).view_as(x)
        ),
        "You divide by √T, expected T.": lambda x, T: (x / math.sqrt(T)).softmax(-1),
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


def _gap(f, x, perm, invariant=False, opposite=False, signed=False, mean=False, total=False, squared=False):
    y = f(x) if invariant else f(x)[perm.argsort() if opposite else perm]
    gap = f(x[perm]) - y
    gap = gap**2 if squared else gap if signed else gap.abs()
    return (gap.mean() if mean else gap.sum() if total else gap.max()).item()


equivariance_gap.knobs(
    _gap,
    invariant="You compare f(πx) with f(x): that is *in*variance. Permute f(x) too.",
    opposite="An order is undone the wrong way: compare f(x[perm]) with f(x)[perm]; perm is undone by perm.argsort().",
    signed="Differences of both signs count: take the absolute value before the maximum.",
    mean="You take the mean: one wrong entry must count.",
    total="You take the sum: the gap is the largest difference alone.",
    squared="You square the differences: take their absolute value.",
)
equivariance_gap.mistakes(
    {
        "You move row i to place perm[i], on both sides: here row i of πx is row perm[i] of x, x[perm].": (
            lambda f, x, perm: (f(x[perm.argsort()]) - f(x)[perm.argsort()]).abs().max().item()
        ),
        "You permute the features, expected the words: the first axis.": lambda f, x, perm: (
            (f(x[:, perm]) - f(x)[:, perm]).abs().max().item()
        ),
        "A norm adds up all differences: take the largest alone.": lambda f, x, perm: (
            (f(x[perm]) - f(x)[perm]).norm().item()
        ),
        "You answer yes or no, expected how large the gap is.": lambda f, x, perm: torch.allclose(
            f(x[perm]), f(x)[perm]
        ),
        "You return the largest difference of each row, expected one number: the largest of all.": lambda f, x, perm: (
            (f(x[perm]) - f(x)[perm]).abs().max(-1).values
        ),
        "You compare with x itself: compare with what f makes of it, f(x)[perm].": lambda f, x, perm: (
            (f(x[perm]) - x[perm]).abs().max().item()
        ),
        "f never sees the permuted words: one side is f(x[perm]).": lambda f, x, perm: (
            (f(x)[perm] - f(x)).abs().max().item()
        ),
        "Both sides have f(x[perm]): the other one is f(x)[perm].": lambda f, x, perm: (
            (f(x[perm]) - f(x[perm])[perm]).abs().max().item()
        ),
        "You compare the two largest numbers: take the differences first, then the largest of them.": (
            lambda f, x, perm: abs(f(x[perm]).max() - f(x)[perm].max()).item()
        ),
    }
)
