"""Exercises of chapter 5, multi-head attention."""

import math
from collections.abc import Iterator

import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def features(draw: Draw) -> Iterator[Arguments]:
    """Batches of sentences, and numbers of heads."""
    for batch, time, d, heads in ((1, 2, 4, 2), (2, 3, 6, 3), (3, 4, 8, 2), (2, 5, 12, 4)):
        yield draw.normal(batch, time, d), heads


@exercise(
    "5.1",
    features,
    hints=[
        "Only the last axis is cut: x.view(B, T, h, d // h), or x.unflatten(-1, (h, -1)).",
        "Then the heads go before the words: transpose(1, 2).",
    ],
    given="""
        B, T, D = x.shape
        x = ...  # (B, T, h, D // h): only the features are cut
        return ...  # (B, h, T, D // h)
    """,
)
def my_split_heads(x, h):
    """Cut the features of x (B, T, D) into h heads: (B, h, T, D/h); head 0 takes the first D/h features."""
    return x.unflatten(-1, (h, -1)).transpose(1, 2)


my_split_heads.mistakes(
    {
        "You view x as (B, h, T, K) at once: that cuts *time*, and a head gets parts of several words.": lambda x, h: (
            x.reshape(x.size(0), h, x.size(1), -1)
        ),
        "Your heads are interleaved: head 0 takes every h-th feature, expected the first D/h.": lambda x, h: (
            x.unflatten(-1, (-1, h)).permute(0, 3, 1, 2)
        ),
        "The heads still stand behind the words, (B, T, h, K): transpose, so that each head is a batch of its own.": (
            lambda x, h: x.unflatten(-1, (h, -1))
        ),
        "Features and words have changed places: (B, h, K, T).": lambda x, h: x.unflatten(-1, (h, -1)).permute(
            0, 2, 3, 1
        ),
        "The heads have gone before the batch: (h, B, T, K).": lambda x, h: x.unflatten(-1, (h, -1)).permute(
            2, 0, 1, 3
        ),
        "Batch and heads have become one axis: keep them apart, (B, h, T, K).": lambda x, h: (
            x.unflatten(-1, (h, -1)).transpose(1, 2).flatten(0, 1)
        ),
    }
)


def heads(draw: Draw) -> Iterator[Arguments]:
    """Heads of batches of sentences."""
    yield from ((draw.normal(*shape),) for shape in ((1, 2, 2, 3), (2, 3, 4, 2), (2, 2, 5, 4)))


@exercise(
    "5.2",
    heads,
    hints=["Undo the split, in the opposite order.", "transpose(1, 2) first; then flatten(2) joins the last two axes."],
)
def my_merge_heads(x):
    """Lay the heads of x (B, h, T, K) side by side again, head 0 first: (B, T, h·K)."""
    return x.transpose(1, 2).flatten(2)


my_merge_heads.mistakes(
    {
        "You flatten before the heads are back behind the words: that mixes *time*. Transpose first.": lambda x: (
            x.reshape(x.size(0), x.size(2), -1)
        ),
        "The features of the heads are interleaved: head 0 comes first, whole.": lambda x: x.permute(
            0, 2, 3, 1
        ).flatten(2),
        "You take the mean of the heads: they are laid side by side.": lambda x: x.mean(1),
        "You add the heads up: they are laid side by side.": lambda x: x.sum(1),
        "The heads are laid one after the other in time: (B, h·T, K).": lambda x: x.flatten(1, 2),
        "The heads are transposed, but not yet joined: (B, T, h, K).": lambda x: x.transpose(1, 2),
    }
)


def projections(draw: Draw) -> Iterator[Arguments]:
    """Words, a memory as long and not, and the four matrices."""
    for batch, time, source, d, n_heads in ((1, 3, 3, 4, 2), (2, 3, 5, 6, 3), (2, 4, 4, 8, 2)):
        matrices = {name: draw.normal(d, d) / math.sqrt(d) for name in "QKVO"}
        yield draw.normal(batch, time, d), draw.normal(batch, source, d), matrices, n_heads


@exercise(
    "5.3",
    projections,
    hints=[
        'Queries come from x @ W["Q"]; keys and values from memory.',
        "Split all three with unflatten(-1, (h, -1)).transpose(1, 2); a head's size is d/h, and the scale is its root.",
        'Merge the heads, then multiply by W["O"].',
    ],
)
def multi_head(x, memory, W, h):
    """Let x (B, T, D) attend to memory (B, S, D) with h heads and the matrices W["Q"], ["K"], ["V"], ["O"], each (D, D)
    and used as x @ W; no biases."""
    q, k, v = (
        (source @ W[name]).unflatten(-1, (h, -1)).transpose(1, 2)
        for source, name in ((x, "Q"), (memory, "K"), (memory, "V"))
    )
    weights = (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2) @ W["O"]


