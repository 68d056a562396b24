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
        "ids.size(-1) is the number of words: d_model is the size of a vector, table.size(1).": (
            lambda ids, table: table[ids] * math.sqrt(ids.size(-1))
        ),
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


def vocabularies(draw: Draw) -> Iterator[Arguments]:
    """Tables whose vectors have very different lengths; in the first, two words point the same way."""
    same = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=draw.dtype)
    for word in (1, 0):  # so that the first place of an order, by sort or by topk, is not always the word itself
        yield same, word, 1
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
    """Ids (k,) of the k other words whose vectors in table (V, D) point most nearly the way of word id's, nearest
    first."""
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
        "The first of topk need not be the word itself: another may point the same way. Leave out place id.": (
            lambda table, id, k: _cosines(table, id).topk(k + 1).indices[1:]
        ),
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


def classes(draw: Draw) -> Iterator[Arguments]:
    """Tables whose vectors have very different lengths, and a number for the kind of each word; in the first all words
    point away from each other, so that every cosine is negative."""
    away = torch.tensor([[4.0, 3.0, 4.0], [1.0, -1.2, -1.0], [-0.3, 0.2, -0.25], [-2.0, -2.0, 1.6]], dtype=draw.dtype)
    yield away, torch.tensor([0, 0, 1, 1])
    for n, d in ((6, 2), (12, 3), (20, 4), (30, 3)):
        yield draw.normal(n, d) * draw.normal(n, 1).exp() + 0.5, draw.ids(3, n)


@exercise(
    "1.4",
    classes,
    hints=[
        "Make all rows one long: unit @ unit.mT then holds the cosine of every word with every word, (V, V).",
        "A word is most like itself: put −∞ on the diagonal, then take the argmax of each row.",
        "kinds[nearest] are the kinds of the nearest words; how often do they equal kinds?",
    ],
)
def share_alike(table, kinds):
    """The share of the words whose nearest other word in table (V, D), by the cosine, is of their own kind: a number
    from 0 to 1. kinds (V,) has a number for each word, such as the gender of its translation."""
    unit = table / table.norm(dim=-1, keepdim=True)
    similarity = unit @ unit.mT  # (V, V)
    similarity.fill_diagonal_(-math.inf)  # a word is no neighbour of itself
    nearest = similarity.argmax(-1)  # (V,)
    return (kinds == kinds[nearest]).double().mean().item()


def _alike(
    table, kinds,
    itself=False, dot=False, farthest=False, count=False, pairs=False, zero=False, places=False,
):  # fmt: skip
    unit = table if dot else F.normalize(table, dim=-1)
    similarity = unit @ unit.mT * (-1 if farthest else 1)
    if not itself:
        similarity = similarity.fill_diagonal_(0.0 if zero else -math.inf)
    nearest = similarity.argmax(-1)
    equal = kinds == (nearest if places else kinds[nearest])
    if pairs:  # two words that are each other's nearest
        equal = equal & (nearest[nearest] == torch.arange(len(kinds)))
    return equal.sum().item() if count else equal.double().mean().item()


share_alike.knobs(
    _alike,
    itself="The nearest word is always the word itself: leave the diagonal out.",
    dot="You compare dot products, not cosines: long vectors are everybody's neighbours. Divide by the lengths.",
    farthest="You take the word that is most unlike: the largest cosine, not the smallest.",
    count="You return how many words it is, expected their share: divide by the number of words.",
    pairs="You ask that two words are each other's nearest: it is enough that one has the other.",
    zero="A cosine goes down to −1, so with 0 on the diagonal a word may be its own nearest: use −∞.",
    places="You compare kinds with places: nearest says where the nearest words stand, and kinds has their kinds.",
)
share_alike.mistakes(
    {
        "You measure the distance between points: the cosine is about directions.": lambda table, kinds: (
            (kinds == kinds[torch.cdist(table, table).fill_diagonal_(math.inf).argmin(-1)]).double().mean().item()
        ),
        "This is the share of pairs of one kind, near or not: it says what chance would give.": lambda table, kinds: (
            ((kinds[:, None] == kinds).sum() - len(kinds)).item() / (len(kinds) * (len(kinds) - 1))
        ),
    }
)


def words_and_merges(draw: Draw) -> Iterator[Arguments]:
    """Words, and pairs that were learned, in order: some that overlap, some that do not occur, and once none."""
    yield "cab", [("c", "a"), ("a", "b")]
    yield "abc", [("b", "c"), ("a", "b")]
    yield "new", []
    yield "banana", [("a", "n"), ("an", "a"), ("b", "an")]
    yield "aaaaa", [("a", "a"), ("aa", "a")]
    yield "suitcases", [("s", "e"), ("x", "y"), ("a", "se"), ("c", "ase"), ("ase", "s"), ("case", "s")]
    yield "staircase", [("s", "t"), ("a", "s"), ("as", "e"), ("c", "a"), ("c", "ase"), ("t", "a"), ("st", "a")]


@exercise(
    "1.5",
    words_and_merges,
    hints=[
        "For each pair, in the order of merges, walk through the pieces from the left, and fill a new list.",
        "Where its last piece and the next one are the pair, make them one; else append the next. That is fuse, above.",
    ],
)
def cut_word(word, merges):
    """The pieces of a word by byte-pair encoding, a list of strings. At first they are its letters; then each pair of
    merges, in the order in which they were learned, becomes one piece wherever it stands, from the left."""
    pieces = list(word)
    for pair in merges:
        fused = []
        for piece in pieces:
            if fused and (fused[-1], piece) == pair:
                fused[-1] += piece
            else:
                fused.append(piece)
        pieces = fused
    return pieces


