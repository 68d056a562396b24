"""Exercises of chapter 7, encoder and decoder."""

import math
from collections.abc import Iterator

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
    }
)


def _attention(queries, memory, mask):
    scores = queries @ memory.mT / math.sqrt(queries.size(-1))
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ memory


def _feed(x):
    return x.relu() - x**2


def _norm(x):
    return F.layer_norm(x, x.shape[-1:])


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


def _encoder_from_the_input(x, mask, attention, feed_forward, norm):
    y = norm(x + attention(x, x, mask))
    return norm(x + feed_forward(y))


def _encoder_pre_norm(x, mask, attention, feed_forward, norm):
    y = norm(x)
    x = x + attention(y, y, mask)
    return x + feed_forward(norm(x))


def _encoder_without_residuals(x, mask, attention, feed_forward, norm):
    return norm(feed_forward(norm(attention(x, x, mask))))


def _encoder_with_one_norm(x, mask, attention, feed_forward, norm):
    x = x + attention(x, x, mask)
    return norm(x + feed_forward(x))


def _encoder_without_mask(x, mask, attention, feed_forward, norm):
    x = norm(x + attention(x, x, torch.ones_like(mask)))
    return norm(x + feed_forward(x))


def _encoder_side_by_side(x, mask, attention, feed_forward, norm):
    return norm(x + attention(x, x, mask) + feed_forward(x))


encoder_layer.mistakes(
    {
        "The second residual starts from the layer's input, expected the result of the first.": _encoder_from_the_input,
        "This is pre-norm: the paper normalises after the sum, norm(x + …).": _encoder_pre_norm,
        "The residuals are missing: add x before each norm.": _encoder_without_residuals,
        "There is one norm, expected two: after attention and after the feed-forward network.": _encoder_with_one_norm,
        "The mask is not used: padding is attended to.": _encoder_without_mask,
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


def _decoder(x, memory, self_mask, memory_mask, attention, feed_forward, norm, swapped=False, itself=False, late=False):
    one, other = (memory_mask, self_mask) if swapped else (self_mask, memory_mask)
    looks = [lambda x: attention(x, x, one), lambda x: attention(x, x, one) if itself else attention(x, memory, other)]
    for look in reversed(looks) if late else looks:
        x = norm(x + look(x))
    return norm(x + feed_forward(x))


decoder_layer.mistakes(
    {
        "The masks have changed places: self_mask hides the future of the target, memory_mask the source's padding.": (
            lambda *args: _decoder(*args, swapped=True)
        ),
        "The second attention looks at x again: its keys and values come from memory.": (
            lambda *args: _decoder(*args, itself=True)
        ),
        "Cross-attention comes first, expected self-attention.": lambda *args: _decoder(*args, late=True),
        "Self-attention has no mask: the decoder sees the word that it should predict.": (
            lambda x, memory, self_mask, *rest: _decoder(x, memory, torch.ones_like(self_mask), *rest)
        ),
        "Cross-attention has no mask: the source's padding is attended to.": (
            lambda x, memory, self_mask, memory_mask, *rest: _decoder(
                x, memory, self_mask, torch.ones_like(memory_mask), *rest
            )
        ),
        "Queries and memory have changed places in cross-attention: x asks, and the memory answers.": (
            lambda x, memory, self_mask, memory_mask, attention, feed_forward, norm: _decoder(
                x, memory, self_mask, memory_mask,
                lambda q, m, mask: attention(m, q, mask) if m is memory else attention(q, m, mask),
                feed_forward, norm,
            )
        ),
        "Cross-attention is missing: the decoder never reads the source.": (
            lambda x, memory, self_mask, memory_mask, attention, feed_forward, norm: encoder_layer.reference(
                x, self_mask, attention, feed_forward, norm
            )
        ),
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
    """How many parameters a post-norm Transformer with L + L layers and one tied matrix has, all biases included."""
    attention = 4 * d * d + 4 * d
    feed_forward = 2 * d * d_ff + d_ff + d
    norm = 2 * d
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    return V * d + L * (encoder_layer + decoder_layer)


def _parameters(V, d, d_ff, L, cross=2, matrices=1, norms=5, bias=1, networks=2, layers=1):
    attention, network = 4 * d * d + 4 * d * bias, 2 * d * d_ff + (d_ff + d) * bias
    return matrices * V * d + layers * L * ((1 + cross) * attention + networks * network + norms * 2 * d)


transformer_parameters.mistakes(
    {
        "One attention of the decoder is forgotten: a decoder layer looks at itself and at the source.": (
            lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, cross=1)
        ),
        "You count two embedding matrices: one serves source, target and output.": (
            lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, matrices=2)
        ),
        "You count three embedding matrices: one serves source, target and output.": (
            lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, matrices=3)
        ),
        "The norms are forgotten: 2d for each, two in an encoder layer and three in a decoder layer.": (
            lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, norms=0)
        ),
        "A decoder layer has three norms, one for each sub-layer.": (
            lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, norms=4)
        ),
        "The biases are forgotten: d for each matrix of an attention, d_ff + d for a feed-forward network.": (
            lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, bias=0)
        ),
        "The embedding is forgotten: V × d.": lambda V, d, d_ff, L: _parameters(V, d, d_ff, L, matrices=0),
    }
)


def hidden_vectors(draw: Draw) -> Iterator[Arguments]:
    """Last vectors of the decoder, and tables, square ones among them."""
    for shape, V in (((2, 3), 3), ((2, 3, 4), 6), ((1, 2, 5), 4)):
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
    }
)
