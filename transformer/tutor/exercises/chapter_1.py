"""Exercises of chapter 1, embeddings."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def lookups(draw: Draw) -> Iterator[Arguments]:
    """Ids and tables: one sentence without a batch, as a batch of one, and several; in some as many words as rows."""
    yield torch.tensor([0, 2]), draw.normal(4, 3)
    yield draw.ids(5, 2, 3), draw.normal(6, 4)
    yield torch.tensor([3, 0, 0, 1]), draw.normal(4, 3)
    yield torch.tensor([[0, 1, 3, 3], [2, 0, 3, 3]]), draw.normal(4, 5)
    yield torch.tensor([[2, 1, 0]]), draw.normal(4, 3)  # a squeeze would take the axis of the batch


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


def _rows(
    ids, n, early=False, short=False, columns=False, counts=False, ids_as_ones=False, sentences=False, every=False
):
    rows = F.one_hot(ids) if short else F.one_hot(ids, n + 1)[..., 1:] if early else F.one_hot(ids, n)
    if every:
        rows[..., ids] = 1
    if ids_as_ones:
        rows = rows * ids[..., None]
    if sentences and ids.dim() > 1:
        rows = rows.amax(1)  # what rows[t, id] = 1 comes to, where id is a whole sentence
    return rows.mT if columns else rows.sum(-2) if counts else rows


def _look_up(ids, table, scaled=False, **wrong_rows):
    vectors = _rows(ids, len(table), **wrong_rows).to(table.dtype) @ table
    return vectors * math.sqrt(table.size(1)) if scaled else vectors


one_hot_lookup.knobs(
    _look_up,
    scaled="The factor √d_model belongs to the next exercise: here a vector leaves the table unchanged.",
    early="The 1 stands one place too early, and id 0 has none: ids count from 0.",
    short="Your rows are only as long as the largest id: give one_hot the size of the vocabulary.",
    columns="The one-hot vectors stand in the columns: one row per word, one column per entry of the vocabulary.",
    counts="You have added up the words of a sentence: each word keeps its own vector.",
    ids_as_ones="The id itself stands where a one-hot row has a 1.",
    sentences="Your loop takes each sentence of a batch for one word: flatten ids first, and restore the shape last.",
    every="Each of your rows has a 1 for every word there is in ids: one row, one word, one 1.",
)
one_hot_lookup.mistakes(
    {
        "One-hot rows are integers, and the table is not: convert them with .to(table.dtype) before you multiply.": (
            lambda ids, table: F.one_hot(ids, table.size(0)) @ table
        ),
        "Your rows are as long as a vector, table.size(1): they need one place for each word, table.size(0).": (
            lambda ids, table: F.one_hot(ids, table.size(1)).to(table.dtype) @ table
        ),
        "Do not transpose the table: rows (…, V) @ table (V, D) picks its rows.": (
            lambda ids, table: F.one_hot(ids, table.size(0)).to(table.dtype) @ table.T
        ),
        "table[ids] has looked the words up already: here the rows are to be one-hot, zeros with a single 1.": (
            lambda ids, table: table[ids] @ table
        ),
        "Each id takes the row before its own: ids count from 0.": lambda ids, table: table[ids - 1],
        "Your result is transposed: the last axis must be the features.": (
            lambda ids, table: (F.one_hot(ids, table.size(0)).to(table.dtype) @ table).mT
        ),
    }
)
one_hot_lookup.also_right(
    lambda ids, table: table[ids],
    lambda ids, table: F.embedding(ids, table),
    lambda ids, table: torch.einsum("...v,vd->...d", F.one_hot(ids, len(table)).to(table), table),
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
    unscaled="The vectors are not scaled: beside the position they are too small by a factor √d_model.",
    divided="You divide by √d_model: that is for the scores of attention, an embedding is multiplied.",
    whole="The factor is d_model, expected its square root.",
    vocabulary="The factor comes from the number of words, expected the number of features d_model.",
    before="Each id takes the row before its own: ids count from 0.",
)
embed.mistakes(
    {
        "√512 is right for one width only: take the root of table.size(1).": (
            lambda ids, table: table[ids] * math.sqrt(512)
        ),
        "int() cuts the digits of the root off: keep them.": (
            lambda ids, table: table[ids] * int(math.sqrt(table.size(1)))
        ),
        "A power comes before a division: d ** 1 / 2 is d / 2. Write d ** 0.5.": (
            lambda ids, table: table[ids] * table.size(1) / 2
        ),
        "You give all vectors one length: keep their own lengths, and only multiply by √d_model.": (
            lambda ids, table: F.normalize(table[ids], dim=-1) * math.sqrt(table.size(1))
        ),
        "table[:, ids] takes columns: a word is a row, table[ids].": (
            lambda ids, table: table[:, ids] * math.sqrt(table.size(1))
        ),
    }
)
embed.also_right(
    lambda ids, table: F.embedding(ids, table) * table.size(-1) ** 0.5,
    lambda ids, table: F.embedding(ids, table.clone().mul_(table.shape[1] ** 0.5)),
)


def vocabularies(draw: Draw) -> Iterator[Arguments]:
    """Tables whose vectors have very different lengths; in the first, two words point the same way."""
    same = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=draw.dtype)
    yield same, 1, 1  # so that the first place of an order is not always the word itself
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


def _neighbours(
    table, id, k, dot=False, distance=False, size=False, farthest=False, itself=False, first=False, zero=False
):
    unit = table if dot else F.normalize(table, dim=-1)
    similarity = -(table - table[id]).norm(dim=-1) if distance else unit @ unit[id]
    similarity = similarity.abs() if size else -similarity if farthest else similarity
    if first:
        return similarity.argsort(descending=True)[1 : k + 1]
    if not itself:
        similarity[id] = 0.0 if zero else -math.inf
    return similarity.topk(k).indices


def _cosines(table, id):
    return F.cosine_similarity(table, table[id], dim=-1)


def _without_its_row(table, id, k):
    others = torch.cat([table[:id], table[id + 1 :]])
    return F.cosine_similarity(others, table[id], dim=-1).topk(k).indices


cosine_neighbours.knobs(
    _neighbours,
    dot="You compare dot products, not cosines: long vectors win. Divide by the lengths.",
    distance="You measure the distance between points: the cosine is about directions.",
    size="The absolute value makes a word that points the opposite way a near one: keep the sign.",
    farthest="These are the words that are most unlike: take the largest cosines, not the smallest.",
    itself="The word itself is among its neighbours: leave it out.",
    first="The first place need not be the word itself: another may point the same way. Leave out place id.",
    zero="A cosine goes down to −1, so with 0 the word itself comes before others: use −∞.",
)
cosine_neighbours.mistakes(
    {
        "argsort begins with the smallest: these are the words that are most unlike. Sort with descending=True.": (
            lambda table, id, k: _cosines(table, id).argsort()[1 : k + 1]
        ),
        "One word is missing: the slice [1:k] has k − 1 places.": (
            lambda table, id, k: _cosines(table, id).argsort(descending=True)[1:k]
        ),
        "One word too many: the word itself was left out before, so the first k are the neighbours.": (
            lambda table, id, k: _neighbours(table, id, k + 1)
        ),
        "You return all words in order: only the k nearest are asked for, without the word itself.": (
            lambda table, id, k: _cosines(table, id).argsort(descending=True)
        ),
        "topk gives two things, values and indices: the ids are its .indices.": (
            lambda table, id, k: _cosines(table, id).index_fill(0, torch.tensor(id), -math.inf).topk(k)
        ),
        "You cut the word's row out: all later words have moved up by one, and their places are no longer their ids.": (
            _without_its_row
        ),
        "You divide by the square of a length: the cosine has the length itself, the root of the sum of squares.": (
            lambda table, id, k: _neighbours(table / table.norm(dim=-1, keepdim=True) ** 2, id, k, dot=True)
        ),
        "You take the mean away first: here the vectors stay as they are.": lambda table, id, k: _neighbours(
            table - table.mean(0), id, k
        ),
        "You return the cosines, expected the ids of the words.": lambda table, id, k: (
            _cosines(table, id).sort(descending=True).values[1 : k + 1]
        ),
        "The right words in the wrong order: nearest first.": lambda table, id, k: _neighbours(table, id, k).flip(0),
    }
)
cosine_neighbours.also_right(
    lambda table, id, k: (-_cosines(table, id)).index_fill(0, torch.tensor(id), math.inf).argsort()[:k],
)