def _cut_word(word, merges, backwards=False, once=False, stops=False, keeps=False, lost=False):
    pieces = list(word)
    for pair in reversed(merges) if backwards else merges:
        out, i, found = [], 0, 0
        while i < len(pieces) - lost:
            is_pair = tuple(pieces[i : i + 2]) == pair and not (once and found)
            found += is_pair
            out.append("".join(pair) if is_pair else pieces[i])
            i += 2 if is_pair and not keeps else 1
        if stops and not found:
            break
        pieces = out
    return pieces


def _longest(word, merges):
    known = {"".join(pair) for pair in merges}
    pieces = []
    while word:
        size = max([n for n in range(2, len(word) + 1) if word[:n] in known], default=1)
        pieces, word = [*pieces, word[:size]], word[size:]
    return pieces


def _by_replace(word, merges):
    text = " ".join(word)
    for pair in merges:
        text = text.replace(" ".join(pair), "".join(pair))
    return text.split()


def _from_the_right(word, merges):
    mirrored = [(second[::-1], first[::-1]) for first, second in merges]
    return [piece[::-1] for piece in cut_word.reference(word[::-1], mirrored)][::-1]


def _leftmost(word, merges):
    pieces = list(word)
    while places := [i for i in range(len(pieces) - 1) if tuple(pieces[i : i + 2]) in merges]:
        i = places[0]
        pieces[i : i + 2] = ["".join(pieces[i : i + 2])]
    return pieces


cut_word.knobs(
    _cut_word,
    backwards="You apply the merges from the last to the first: they go in the order in which they were learned.",
    once="You merge a pair only once in a word, expected wherever it stands.",
    stops="You stop at the first pair that the word does not have: go on with the next.",
    keeps="The second piece of the pair is still there: step over both.",
    lost="The last piece is lost where no pair ends there.",
)
cut_word.mistakes(
    {
        "You take the longest known piece from the left: pieces are made by the merges, in their order.": _longest,
        "You merge whatever pair stands leftmost: the one that was learned first goes first, in the whole word.": (
            _leftmost
        ),
        "replace also finds the pair inside longer pieces: compare whole pieces.": _by_replace,
        "You merge from the right: where pairs overlap, the left one comes first.": _from_the_right,
    }
)


def looked_up(draw: Draw) -> Iterator[Arguments]:
    """Ids, some of them more than once and some never, and the gradient at each place."""
    for ids, V in (([1, 1], 3), ([2, 0, 2, 2], 4), ([3, 1, 3, 0, 1], 5), ([0, 4, 2], 5)):
        yield torch.tensor(ids), draw.normal(len(ids), 3 + len(ids) % 2), V


@exercise(
    "1.6",
    looked_up,
    hints=[
        "Row i of the table went wherever id i stands; by the rule for sums, what comes back from there is added.",
        "Begin with zeros (V, D) and walk through the words; or index_add_(0, ids, upstream) on these zeros.",
    ],
)
def lookup_gradient(ids, upstream, V):
    """The gradient (V, D) of the loss by a table with V rows, of which the rows ids (T,) were looked up; upstream
    (T, D) is its gradient by the vectors that came out."""
    gradient = torch.zeros(V, upstream.size(-1), dtype=upstream.dtype)
    for t in range(len(ids)):
        gradient[ids[t]] += upstream[t]
    return gradient


def _lookup_gradient(ids, upstream, V, last=False, mean=False, before=False, scaled=False):
    one_hot = F.one_hot((ids - 1) % V if before else ids, V).to(upstream.dtype)  # (T, V)
    if last:  # of several places only the last
        one_hot = one_hot * (one_hot.flip(0).cumsum(0).flip(0) == 1)
    gradient = one_hot.mT @ upstream
    gradient = gradient / one_hot.sum(0).clamp(min=1)[:, None] if mean else gradient
    return gradient * math.sqrt(upstream.size(-1)) if scaled else gradient


lookup_gradient.knobs(
    _lookup_gradient,
    last="A word that stands twice keeps its last gradient only: add up what comes from each place.",
    mean="You take the mean over the places of a word: what comes back from each is added.",
    before="Each gradient goes to the row before its own: ids count from 0.",
    scaled="You multiply by √d_model: here the rows were looked up and not scaled.",
)
lookup_gradient.mistakes(
    {
        "You give the gradient of each word, (T, D): the table has V rows, most of which get nothing.": (
            lambda ids, upstream, V: upstream.clone()
        ),
        "scatter_add_ takes one index for each number, so ids[:, None] reaches the first feature alone: give it "
        "ids[:, None].expand_as(upstream), or take index_add_.": lambda ids, upstream, V: upstream.new_zeros(
            V, upstream.size(-1)
        ).scatter_add_(0, ids[:, None], upstream),
        "You look rows of the gradient up: here words go back into the table.": lambda ids, upstream, V: F.pad(
            upstream, (0, 0, 0, V)
        )[ids],
        "Every row gets the whole gradient: a row that nobody looked up learns nothing from reading.": (
            lambda ids, upstream, V: upstream.sum(0).expand(V, -1).clone()
        ),
    }
)