def _multi_head(x, memory, W, h, scale=False, output=False, one=False, transposed=False, axis=False, itself=False):
    W = {name: matrix.mT for name, matrix in W.items()} if transposed else W
    memory = x if itself else memory
    n = 1 if one else h
    q, k, v = (
        (source @ W[name]).unflatten(-1, (n, -1)).transpose(1, 2)
        for source, name in ((x, "Q"), (memory, "K"), (memory, "V"))
    )
    size = x.size(-1) if scale else q.size(-1)
    mixed = (q @ k.mT / math.sqrt(size)).softmax(-2 if axis else -1) @ v
    joined = mixed.transpose(1, 2).flatten(2)
    return joined if output else joined @ W["O"]


multi_head.knobs(
    _multi_head,
    scale="You scale by √d_model: a head has only d/h features, so √(d/h).",
    output="The output matrix W_O is missing: without it the heads never meet.",
    one="There is only one head: split the features before the scores.",
    transposed="You multiply by the transposed matrices: x @ W, as in the paper.",
    axis="Your weights sum to 1 over the queries: the softmax is on the wrong axis.",
    itself="Keys and values come from x, expected memory.",
)


def _values_from_x(x, memory, W, h):
    q, k, v = ((s @ W[n]).unflatten(-1, (h, -1)).transpose(1, 2) for s, n in ((x, "Q"), (memory, "K"), (x, "V")))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) @ W["O"]


def _merged_wrongly(x, memory, W, h):
    q, k, v = ((s @ W[n]).unflatten(-1, (h, -1)).transpose(1, 2) for s, n in ((x, "Q"), (memory, "K"), (memory, "V")))
    return F.scaled_dot_product_attention(q, k, v).reshape(x.shape) @ W["O"]


multi_head.mistakes(
    {
        "The values come from x, expected memory: keys and values belong together.": _values_from_x,
        "The heads are merged without transposing first: that mixes *time*.": _merged_wrongly,
    }
)


def sizes(draw: Draw) -> Iterator[Arguments]:
    """Batch, lengths, features and heads, all different."""
    yield from ((2, 3, 5, 8, 4), (7, 6, 4, 12, 2), (1, 10, 9, 64, 8))


@exercise(
    "5.4",
    sizes,
    hints=[
        "Queries come from the target, T; keys from the source, S.",
        "Each head has d/h features; rows are queries.",
    ],
)
def cross_shapes(B, T, S, d, h):
    """The shapes of q and k after the split into h heads, of the scores, and of the output after W_O, as four tuples,
    where a target of T words attends to a source of S; d is d_model."""
    return (B, h, T, d // h), (B, h, S, d // h), (B, h, T, S), (B, T, d)


def _shapes(B, T, S, d, h, turned=False, whole=False, source=False, no_heads=False, behind=False):
    size = d if whole else d // h
    q, k = ((B, n, h, size) if behind else (B, h, n, size) for n in (T, S))
    rows, columns = (S, T) if turned else (T, S)
    scores = (B, rows, columns) if no_heads else (B, h, rows, columns)
    return q, k, scores, (B, S if source else T, d)


cross_shapes.knobs(
    _shapes,
    turned="Your scores are S × T: rows are queries, columns are keys.",
    whole="Your heads have all d features: each has d/h.",
    source="The output has one row for each word of the source, expected one for each query.",
    behind="The heads of q and k stand behind the words: transpose, so that they come second.",
    no_heads="The scores lack the axis of the heads: each head has its own.",
)


def widths(draw: Draw) -> Iterator[Arguments]:
    """Features, heads, and whether there are biases."""
    yield from ((8, 2, False), (8, 4, True), (512, 8, True), (512, 8, False))


@exercise(
    "5.5",
    widths,
    hints=[
        "Four matrices of d × d: for queries, keys, values and the output.",
        "A bias has d entries for each matrix.",
    ],
)
def attention_parameters(d, h, bias):
    """How many numbers a multi-head attention learns, with h heads of size d/h, with or without biases."""
    return 4 * (d * d + d * bias)


def _parameters(d, h, bias, heads=False, output=False, forgotten=False, divided=False):
    n = 3 if output else 4
    each = d * d + (0 if forgotten else d * bias)
    return n * each * (h if heads else 1) // (h if divided else 1)


attention_parameters.knobs(
    _parameters,
    heads="You multiply by the number of heads, but each is h times smaller: that cancels.",
    output="The output matrix W_O is forgotten: there are four matrices, not three.",
    forgotten="The biases are forgotten: d for each matrix where bias is True.",
    divided="You divide by the number of heads: that is one head alone, and there are h of them.",
)
