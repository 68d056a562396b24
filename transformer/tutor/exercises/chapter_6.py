"""Exercises of chapter 6, LayerNorm, BatchNorm and residuals."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def vectors(draw: Draw) -> Iterator[Arguments]:
    """Vectors of small and of large variance, one alone, and with four axes, so that the last one is neither the second
    nor the third; gains, biases, and an ε that counts, or the usual one."""
    for shape, spread, eps in (
        ((3, 4), 1.0, 0.1),
        ((2, 3, 5), 0.3, 0.1),
        ((4, 4), 3.0, 1e-5),
        ((2, 3, 3, 4), 1.0, 0.1),
    ):
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
    """Normalise each vector of x (…, D) over its own features, then scale by gain (D,) and shift by bias (D,). The
    variance is divided by D, and eps stands under the root."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return gain * (x - mean) / (variance + eps).sqrt() + bias


def _layer_norm(
    x, gain, bias, eps=1e-5, unbiased=False, outside=False, root=False, unused=False, plain=False, late=False
):
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
            lambda x, gain, bias, eps=1e-5: gain * (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt() + bias
        ),
        "You normalise over all numbers at once: each vector has a mean and a variance of its own.": (
            lambda x, gain, bias, eps=1e-5: gain * (x - x.mean()) / (x.var(correction=0) + eps).sqrt() + bias
        ),
        "Gain and bias have changed places: the gain multiplies, the bias is added.": lambda x, gain, bias, eps=1e-5: (
            F.layer_norm(x, x.shape[-1:], bias, gain, eps)
        ),
        "The mean is not subtracted: take it away before you divide.": lambda x, gain, bias, eps=1e-5: (
            gain * x / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() + bias
        ),
        "This is RMSNorm, which leaves the mean in: take it away from x, and from x in the variance.": (
            lambda x, gain, bias, eps=1e-5: gain * x / ((x**2).mean(-1, keepdim=True) + eps).sqrt() + bias
        ),
        "Your variance is the mean of x², expected that of (x − mean)².": lambda x, gain, bias, eps=1e-5: (
            gain * (x - x.mean(-1, keepdim=True)) / ((x**2).mean(-1, keepdim=True) + eps).sqrt() + bias
        ),
        "You add ε to the standard deviation and take another root: ε belongs to the variance, x.var(…).": (
            lambda x, gain, bias, eps=1e-5: (
                gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + eps).sqrt() + bias
            )
        ),
        "You take the mean of |x − mean|, expected that of (x − mean)².": lambda x, gain, bias, eps=1e-5: (
            gain
            * (x - x.mean(-1, keepdim=True))
            / ((x - x.mean(-1, keepdim=True)).abs().mean(-1, keepdim=True) + eps).sqrt()
            + bias
        ),
        "ε is 1e-5 whatever `eps` says (the default of F.layer_norm): use `eps`.": lambda x, gain, bias, eps=1e-5: (
            F.layer_norm(x, x.shape[-1:], gain, bias)
        ),
        "You take axis 1: the features are the last axis, −1, however many stand before it.": (
            lambda x, gain, bias, eps=1e-5: (
                gain * (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + eps).sqrt() + bias
            )
        ),
        "You take axis 2: the features are the last axis, −1, however many stand before it.": (
            lambda x, gain, bias, eps=1e-5: (
                gain * (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True, correction=0) + eps).sqrt() + bias
            )
        ),
        "ε is added twice: once, to the variance.": lambda x, gain, bias, eps=1e-5: my_layer_norm.reference(
            x, gain, bias, 2 * eps
        ),
        "Your gain is 1 + gain: here it is a factor as it stands, and begins at 1 in training.": (
            lambda x, gain, bias, eps=1e-5: my_layer_norm.reference(x, 1 + gain, bias, eps)
        ),
        "Only the mean is divided, not x − mean: set brackets, (x − mean) / ….": lambda x, gain, bias, eps=1e-5: (
            gain * x - x.mean(-1, keepdim=True) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() + bias
        ),
        "The mean lost its axis: with keepdim=True it keeps one of length 1, and each vector meets its own mean.": (
            lambda x, gain, bias, eps=1e-5: gain * (x - x.mean(-1)) / (x.var(-1, correction=0) + eps).sqrt() + bias
        ),
    }
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
    """Normalise each feature of x (B, T, D) over the real tokens, True in mask (B, T); padding is 0. The variance is
    divided by the number of real tokens, and ε = 1e-5 stands under the root."""
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
        "Draw the straight road from x to the result: in which order does a norm stand on it?",
        "Post-norm, the paper's: norm(x + sublayer(x)). Pre-norm: x + sublayer(norm(x)). The x that is added there has "
        "met no norm: nothing divides the residual stream.",
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
        "You norm the sub-layer's result, whatever `pre` says: in pre-norm the norm comes before the sub-layer, in "
        "post-norm after the sum.": lambda x, sublayer, norm, pre: x + norm(sublayer(x)),
        "You norm the sub-layer's result in both orders: in pre-norm only what goes into it meets the norm, in "
        "post-norm only the sum.": lambda x, sublayer, norm, pre: (
            x + norm(sublayer(x)) if pre else norm(x + norm(sublayer(x)))
        ),
        "In post-norm you norm the sub-layer's result as well: only the sum meets the norm.": (
            lambda x, sublayer, norm, pre: x + sublayer(norm(x)) if pre else norm(x + norm(sublayer(x)))
        ),
        "It is post-norm whatever `pre` says.": lambda x, sublayer, norm, pre: norm(x + sublayer(x)),
        "It is pre-norm whatever `pre` says.": lambda x, sublayer, norm, pre: x + sublayer(norm(x)),
    }
)


