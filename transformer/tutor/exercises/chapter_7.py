"""Exercises of chapter 7, encoder and decoder."""

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def two_matrices(draw: Draw) -> Iterator[Arguments]:
    """Vectors, and the matrices and biases of a network with one hidden layer."""
    for shape, d, inner in (((2, 2), 2, 3), ((2, 3, 4), 4, 6), ((3, 4), 4, 4)):
        yield (
            draw.normal(*shape),
            draw.normal(d, inner),
            draw.normal(inner),
            draw.normal(inner, d),
            draw.normal(d),
        )


@exercise(
    "7.1",
    two_matrices,
    hints=[
        "x @ W1 + b1 has the inner width d_ff.",
        "max(0, ·) is .relu(), or .clamp(min=0), before the second matrix.",
    ],
)
def feed_forward(x, W1, b1, W2, b2):
    """max(0, xW₁ + b₁)W₂ + b₂ for x (…, D), W1 (D, d_ff) and W2 (d_ff, D), paper equation 2: (…, D)."""
    return (x @ W1 + b1).relu() @ W2 + b2


def _feed_forward(x, W1, b1, W2, b2, linear=False, unbiased=False):
    inner = x @ W1 if unbiased else x @ W1 + b1
    return (inner if linear else inner.relu()) @ W2 + (0 if unbiased else b2)


feed_forward.knobs(
    _feed_forward,
    linear="The ReLU is missing: without it the two matrices are one, and the layer is linear.",
    unbiased="The biases are missing: add b1 before the ReLU and b2 at the end.",
)
feed_forward.mistakes(
    {
        "There is a ReLU at the end: only the hidden layer is cut at zero.": lambda x, W1, b1, W2, b2: (
            (x @ W1 + b1).relu() @ W2 + b2
        ).relu(),
        "The ReLU comes before the first matrix: it belongs between the two.": lambda x, W1, b1, W2, b2: (
            (x.relu() @ W1 + b1) @ W2 + b2
        ),
        "You add x: the residual is not part of this function.": lambda x, W1, b1, W2, b2: (
            x + (x @ W1 + b1).relu() @ W2 + b2
        ),
        "The ReLU stands at the end: it belongs between the two matrices.": lambda x, W1, b1, W2, b2: (
            (x @ W1 + b1) @ W2 + b2
        ).relu(),
        "You keep what is below 0, expected what is above: clamp(min=0), max(0, ·).": lambda x, W1, b1, W2, b2: (
            (x @ W1 + b1).clamp(max=0) @ W2 + b2
        ),
        "You ask only which numbers are above 0: a ReLU lets the numbers themselves pass.": lambda x, W1, b1, W2, b2: (
            (x @ W1 + b1 > 0).to(x.dtype) @ W2 + b2
        ),
        "You multiply by the transposed matrices, as F.linear does: here x @ W1 and · @ W2.": (
            lambda x, W1, b1, W2, b2: (x @ W1.mT + b1).relu() @ W2.mT + b2
        ),
        "torch.max of one tensor is its largest number: max(0, ·) of each number is .relu() or .clamp(min=0).": (
            lambda x, W1, b1, W2, b2: (x @ W1 + b1).max() @ W2 + b2
        ),
        "Python's max cannot compare entry by entry: .relu() or .clamp(min=0).": (
            lambda x, W1, b1, W2, b2: max(0, x @ W1 + b1) @ W2 + b2
        ),
        "The second bias is b2, not b1.": lambda x, W1, b1, W2, b2: (x @ W1 + b1).relu() @ W2 + b1,
    }
)


def _attention(queries, memory, mask):
    scores = queries @ memory.mT / math.sqrt(queries.size(-1))
    if mask is not None:  # whoever forgets a mask is told which, not that None has no ~
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ memory


def _feed(x):
    return x.relu() - x**2


def _norm(x):
    """A norm whose gain differs from feature to feature, so that twice is not the same as once."""
    return F.layer_norm(x, x.shape[-1:]) * torch.linspace(0.5, 1.5, x.size(-1), dtype=x.dtype)


def _post_norm(x, steps, norm, no_norm=(), no_residual=()):
    """Sub-layers one after the other, each with its residual and norm but for those whose places are given."""
    for i, step in enumerate(steps):
        y = step(x) if i in no_residual else x + step(x)
        x = y if i in no_norm else norm(y)
    return x


