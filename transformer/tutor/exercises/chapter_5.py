"""Exercises of chapter 5, multi-head attention."""

import math
from collections.abc import Iterator

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def features(draw: Draw) -> Iterator[Arguments]:
    """Batches of sentences, and numbers of heads."""
    for batch, time, d, heads in ((1, 2, 4, 2), (2, 3, 6, 3), (3, 4, 8, 2), (2, 5, 12, 4)):
        yield draw.normal(batch, time, d), heads


@exercise(
    "5.1",
    features,
    hints=[
        "Which of the three axes is cut, and into which two?",
        "The last one is cut: x.view(B, T, h, d // h), or x.unflatten(-1, (h, -1)).",
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
    B, T, D = x.shape
    x = x.reshape(B, T, h, D // h)
    return x.transpose(1, 2)


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
        "Your heads are in the reverse order: head 0 takes the first D/h features.": lambda x, h: (
            x.unflatten(-1, (h, -1)).transpose(1, 2).flip(1)
        ),
        "The heads have gone before the batch: (h, B, T, K).": lambda x, h: x.unflatten(-1, (h, -1)).permute(
            2, 0, 1, 3
        ),
        "Batch and heads have become one axis: keep them apart, (B, h, T, K).": lambda x, h: (
            x.unflatten(-1, (h, -1)).transpose(1, 2).flatten(0, 1)
        ),
        "The heads stand last, (B, T, K, h): they belong before the words, (B, h, T, K).": lambda x, h: x.unflatten(
            -1, (h, -1)
        ).transpose(2, 3),
        "You cut the features into D/h heads of size h, expected h heads of size D/h: the number comes first.": (
            lambda x, h: x.unflatten(-1, (-1, h)).transpose(1, 2)
        ),
        "You transpose before you cut, so that the cut runs through the *words*: cut the features first.": (
            lambda x, h: x.transpose(1, 2).reshape(x.size(0), h, x.size(1), -1)
        ),
        "Your heads overlap: head i begins at feature i, expected i · D/h.": lambda x, h: x.unfold(
            -1, x.size(-1) // h, 1
        )[:, :, :h].transpose(1, 2),
        "You cut the words into pieces, expected the features: the axis to cut is the last.": lambda x, h: torch.stack(
            x.chunk(h, 1), 1
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
        "Your heads are laid in the reverse order: head 0 comes first.": lambda x: x.flip(1).transpose(1, 2).flatten(2),
        "You take the mean of the heads: they are laid side by side.": lambda x: x.mean(1),
        "You add the heads up: they are laid side by side.": lambda x: x.sum(1),
        "The heads are laid one after the other in time: (B, h·T, K).": lambda x: x.flatten(1, 2),
        "The heads are transposed, but not yet joined: (B, T, h, K).": lambda x: x.transpose(1, 2),
        "The last head is left out: all h of them are laid side by side.": lambda x: (
            x[:, :-1].transpose(1, 2).flatten(2)
        ),
        "You exchange words and features of a head, expected words and heads: transpose(1, 2).": lambda x: x.mT.reshape(
            x.size(0), x.size(2), -1
        ),
        "You exchange heads and features, expected heads and words: transpose(1, 2).": lambda x: x.transpose(
            1, 3
        ).flatten(2),
        "You exchange heads and batch, expected heads and words: transpose(1, 2).": lambda x: x.transpose(0, 1).flatten(
            2
        ),
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


def _multi_head(
    x, memory, W, h,
    scale=False, count=False, unscaled=False, squared=False, times=False, output=False, one=False, transposed=False,
    axis=False, itself=False, asked=False, view=False, merged=False, turned=False, added=False,
):  # fmt: skip
    W = {name: matrix.mT for name, matrix in W.items()} if transposed else W
    source = x if itself or asked else memory
    q, k, v = ((memory if asked else x) @ W["Q"], source @ W["K"], source @ W["V"])
    n = 1 if one else h
    if view:
        q, k, v = (a.reshape(len(a), n, a.size(1), -1) for a in (q, k, v))
    else:
        q, k, v = (a.unflatten(-1, (n, -1)).transpose(1, 2) for a in (q, k, v))
    root = math.sqrt(x.size(-1) if scale else h if count else q.size(-1))
    divisor = 1 if unscaled else root**2 if squared else 1 / root if times else root
    scores = q @ (k.permute(3, 2, 1, 0) if turned else k.mT) / divisor
    mixed = scores.softmax(-2 if axis else -1) @ v
    joined = mixed.reshape(len(x), mixed.size(2), -1) if merged else mixed.transpose(1, 2).flatten(2)
    result = joined if output else joined @ W["O"]
    return x + result if added else result


multi_head.knobs(
    _multi_head,
    scale="You scale by √d_model: a head has only d/h features, so √(d/h).",
    unscaled="Your scores are not scaled: divide by √(d/h), the root of a head's size.",
    squared="You divide by d/h, the size of a head, expected its root.",
    times="You multiply by √(d/h), expected a division.",
    count="You scale by √h, the number of heads, expected √(d/h), the root of a head's size.",
    output="The output matrix W_O is missing: without it the heads never meet.",
    one="There is only one head: split the features before the scores.",
    transposed="You multiply by the transposed matrices: x @ W, as in the paper.",
    axis="Your weights sum to 1 over the queries: the softmax is on the wrong axis.",
    itself="Keys and values come from x, expected memory.",
    asked="Queries come from memory, keys and values from x: it is x that asks, and memory that answers.",
    view="You split the heads by one view, (B, h, T, K): that cuts *time*. View as (B, T, h, K), then transpose.",
    merged="The heads are merged without transposing first: that mixes *time*.",
    turned="k.T turns round all four axes: k.mT exchanges the last two.",
    added="You add x: the residual is not part of attention.",
)  # fmt: skip


def _values_from_x(x, memory, W, h):
    q, k, v = ((s @ W[n]).unflatten(-1, (h, -1)).transpose(1, 2) for s, n in ((x, "Q"), (memory, "K"), (x, "V")))
    return ((q @ k.mT / math.sqrt(q.size(-1))).softmax(-1) @ v).transpose(1, 2).flatten(2) @ W["O"]


def _heads_behind(x, memory, W, h):
    q, k, v = ((s @ W[n]).unflatten(-1, (h, -1)) for s, n in ((x, "Q"), (memory, "K"), (memory, "V")))
    return ((q @ k.mT / math.sqrt(q.size(-1))).softmax(-1) @ v).flatten(2) @ W["O"]


def _heads_reversed(x, memory, W, h):
    q, k, v = ((s @ W[n]).unflatten(-1, (h, -1)).transpose(1, 2) for s, n in ((x, "Q"), (memory, "K"), (memory, "V")))
    mixed = (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1) @ v
    return mixed.flip(1).transpose(1, 2).flatten(2) @ W["O"]


def _one_head_scaled_as_many(x, memory, W, h):
    q, k, v = x @ W["Q"], memory @ W["K"], memory @ W["V"]
    return (q @ k.mT / math.sqrt(x.size(-1) // h)).softmax(-1) @ v @ W["O"]


multi_head.mistakes(
    {
        "The values come from x, expected memory: keys and values belong together.": _values_from_x,
        "The heads stay behind the words, (B, T, h, K), and attend to each other within a word: transpose(1, 2) before "
        "the scores.": _heads_behind,
        "Your heads stand in the reverse order before W_O: head 0 comes first.": _heads_reversed,
        "The scale is right, but there is only one head: split the features before the scores.": (
            _one_head_scaled_as_many
        ),
        'W["Q"] and W["K"] have changed places: queries are x @ W["Q"], keys memory @ W["K"].': (
            lambda x, memory, W, h: multi_head.reference(x, memory, W | {"Q": W["K"], "K": W["Q"]}, h)
        ),
        'Your values are multiplied by W["K"], expected W["V"].': lambda x, memory, W, h: multi_head.reference(
            x, memory, W | {"V": W["K"]}, h
        ),
        'The values are not projected: they are memory @ W["V"].': lambda x, memory, W, h: multi_head.reference(
            x, memory, W | {"V": torch.eye(len(W["V"]), dtype=x.dtype)}, h
        ),
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


def _shapes(
    B, T, S, d, h,
    turned=False, whole=False, source=False, no_heads=False, behind=False, swapped=False, tall=False, per_head=False,
    narrow=False,
):  # fmt: skip
    size = d if whole else d // h
    q, k = ((B, n, h, size) if behind else (B, h, n, size) for n in ((S, T) if swapped else (T, S)))
    k = (*k[:-2], k[-1], k[-2]) if tall else k
    rows, columns = (S, T) if turned else (T, S)
    scores = (B, rows, columns) if no_heads else (B, h, rows, columns)
    words = S if source else T
    return q, k, scores, (B, h, words, size) if per_head else (B, words, d // h if narrow else d)


cross_shapes.knobs(
    _shapes,
    turned="Your scores are S × T: rows are queries, columns are keys.",
    whole="Your heads have all d features: each has d/h.",
    source="The output has one row for each word of the source, expected one for each query.",
    behind="The heads of q and k stand behind the words: transpose, so that they come second.",
    no_heads="The scores lack the axis of the heads: each head has its own.",
    swapped="q and k have changed places: queries are the target's T words, keys the source's S.",
    tall="Your k is transposed already: k itself is (B, h, S, d/h), and only the scores take k.mT.",
    per_head="Your output still has its heads: they are merged before W_O, so it is (B, T, d).",
    narrow="Your output has the width of one head: side by side the heads have d features again.",
)  # fmt: skip
cross_shapes.mistakes(
    {
        "d / h is a float, and sizes are whole: d // h.": lambda B, T, S, d, h: (
            (B, h, T, d / h), (B, h, S, d / h), (B, h, T, S), (B, T, d)
        ),
        "Your k and scores are those of self-attention: here keys come from the source, S.": lambda B, T, S, d, h: (
            cross_shapes.reference(B, T, T, d, h)
        ),
        "Your scores are T × T: the columns are the keys, one for each word of the source.": lambda B, T, S, d, h: (
            *cross_shapes.reference(B, T, S, d, h)[:2], (B, h, T, T), (B, T, d)
        ),
        "Queries come from the source here, and keys from the target: it is the target that asks.": (
            lambda B, T, S, d, h: cross_shapes.reference(B, S, T, d, h)
        ),
        "There is no axis of heads: after the split q, k and the scores have h as their second axis.": (
            lambda B, T, S, d, h: ((B, T, d // h), (B, S, d // h), (B, T, S), (B, T, d))
        ),
        "The heads stand before the batch: they are the second axis, after B.": lambda B, T, S, d, h: (
            (h, B, T, d // h), (h, B, S, d // h), (h, B, T, S), (B, T, d)
        ),
        "The batch is missing: every shape begins with B.": lambda B, T, S, d, h: (
            (h, T, d // h), (h, S, d // h), (h, T, S), (T, d)
        ),
        "You have d/h heads of size h, expected h heads of size d/h.": lambda B, T, S, d, h: (
            (B, d // h, T, h), (B, d // h, S, h), (B, d // h, T, S), (B, T, d)
        ),
    }
)  # fmt: skip


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
attention_parameters.mistakes(
    {
        "You multiply the matrices by the number of heads, but each is h times smaller: that cancels.": (
            lambda d, h, bias: 4 * h * d * d + 4 * d * bias
        ),
        "The bias of W_O is forgotten: with biases each of the four matrices has one.": lambda d, h, bias: (
            4 * d * d + 3 * d * bias
        ),
        "W_O is forgotten, though its bias is counted: there are four matrices of d × d.": lambda d, h, bias: (
            3 * d * d + 4 * d * bias
        ),
        "Your biases are those of one head, d/h numbers: all h heads together have d for each matrix.": (
            lambda d, h, bias: 4 * d * d + (3 * d // h + d) * bias
        ),
        "Queries, keys and values are counted for one head alone: h heads together have d × d for each.": (
            lambda d, h, bias: 3 * d * d // h + d * d + (3 * d // h + d) * bias
        ),
        "The biases are counted where there are none, and left out where there are: turn the condition round.": (
            lambda d, h, bias: 4 * d * d + 4 * d * (not bias)
        ),
        "Biases are counted whatever `bias` says: there are none where it is False.": lambda d, h, bias: (
            4 * d * d + 4 * d
        ),
        "A bias is a vector of d numbers, not one number.": lambda d, h, bias: 4 * d * d + 4 * bias,
        "`bias` is counted as a number: each of the four matrices has a bias of d numbers.": lambda d, h, bias: (
            4 * d * d + bias
        ),
        "You multiply the biases by the number of heads: a bias has d numbers for all heads together.": (
            lambda d, h, bias: 4 * d * d + 4 * d * h * bias
        ),
        "Each head has full matrices of d × d here, expected d × d/h: together the heads have d × d.": (
            lambda d, h, bias: 3 * h * d * d + d * d + (3 * h * d + d) * bias
        ),
        "A head's matrix is d × d/h, not d/h × d/h: it reads all features of a word.": lambda d, h, bias: (
            4 * d * d // h + 4 * d * bias
        ),
    }
)