def _learned(x):
    """A norm with a gain: taken twice, it does more than once."""
    return 1.5 * _centred(x)


def stacks(draw: Draw) -> Iterator[Arguments]:
    """Vectors, sub-layers in their order, norms, and on which side of the sub-layers the norm stands."""
    for shape, sublayers, norm in (
        ((2, 3), [_square, _double], _scaled),
        ((2, 3, 4), [_centred, _square, _double], _scaled),
        ((3, 3), [_double, _square], _learned),
        ((1, 4), [_square], _learned),
    ):
        for pre in (True, False):
            yield draw.normal(*shape), sublayers, norm, pre


@exercise(
    "6.4",
    stacks,
    hints=[
        "Each sub-layer is wrapped as in 6.3 (who has solved it may call residual), and the next one gets what comes "
        "out.",
        "Post-norm ends with a norm. In pre-norm no norm has touched the stream: who reads it last needs one more.",
    ],
)
def residual_stack(x, sublayers, norm, pre):
    """A stack of sub-layers, a list of functions, around each of which there is a residual connection: pre-norm where
    `pre` is True, with the one norm more at its end, else post-norm, as in the paper. The shape of x."""
    for sublayer in sublayers:
        x = x + sublayer(norm(x)) if pre else norm(x + sublayer(x))
    return norm(x) if pre else x


def _stack(x, sublayers, norm, pre, bare=False, start=False, path=False, exchanged=False, late=False):
    begin, pre = x, pre != exchanged
    for sublayer in sublayers:
        if pre:
            x = norm(x) if path else x
            x = (begin if start else x) + sublayer(x if path else norm(x))
        else:
            x = (begin if start else x) + sublayer(x)
            x = x if late else norm(x)
    return norm(x) if (pre and not bare) or (late and not pre) else x


def _replaced(x, sublayers, norm, pre):
    for sublayer in sublayers:
        x = sublayer(norm(x)) if pre else norm(sublayer(x))
    return norm(x) if pre else x


residual_stack.knobs(
    _stack,
    bare="The last norm of the pre-norm stack is missing: nothing has divided the stream, and it has grown.",
    start="Each residual starts from the stack's input, expected from what the sub-layer before left.",
    path="In pre-norm you normalise the stream itself: only what the sub-layer reads meets the norm.",
    exchanged="Pre-norm and post-norm have changed places.",
    late="In post-norm there is one norm at the end, expected one after each sum.",
)
residual_stack.mistakes(
    {
        "The residuals are missing: what a sub-layer gives is added to x, and does not replace it.": (_replaced),
        "You end with norm(x) in both orders: post-norm has a norm behind its last sum, so only pre-norm needs one "
        "more.": lambda x, sublayers, norm, pre: norm(_stack(x, sublayers, norm, pre, bare=True)),
        "Your return stands inside the loop: only the first sub-layer is applied.": lambda x, sublayers, norm, pre: (
            residual_stack.reference(x, sublayers[:1], norm, pre)
        ),
        "Your return stands inside the loop, and the last norm of the pre-norm stack is missing.": (
            lambda x, sublayers, norm, pre: _stack(x, sublayers[:1], norm, pre, bare=True)
        ),
        "Each sub-layer reads the stack's input, and only the last one counts.": lambda x, sublayers, norm, pre: (
            residual_stack.reference(x, sublayers[-1:], norm, pre)
        ),
    }
)


def words_of_sentences(draw: Draw) -> Iterator[Arguments]:
    """Words of sentences, more and less alike, with and without a batch; as many words as features, too."""
    for shape, apart in (((2, 3), 1.0), ((3, 3), 0.3), ((2, 4, 6), 0.1), ((2, 2, 5, 4), 2.0)):
        yield (apart * draw.normal(*shape) + draw.normal(*shape[:-2], 1, shape[-1]),)


@exercise(
    "6.5",
    words_of_sentences,
    hints=[
        "What all words share is their mean, over the axis of the words; what is left of each word is its own.",
        "rms is the root of the mean of the squares, here over words and features: .square().mean((-2, -1)).sqrt().",
    ],
)
def word_difference(x):
    """How far the words of x (…, T, D) differ, (…), as the lesson measures it: the rms of what is left when the mean
    of all words is taken from each, divided by the rms of x. 0 if all words are one vector, 1 if their mean is 0."""
    own = x - x.mean(-2, keepdim=True)
    return own.square().mean((-2, -1)).sqrt() / x.square().mean((-2, -1)).sqrt()


def _rms(x):
    return x.square().mean((-2, -1)).sqrt()