def encoder_inputs(draw: Draw) -> Iterator[Arguments]:
    """Sentences, masks that hide the last key, and the parts of a layer."""
    for batch, time, d in ((1, 2, 3), (2, 3, 4), (2, 4, 4)):
        mask = torch.ones(batch, 1, time, dtype=torch.bool)
        mask[..., -1] = False
        yield draw.normal(batch, time, d), mask, _attention, _feed, _norm


@exercise(
    "7.2",
    encoder_inputs,
    hints=[
        "Self-attention: queries and memory are both x. Then norm(x + …), as the paper has it.",
        "The second residual starts from the result of the first, not from the layer's input.",
    ],
    given="""
        x = ...
        return ...
    """,
)
def encoder_layer(x, mask, attention, feed_forward, norm):
    """One post-norm encoder layer on x (B, S, D): attention(queries, memory, mask), then feed_forward, each with its
    residual and norm."""
    x = norm(x + attention(x, x, mask))
    return norm(x + feed_forward(x))


def _encoder(x, mask, attention, feed_forward, norm, order=(0, 1), **missing):
    steps = (lambda x: attention(x, x, mask), feed_forward)
    return _post_norm(x, [steps[i] for i in order], norm, **missing)


def _encoder_from_the_input(x, mask, attention, feed_forward, norm):
    y = norm(x + attention(x, x, mask))
    return norm(x + feed_forward(y))


def _encoder_pre_norm(x, mask, attention, feed_forward, norm):
    y = norm(x)
    x = x + attention(y, y, mask)
    return x + feed_forward(norm(x))


def _encoder_norms_inside(x, mask, attention, feed_forward, norm):
    x = x + norm(attention(x, x, mask))
    return x + norm(feed_forward(x))


def _encoder_norms_before_and_behind(x, mask, attention, feed_forward, norm, before_attention, before_network):
    y = norm(x) if before_attention else x
    x = norm(x + attention(y, y, mask))
    return norm(x + feed_forward(norm(x) if before_network else x))


def _encoder_feeds_the_input(x, mask, attention, feed_forward, norm):
    y = norm(x + attention(x, x, mask))
    return norm(y + feed_forward(x))


def _encoder_adds_both(x, mask, attention, feed_forward, norm):
    y = norm(x + attention(x, x, mask))
    return norm(x + y + feed_forward(y))


def _encoder_side_by_side(x, mask, attention, feed_forward, norm):
    return norm(x + attention(x, x, mask) + feed_forward(x))


def _encoder_without(x, mask, attention, feed_forward, norm, **missing):
    places = {"no_residual": ("around_attention", "around_network"), "no_norm": ("after_attention", "after_network")}
    chosen = {kind: [i for i, knob in enumerate(knobs) if knob in missing] for kind, knobs in places.items()}
    return _encoder(x, mask, attention, feed_forward, norm, **chosen)


encoder_layer.knobs(
    _encoder_without,
    around_attention="The residual around attention is missing: norm(x + attention(…)).",
    around_network="The residual around the feed-forward network is missing: norm(x + feed_forward(x)).",
    after_attention="The norm after attention is missing: there are two, one after each sum.",
    after_network="The norm after the feed-forward network is missing: there are two, one after each sum.",
)
encoder_layer.mistakes(
    {
        "The second residual starts from the layer's input, expected the result of the first.": _encoder_from_the_input,
        "This is pre-norm: the paper normalises after the sum, norm(x + …).": _encoder_pre_norm,
        "The residuals are missing: add x before each norm.": partial(_encoder, no_residual=(0, 1)),
        "There is no norm: each of the two sums goes through one.": partial(_encoder, no_norm=(0, 1)),
        "The feed-forward network is missing: it follows attention, with a residual and a norm of its own.": (
            partial(_encoder, order=(0,))
        ),
        "Attention is missing: it comes first, with a residual and a norm of its own.": partial(_encoder, order=(1,)),
        "The feed-forward network comes first, expected attention.": partial(_encoder, order=(1, 0)),
        "There are two feed-forward networks: a layer has one, after attention.": partial(_encoder, order=(0, 1, 1)),
        "You norm what a sub-layer gives, and then add: the paper norms the sum, norm(x + …).": _encoder_norms_inside,
        "There are norms before the sub-layers, too: in the paper each norm comes after a sum, norm(x + …).": partial(
            _encoder_norms_before_and_behind, before_attention=True, before_network=True
        ),
        "There is a norm before attention, too: in the paper each norm comes after a sum, norm(x + …).": partial(
            _encoder_norms_before_and_behind, before_attention=True, before_network=False
        ),
        "There is a norm before the feed-forward network, too: what comes in has met one already.": partial(
            _encoder_norms_before_and_behind, before_attention=False, before_network=True
        ),
        "The feed-forward network reads the layer's input, expected the result of attention, its residual and norm.": (
            _encoder_feeds_the_input
        ),
        "You add the layer's input a second time: the second residual is the result of the first norm alone.": (
            _encoder_adds_both
        ),
        "The mask is not used: padding is attended to.": lambda x, mask, *parts: _encoder(
            x, torch.ones_like(mask), *parts
        ),
        "The mask is turned round: True already means that a word may be attended to.": lambda x, mask, *parts: (
            _encoder(x, ~mask, *parts)
        ),
        "Attention and feed-forward stand side by side, expected one after the other.": _encoder_side_by_side,
    }
)


