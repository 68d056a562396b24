"""Exercises of chapter 1, embeddings."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def lookups(draw: Draw) -> Iterator[Arguments]:
    """Ids and tables; in the last ones as many words as rows, where an exchange of axes goes unnoticed."""
    yield torch.tensor([0, 2]), draw.normal(4, 3)
    yield draw.ids(5, 2, 3), draw.normal(6, 4)
    yield torch.tensor([3, 0, 0, 1]), draw.normal(4, 3)
    yield torch.tensor([[0, 1, 3, 3], [2, 0, 3, 3]]), draw.normal(4, 5)


@exercise(
    "1.1",
    lookups,
    hints=[
        "torch.nn.functional.one_hot(ids, n) gives rows of n zeros with a single 1. How long must a row be here?",
        "One-hot rows are integers; give them the dtype of the table before you multiply.",
    ],
    given="""
        rows = ...  # one-hot, as long as the vocabulary: (…, V)
        return rows @ table
    """,
)
def one_hot_lookup(ids, table):
    """Look ids (…) up in a table (V, D) by a product of matrices: (…, D)."""
    rows = torch.nn.functional.one_hot(ids, table.size(0)).to(table.dtype)
    return rows @ table


def _counts(ids, table):
    return F.one_hot(ids, table.size(0)).to(table.dtype).sum(-2) @ table


one_hot_lookup.mistakes(
    {
        "The one-hot vectors stand in the columns: one row per word, one column per entry of the vocabulary.": (
            lambda ids, table: F.one_hot(ids, table.size(0)).to(table.dtype).mT @ table
        ),
        "Your rows are only as long as the largest id: give one_hot the size of the vocabulary.": (
            lambda ids, table: F.one_hot(ids).to(table.dtype) @ table
        ),
        "You have added up the words of a sentence: each word keeps its own vector.": _counts,
        "Each id takes the row before its own: ids count from 0.": lambda ids, table: table[ids - 1],
        "Your result is transposed: the last axis must be the features.": (
            lambda ids, table: (F.one_hot(ids, table.size(0)).to(table.dtype) @ table).mT
        ),
    }
)


@exercise(
    "1.2",
    lookups,
    hints=["A tensor can be indexed with a tensor of ids.", "The factor is √d_model; d_model is table.size(1)."],
)
def embed(ids, table):
    """Look ids (…) up in a table (V, D) and scale as the paper does in §3.4: (…, D)."""
    return table[ids] * math.sqrt(table.size(1))


def _embed(ids, table, unscaled=False, divided=False, whole=False, vocabulary=False, before=False):
    size = table.size(0) if vocabulary else table.size(1)
    factor = 1 if unscaled else size if whole else math.sqrt(size)
    vectors = table[ids - 1 if before else ids]
    return vectors / factor if divided else vectors * factor


embed.knobs(
    _embed,
    unscaled="The vectors are not scaled: they are √d_model too small next to the position.",
    divided="You divide by √d_model: that is for the scores of attention, an embedding is multiplied.",
    whole="The factor is d_model, expected its square root.",
    vocabulary="The factor comes from the number of words, expected the number of features d_model.",
    before="Each id takes the row before its own: ids count from 0.",
)


def vocabularies(draw: Draw) -> Iterator[Arguments]:
    """Tables whose vectors have very different lengths."""
    for n, d, word, k in ((7, 3, 2, 6), (9, 4, 0, 4), (12, 3, 11, 5)):
        yield draw.normal(n, d) * draw.normal(n, 1).exp(), word, k


@exercise(
    "1.3",
    vocabularies,
    hints=[
        "The cosine is the dot product of two vectors that have been divided by their lengths.",
        "tensor.topk(k).indices gives the places of the k largest; put −∞ where the word itself stands.",
    ],
)
def cosine_neighbours(table, id, k):
    """Ids (k,) of the k words whose vectors in table (V, D) point most nearly the way of word id's, nearest first."""
    unit = table / table.norm(dim=-1, keepdim=True)
    similarity = unit @ unit[id]
    similarity[id] = -math.inf  # a word is no neighbour of itself
    return similarity.topk(k).indices


def _neighbours(table, id, k, dot=False, itself=False, farthest=False):
    unit = table if dot else F.normalize(table, dim=-1)
    similarity = unit @ unit[id]
    similarity = -similarity if farthest else similarity
    if not itself:
        similarity[id] = -math.inf
    return similarity.topk(k).indices


def _nearest_points(table, id, k):
    distance = (table - table[id]).norm(dim=-1)
    return distance.argsort()[1 : k + 1]


cosine_neighbours.knobs(
    _neighbours,
    dot="You compare dot products, not cosines: long vectors win. Divide by the lengths.",
    itself="The word itself is among its neighbours: leave it out.",
    farthest="These are the words that are most unlike: take the largest cosines, not the smallest.",
)
cosine_neighbours.mistakes(
    {
        "You measure the distance between points: the cosine is about directions.": _nearest_points,
        "You take the mean away first: here the vectors stay as they are.": lambda table, id, k: _neighbours(
            table - table.mean(0), id, k
        ),
        "You return the cosines, expected the ids of the words.": lambda table, id, k: (
            F.cosine_similarity(table, table[id], dim=-1).sort(descending=True).values[1 : k + 1]
        ),
        "The right words in the wrong order: nearest first.": lambda table, id, k: (
            F.cosine_similarity(table, table[id], dim=-1).argsort(descending=True)[1 : k + 1].flip(0)
        ),
    }
)