def _difference(x, features=False, squared=False, undivided=False, words=False, shared=False):
    mean = x.mean(-1 if features else -2, keepdim=True)
    own, axes = mean.expand_as(x) if shared else x - mean, (-1,) if words else (-2, -1)
    found = own.square().mean(axes) / (1 if undivided else x.square().mean(axes))
    found = found if squared else found.sqrt()
    return found.mean(-1) if words else found


word_difference.knobs(
    _difference,
    features="You take the mean of each word's features away, as LayerNorm does: what words share is their own mean.",
    squared="The root is missing: this is the ratio of the squares.",
    undivided="You do not divide by the rms of x: then larger vectors differ more.",
    words="You divide word by word and take the mean: one rms over all words and features above, and one below.",
    shared="This is the part that all words share, expected what is left.",
)
word_difference.mistakes(
    {
        "You square the mean: the rms is the root of the mean of the squares.": lambda x: (
            (x - x.mean(-2, keepdim=True)).mean((-2, -1)).abs() / x.mean((-2, -1)).abs()
        ),
        "You take one mean of all numbers away: each feature has a mean of its own over the words.": lambda x: (
            _rms(x - x.mean((-2, -1), keepdim=True)) / _rms(x)
        ),
        "You divide by the standard deviation of x, which takes a mean away once more: divide by its rms, the root of "
        "the mean of the squares of x itself.": lambda x: (
            (x - x.mean(-2, keepdim=True)).std((-2, -1)) / x.std((-2, -1))
        ),
        "std divides by one less than the number of words: with correction=0 it is the rms of what is left.": (
            lambda x: x.std(-2).square().mean(-1).sqrt() / _rms(x)
        ),
        "You take the mean of the features' standard deviations: the rms squares them first, takes the mean, and then "
        "the root.": lambda x: x.std(-2, correction=0).mean(-1) / _rms(x),
        "You take the mean of the features' standard deviations, each divided by one less than the number of words: "
        "the rms is the root of the mean of all squares.": lambda x: x.std(-2).mean(-1) / _rms(x),
    }
)


def backward(draw: Draw) -> Iterator[Arguments]:
    """Vectors, gradients by what comes out, and an ε that counts, and one that does not."""
    for shape, eps in (((3,), 0.1), ((2, 4), 1e-5), ((3, 3), 0.5), ((2, 3, 5), 1e-5)):
        yield 2 * draw.normal(*shape) + 1, draw.normal(*shape) + 0.5, eps


@exercise(
    "6.6",
    backward,
    hints=[
        "The section on the way back through the norm has dy for a small dx, with three terms: directly, through the "
        "mean, and through s. The loss moves by the sum of upstream · dy: collect what stands with each dx.",
        "The mean's term takes the mean of upstream away; that of s takes y times the mean of upstream · y away.",
        "What is left is divided by s.",
    ],
    given="""
        s = (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
        y = (x - x.mean(-1, keepdim=True)) / s
        return ...
    """,
)
def norm_gradient(x, upstream, eps):
    """The gradient of the loss by x (…, D), which a layer normalisation with gain 1 and bias 0 makes into y, where
    upstream (…, D) is the gradient by y: (…, D). What the norm forgets gets no gradient: it has no part along
    (1, …, 1), and, but for ε, none along y."""
    s = (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
    y = (x - x.mean(-1, keepdim=True)) / s
    along_one = upstream.mean(-1, keepdim=True)
    along_y = y * (upstream * y).mean(-1, keepdim=True)
    return (upstream - along_one - along_y) / s


def _norm_gradient(
    x, upstream, eps, fixed=False, uncentred=False, unbent=False, undivided=False, sums=False, projected=False
):
    s = (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
    y = (x - x.mean(-1, keepdim=True)) / s
    times = x.size(-1) if sums else 1
    along_one = 0 if uncentred or fixed else times * upstream.mean(-1, keepdim=True)
    along_y = 0 if unbent or fixed else times * y * (upstream * y).mean(-1, keepdim=True)
    along_y = along_y / y.square().mean(-1, keepdim=True) if projected else along_y
    return (upstream - along_one - along_y) / (1 if undivided else s)


norm_gradient.knobs(
    _norm_gradient,
    fixed="You treat mean and deviation as fixed numbers: both depend on x, and each takes its part away.",
    uncentred="The mean's part is missing: to add one number to all of x changes nothing, so the gradient sums to 0.",
    unbent="The deviation's part is missing: to make x − mean longer changes nothing, so nothing is left along y.",
    undivided="You do not divide by s: the longer x, the less a step changes its direction.",
    sums="You take sums, expected means over the features.",
    projected="You take away all that lies along y, as if ε were 0: with ε the squares of y have a mean below 1, and y "
    "times the mean of upstream · y, which is to be taken away, is a little less.",
)
norm_gradient.mistakes(
    {
        "This is the result, not its gradient.": lambda x, upstream, eps: F.layer_norm(x, x.shape[-1:], eps=eps),
        "You normalise the gradient: it is what the norm's own derivative leaves of it.": lambda x, upstream, eps: (
            F.layer_norm(upstream, x.shape[-1:], eps=eps)
        ),
    }
)