def decoder_inputs(draw: Draw) -> Iterator[Arguments]:
    """Targets, memories as long and not, causal and padding masks, and the parts of a layer."""
    for batch, time, source, d in ((1, 2, 2, 3), (2, 3, 4, 4), (2, 3, 3, 4)):
        causal = torch.ones(1, time, time, dtype=torch.bool).tril()
        real = torch.ones(batch, 1, source, dtype=torch.bool)
        real[..., -1] = False
        yield draw.normal(batch, time, d), draw.normal(batch, source, d), causal, real, _attention, _feed, _norm


@exercise(
    "7.3",
    decoder_inputs,
    hints=[
        "Three sub-layers in this order: masked self-attention, cross-attention, feed-forward.",
        "In cross-attention the queries are x, and keys and values come from memory, under memory_mask.",
    ],
    given="""
        x = ...
        x = ...
        return ...
    """,
)
def decoder_layer(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    """One post-norm decoder layer on x (B, T, D), which reads memory (B, S, D): attention(queries, memory, mask) on
    itself and on the memory, then feed_forward, each with its residual and norm."""
    x = norm(x + attention(x, x, self_mask))
    x = norm(x + attention(x, memory, memory_mask))
    return norm(x + feed_forward(x))


def _decoder(
    x, memory, self_mask, memory_mask, attention, feed_forward, norm,
    order=(0, 1, 2), asks=lambda x, memory, first: x, reads=lambda x, memory: memory, **missing,
):  # fmt: skip
    first = x
    steps = (
        lambda x: attention(x, x, self_mask),
        lambda x: attention(asks(x, memory, first), reads(x, memory), memory_mask),
        feed_forward,
    )
    return _post_norm(x, [steps[i] for i in order], norm, **missing)


def _decoder_pre_norm(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    x = x + attention(norm(x), norm(x), self_mask)
    x = x + attention(norm(x), memory, memory_mask)
    return x + feed_forward(norm(x))


def _decoder_norms_inside(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    x = x + norm(attention(x, x, self_mask))
    x = x + norm(attention(x, memory, memory_mask))
    return x + norm(feed_forward(x))


def _decoder_from(x, memory, self_mask, memory_mask, attention, feed_forward, norm, second=0, third=0):
    """With residuals that start from result number `second` and `third`, where 0 is the layer's input."""
    results = [x, norm(x + attention(x, x, self_mask))]
    results.append(norm(results[second] + attention(results[1], memory, memory_mask)))
    return norm(results[third] + feed_forward(results[2]))


def _decoder_adds_the_memory(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    x = norm(x + attention(x, x, self_mask))
    x = norm(memory + attention(x, memory, memory_mask))
    return norm(x + feed_forward(x))


def _decoder_side_by_side(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    x = norm(x + attention(x, x, self_mask) + attention(x, memory, memory_mask))
    return norm(x + feed_forward(x))


decoder_layer.mistakes(
    {
        "The masks have changed places: self_mask hides the future of the target, memory_mask the source's padding.": (
            lambda x, memory, one, other, *parts: _decoder(x, memory, other, one, *parts)
        ),
        "The second attention looks at x again: its keys and values come from memory.": partial(
            _decoder, order=(0, 0, 2)
        ),
        "Both attentions read the memory: the first is self-attention, attention(x, x, self_mask).": partial(
            _decoder, order=(1, 1, 2)
        ),
        "Cross-attention comes first, expected self-attention.": partial(_decoder, order=(1, 0, 2)),
        "Self-attention is missing: it comes first, with a residual and a norm of its own.": partial(
            _decoder, order=(1, 2)
        ),
        "The feed-forward network is missing: it comes last, with a residual and a norm of its own.": partial(
            _decoder, order=(0, 1)
        ),
        "There is a feed-forward network after each attention: a decoder layer has one, at the end.": partial(
            _decoder, order=(0, 2, 1, 2)
        ),
        "The feed-forward network comes first, expected last.": partial(_decoder, order=(2, 0, 1)),
        "The residuals are missing: add x before each norm.": partial(_decoder, no_residual=(0, 1, 2)),
        "The residual around self-attention is missing: norm(x + attention(x, x, …)).": partial(
            _decoder, no_residual=(0,)
        ),
        "The residual around cross-attention is missing: norm(x + attention(x, memory, …)).": partial(
            _decoder, no_residual=(1,)
        ),
        "The residual around the feed-forward network is missing: norm(x + feed_forward(x)).": partial(
            _decoder, no_residual=(2,)
        ),
        "The norm after self-attention is missing: there are three, one after each sum.": partial(
            _decoder, no_norm=(0,)
        ),
        "The norm after cross-attention is missing: there are three, one after each sum.": partial(
            _decoder, no_norm=(1,)
        ),
        "The norm after the feed-forward network is missing: there are three, one after each sum.": partial(
            _decoder, no_norm=(2,)
        ),
        "There is one norm, at the end: each of the three sums goes through one.": partial(_decoder, no_norm=(0, 1)),
        "There is no norm: each of the three sums goes through one.": partial(_decoder, no_norm=(0, 1, 2)),
        "This is pre-norm: the paper normalises after the sum, norm(x + …).": _decoder_pre_norm,
        "You norm what a sub-layer gives, and then add: the paper norms the sum, norm(x + …).": _decoder_norms_inside,
        "Self-attention and cross-attention stand side by side, expected one after the other.": _decoder_side_by_side,
        "The second residual starts from the layer's input, expected the result of self-attention and its norm.": (
            partial(_decoder_from, second=0, third=2)
        ),
        "The last residual starts from the layer's input, expected the result of cross-attention and its norm.": (
            partial(_decoder_from, second=1, third=0)
        ),
        "The last residual starts from the result of self-attention, expected that of cross-attention.": partial(
            _decoder_from, second=1, third=1
        ),
        "Cross-attention asks with the layer's input, expected with the result of self-attention.": partial(
            _decoder, asks=lambda x, memory, first: first
        ),
        "In cross-attention you add the memory: the residual is x, what asked.": _decoder_adds_the_memory,
        "The memory asks itself in the second attention: its queries are x.": partial(
            _decoder, asks=lambda x, memory, first: memory
        ),
        "You norm the memory: the encoder has done so, and it is used as it is.": partial(
            _decoder, reads=lambda x, memory: _norm(memory)
        ),
        "Cross-attention has the mask of self-attention: memory_mask hides the source's padding.": (
            lambda x, memory, self_mask, memory_mask, *parts: _decoder(x, memory, self_mask, self_mask, *parts)
        ),
        "Neither attention has its mask: one hides the future of the target, the other the source's padding.": (
            lambda x, memory, self_mask, memory_mask, *rest: _decoder(x, memory, None, None, *rest)
        ),
        "Self-attention has no mask: the decoder sees the word that it should predict.": (
            lambda x, memory, self_mask, *rest: _decoder(x, memory, torch.ones_like(self_mask), *rest)
        ),
        "Cross-attention has no mask: the source's padding is attended to.": (
            lambda x, memory, self_mask, memory_mask, *rest: _decoder(
                x, memory, self_mask, torch.ones_like(memory_mask), *rest
            )
        ),
        "Queries and memory have changed places in cross-attention: x asks, and the memory answers.": (
            partial(_decoder, asks=lambda x, memory, first: memory, reads=lambda x, memory: x)
        ),
        "Cross-attention is missing: the decoder never reads the source.": partial(_decoder, order=(0, 2)),
    }
)  # fmt: skip


def sizes(draw: Draw) -> Iterator[Arguments]:
    """Sizes of a tiny model, of the base model and of the big one."""
    yield from ((100, 8, 16, 1), (37_000, 512, 2048, 6), (37_000, 1024, 4096, 6), (50, 4, 12, 3))


@exercise(
    "7.4",
    sizes,
    hints=[
        "An attention has four matrices (d, d) and four biases; a feed-forward network 2·d·d_ff + d_ff + d numbers.",
        "A LayerNorm has 2d. An encoder layer has two of them and one attention; a decoder layer three and two.",
        "One matrix V × d serves as both embeddings and as the output.",
    ],
)
def transformer_parameters(V, d, d_ff, L):
    """How many parameters a post-norm Transformer with L + L layers and one tied matrix has, with biases in every
    matrix of the attentions and the feed-forward networks, none at the output, and no table of positions."""
    attention = 4 * d * d + 4 * d
    feed_forward = 2 * d * d_ff + d_ff + d
    norm = 2 * d
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    return V * d + L * (encoder_layer + decoder_layer)


def _parameters(
    V, d, d_ff, L,
    forgotten=False, same=False, two=False, three=False, none=False, normless=False, half=False, unbiased=False,
    no_bias_of_attentions=False, no_bias_of_networks=False, one_network=False,
):  # fmt: skip
    """The count with one or two of the usual mistakes in it."""
    attentions, norms = (2, 4) if same else (2, 5) if forgotten else (3, 5)
    attention = 4 * d * d + 4 * d * (not unbiased and not no_bias_of_attentions)
    network = 2 * d * d_ff + (d_ff + d) * (not unbiased and not no_bias_of_networks)
    layers = attentions * attention + (1 if one_network else 2) * network
    layers += 0 if normless else norms * (d if half else 2 * d)
    return (3 if three else 2 if two else 0 if none else 1) * V * d + L * layers


transformer_parameters.knobs(
    _parameters,
    forgotten="One attention of the decoder is forgotten: a decoder layer looks at itself and at the source.",
    same="Your decoder layers are like encoder layers: they have an attention to the source, with its norm, besides.",
    two="You count two embedding matrices: one serves source, target and output.",
    three="You count three embedding matrices: one serves source, target and output.",
    none="The embedding is forgotten: V × d.",
    normless="The norms are forgotten: 2d for each, two in an encoder layer and three in a decoder layer.",
    half="Your norms have d numbers, expected 2d: a gain and a bias.",
    unbiased="The biases are forgotten: d for each matrix of an attention, d_ff + d for a feed-forward network.",
    no_bias_of_attentions="The biases of the attentions are forgotten: 4d for each of the three.",
    no_bias_of_networks="The biases of the feed-forward networks are forgotten: d_ff + d for each.",
    one_network="There is one feed-forward network for the two layers: encoder and decoder have one each.",
)  # fmt: skip


def _more(change):
    """The right count, and what an encoder and a decoder layer together have too many, or too few."""
    return lambda V, d, d_ff, L: transformer_parameters.reference(V, d, d_ff, L) + L * change(d, d_ff)


transformer_parameters.mistakes(
    {
        "For an encoder and a decoder layer together you are 2d short: a decoder layer has three norms of 2d, and a "
        "feed-forward network has two biases, d_ff and d.": _more(lambda d, d_ff: -2 * d),
        "For an encoder and a decoder layer together you are 4d short: a norm has 2d, two of them stand in an encoder "
        "layer and three in a decoder layer.": _more(lambda d, d_ff: -4 * d),
        "For an encoder and a decoder layer together you are 6d short: a norm has 2d, two of them stand in an encoder "
        "layer and three in a decoder layer.": _more(lambda d, d_ff: -6 * d),
        "For an encoder and a decoder layer together you count 2d too many: an encoder layer has two norms, and only a "
        "decoder layer has three.": _more(lambda d, d_ff: 2 * d),
        "An attention has four biases of d numbers, one for each matrix: you count one.": _more(lambda d, d_ff: -9 * d),
        "An attention has four biases of d numbers: you count three.": _more(lambda d, d_ff: -3 * d),
        "An attention has four matrices, and as many biases: W_O is forgotten.": _more(
            lambda d, d_ff: -3 * d * d - 3 * d
        ),
        "A feed-forward network has a bias of d_ff, too, inside: yours has only that of d, at its end.": _more(
            lambda d, d_ff: -2 * d_ff
        ),
        "The biases of a feed-forward network are d_ff and d numbers long: you count d twice.": _more(
            lambda d, d_ff: 2 * (d - d_ff)
        ),
        "The biases of a feed-forward network are d_ff and d numbers long: you count d_ff twice.": _more(
            lambda d, d_ff: 2 * (d_ff - d)
        ),
        "A feed-forward network has two matrices, d × d_ff and d_ff × d: you count one.": _more(
            lambda d, d_ff: -2 * d * d_ff
        ),
        "A norm after the last layer of each stack is counted: only pre-norm has them.": lambda V, d, d_ff, L: (
            transformer_parameters.reference(V, d, d_ff, L) + 4 * d
        ),
        "A bias of the output is counted: the logits are h · Eᵀ, without one.": lambda V, d, d_ff, L: (
            transformer_parameters.reference(V, d, d_ff, L) + V
        ),
        "A table of 512 positions is counted: the paper's are computed, not learned.": lambda V, d, d_ff, L: (
            transformer_parameters.reference(V, d, d_ff, L) + 512 * d
        ),
        "Only the encoder is counted: there are L decoder layers besides.": lambda V, d, d_ff, L: (
            V * d + L * (4 * d * d + 4 * d + 2 * d * d_ff + d_ff + d + 4 * d)
        ),
        "You count L encoder and L decoder layers twice: they are L + L layers together.": lambda V, d, d_ff, L: (
            2 * transformer_parameters.reference(V, d, d_ff, L) - V * d
        ),
        "The layers are counted once: there are L of each.": lambda V, d, d_ff, L: transformer_parameters.reference(
            V, d, d_ff, 1
        ),
        "The embedding is multiplied by L: there is one for the whole model.": lambda V, d, d_ff, L: (
            L * transformer_parameters.reference(V, d, d_ff, 1)
        ),
        "You halve L: there are L encoder layers and L decoder layers.": lambda V, d, d_ff, L: (
            transformer_parameters.reference(V, d, d_ff, L // 2)
        ),
    }
)


def hidden_vectors(draw: Draw) -> Iterator[Arguments]:
    """Last vectors of the decoder, with a batch and without, and tables, square ones among them."""
    for shape, V in (((2, 3), 3), ((2, 3, 4), 6), ((1, 2, 5), 4), ((1, 5), 7)):
        yield draw.normal(*shape), draw.normal(V, shape[-1])


@exercise(
    "7.5",
    hidden_vectors,
    hints=[
        "Row i of the table is the vector of token i.",
        "A token's logit is the dot product of h with its row: h @ table.mT.",
    ],
)
def tied_logits(h, table):
    """The logits of all V tokens for h (…, D), by the embedding table (V, D) that is used a second time: (…, V)."""
    return h @ table.mT


tied_logits.mistakes(
    {
        "A softmax is added: logits are the scores before it, and the loss takes its own.": lambda h, table: (
            h @ table.mT
        ).softmax(-1),
        "A log-softmax is added: logits are the scores before it.": lambda h, table: (h @ table.mT).log_softmax(-1),
        "You scale by √d: the embedding is scaled where words come in, not where they go out.": lambda h, table: (
            h @ table.mT * math.sqrt(h.size(-1))
        ),
        "You divide by √d, which is for attention scores.": lambda h, table: h @ table.mT / math.sqrt(h.size(-1)),
        "The table is not transposed: a logit is the dot product of h with a *row* of the table.": lambda h, table: (
            h @ table
        ),
        "These are cosines: logits are the dot products themselves, lengths included.": lambda h, table: (
            F.normalize(h, dim=-1) @ F.normalize(table, dim=-1).mT
        ),
        "A logit is a dot product, not minus the distance.": lambda h, table: -(h[..., None, :] - table).norm(dim=-1),
        "You choose the largest logit already: all V are returned.": lambda h, table: (h @ table.mT).argmax(-1),
        "Two things at once. You scale by √d, which is done where words come in, and add a softmax: logits are the "
        "scores before it.": lambda h, table: (h @ table.mT * math.sqrt(h.size(-1))).softmax(-1),
        "You multiply by d: logits are the dot products themselves.": lambda h, table: h @ table.mT * h.size(-1),
        "The sign is wrong: the token whose vector points the way of h has the largest logit.": lambda h, table: (
            -h @ table.mT
        ),
        "The products are not summed: a logit is the dot product, the sum over the D features.": lambda h, table: (
            h[..., None, :] * table
        ),
        "The factors are in the wrong order: h @ table.mT, with one row of logits for each vector of h.": (
            lambda h, table: table @ h.mT
        ),
        "The factors are in the wrong order, and .T turns round all axes: h @ table.mT.": lambda h, table: (
            table @ h.permute(*reversed(range(h.dim())))
        ),
    }
)
