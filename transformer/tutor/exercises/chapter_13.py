"""Exercises of chapter 13, beyond translation."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def written_trees(draw: Draw) -> Iterator[Arguments]:
    """Trees as lists of symbols: a phrase alone, phrases in a row, phrases in one another."""
    yield ([1, 0, 0, -1],)
    yield ([1, 2, 0, 0, -1, 3, 0, -1, 0, -1],)
    yield ([1, 2, 0, -1, 3, 0, 2, 0, 0, -1, 4, 0, 2, 0, -1, -1, -1, 0, -1],)
    yield ([5, 5, 0, -1, 6, 6, 0, 0, -1, -1, -1],)


@exercise(
    "13.1",
    written_trees,
    hints=[
        "Keep a list of the phrases that are open, each with the place at which it began.",
        "A place is counted in words: only a 0 moves it on. What closes is the phrase opened last.",
    ],
)
def spans(symbols):
    """The brackets of a tree that is written as a list of numbers: k > 0 opens a phrase of kind k, 0 is a word, −1
    closes the phrase that was opened last. A list of (kind, start, end), in the order in which they close; start and
    end count words, the end not included."""
    waiting, found, place = [], [], 0
    for symbol in symbols:
        if symbol > 0:
            waiting.append((symbol, place))
        elif symbol < 0:
            kind, start = waiting.pop()
            found.append((kind, start, place))
        else:
            place += 1
    return found


def _spans(symbols, pop=-1, every=False, one=lambda kind, start, end: (kind, start, end), late=False):
    """Brackets of another phrase (pop: its place among those that are open; None leaves it there), places or form."""
    waiting, found, place = [], [], 0
    for symbol in symbols:
        if symbol > 0:
            waiting.append((symbol, place))
        elif symbol < 0:
            kind, start = waiting[-1] if pop is None else waiting.pop(pop)
            found.append(one(kind, start, place))
        if every or symbol == 0 or (late and symbol > 0):
            place += 1
    return found


def _as_they_open(symbols):
    waiting, found, place = [], [], 0
    for symbol in symbols:
        if symbol > 0:
            found.append([symbol, place])
            waiting.append(found[-1])
        elif symbol < 0:
            waiting.pop().append(place)
        else:
            place += 1
    return found


def _places_of_kinds(symbols):
    waiting, found, start, place = [], [], 0, 0
    for symbol in symbols:
        if symbol > 0:
            waiting.append(symbol)
            start = place
        elif symbol < 0:
            found.append((waiting.pop(), start, place))
        else:
            place += 1
    return found


def _words_open_phrases(symbols):
    waiting, found, place = [], [], 0
    for symbol in symbols:
        if symbol >= 0:
            waiting.append((symbol, place))
            place += symbol == 0
        else:
            found.append((*waiting.pop(), place))
    return found


def _spans_with(symbols, first=False, every=False, inclusive=False):
    found = _spans(symbols, pop=0 if first else -1, every=every)
    return [(kind, start, end - inclusive) for kind, start, end in found]


spans.knobs(
    _spans_with,
    first="You close the phrase that was opened first, expected the one that was opened last.",
    every="Your places count all symbols, expected words only.",
    inclusive="Your end is the last word of the phrase, expected the place behind it.",
)
spans.mistakes(
    {
        "Your brackets stand in the order in which they open, expected the order in which they close.": _as_they_open,
        "The three stand in another order: a bracket is (kind, start, end).": (
            lambda symbols: _spans(symbols, one=lambda kind, start, end: (start, end, kind))
        ),
        "Your third number is the length of the phrase, expected its end: the place behind its last word.": (
            lambda symbols: _spans(symbols, one=lambda kind, start, end: (kind, start, end - start))
        ),
        "What opens a phrase moves your places on, too: only a word, 0, does.": lambda symbols: _spans(
            symbols, late=True
        ),
        "Words are counted from 0: the first one has the place 0.": (
            lambda symbols: _spans(symbols, one=lambda kind, start, end: (kind, start + 1, end + 1))
        ),
        "Your start is one too large: a phrase begins at the next word, whose place is the number of words so far.": (
            lambda symbols: _spans(symbols, one=lambda kind, start, end: (kind, start + 1, end))
        ),
        "A phrase that closes stays open with you: take it off the list with pop().": (
            lambda symbols: _spans(symbols, pop=None)
        ),
        "Your start is that of the phrase opened last, even if another one closes: keep each start beside its kind.": (
            _places_of_kinds
        ),
        "Words go on your list of open phrases: only numbers above 0 open one.": _words_open_phrases,
        "Your brackets are sorted, expected in the order in which they close.": lambda symbols: sorted(_spans(symbols)),
        "A set keeps neither the order nor two equal brackets: collect them in a list, as they close.": (
            lambda symbols: sorted(set(_spans(symbols)))
        ),
        "Your brackets stand in the reverse order: append each one as it closes.": lambda symbols: _spans(symbols)[
            ::-1
        ],
        "The outermost phrase is missing: it is a bracket like the others.": lambda symbols: _spans(symbols)[:-1],
        "Of two phrases over the same words you keep one: both are brackets.": lambda symbols: list(
            {one[1:]: one for one in reversed(_spans(symbols))}.values()
        )[::-1],
    }
)


def bracketed_sentences(draw: Draw) -> Iterator[Arguments]:
    """Two sentences or more: brackets of the right trees, and of those that were found."""
    right = [[1, 0, 4], [2, 0, 2], [3, 2, 3]]
    yield [right], [[[1, 0, 4], [2, 0, 2], [3, 2, 4]]]
    yield [right, [[1, 0, 2]]], [[[1, 0, 4], [3, 0, 2], [2, 2, 3], [2, 0, 2]], [[1, 0, 2]]]
    yield [[[1, 0, 3], [2, 0, 3], [2, 0, 3]], right], [[[1, 0, 3], [2, 0, 3]], [[2, 0, 2], [2, 0, 2], [1, 0, 3]]]
    yield [[[2, 0, 2], [2, 0, 2], [1, 0, 3]]], [[[2, 0, 2], [2, 0, 2], [3, 0, 3]]]  # the same bracket twice, in both
    # What one sentence lacks stands in the other, where it is no hit; and nothing at all is found in one of them.
    yield [[[1, 0, 2]], [[2, 0, 1]]], [[[2, 0, 1]], [[1, 0, 2], [2, 0, 1]]]
    yield [right, [[1, 0, 2]]], [right, []]
    yield [right, right], [[[1, 0, 4], [1, 1, 2]], [[1, 0, 4], [2, 0, 2], [3, 2, 3], [4, 3, 4], [2, 1, 2]]]


@exercise(
    "13.2",
    bracketed_sentences,
    hints=[
        "Counter(a) & Counter(b) keeps what stands in both, as often as it stands in both; .total() counts it.",
        "F1 is twice the hits, divided by all brackets of both sides, each summed over all sentences first.",
    ],
)
def labelled_f1(gold, found):
    """F1 of a text: gold and found hold a list for each sentence, of brackets [kind, start, end]. A bracket that was
    found is a hit at most as often as the right tree has it. Hits, and brackets, of which there is at least one, are
    added up over all sentences before anything is divided."""
    hits = brackets = 0
    for right, ours in zip(gold, found, strict=True):
        hits += (Counter(map(tuple, right)) & Counter(map(tuple, ours))).total()
        brackets += len(right) + len(ours)
    return 2 * hits / brackets


def _counts(gold, found, key=tuple, kind=Counter):
    for right, ours in zip(gold, found, strict=True):
        a, b = (Counter(kind(map(key, some))) for some in (right, ours))
        yield (a & b).total(), a.total(), b.total()


def _f1(counts):
    hits, right, ours = map(sum, zip(*counts, strict=True))
    return 2 * hits / (right + ours)


def _both(counts):
    """Precision and recall."""
    hits, right, ours = map(sum, zip(*counts, strict=True))
    return hits / ours, hits / right


def _macro(gold, found):
    counts = list(_counts(gold, found))
    precision = sum(hits / max(1, ours) for hits, _, ours in counts) / len(counts)
    recall = sum(hits / max(1, right) for hits, right, _ in counts) / len(counts)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


labelled_f1.mistakes(
    {
        "This is the mean of the sentences' F1, expected the F1 of their summed counts.": lambda gold, found: (
            sum(_f1([counts]) for counts in _counts(gold, found)) / len(gold)
        ),
        "This is precision, hits by brackets found; F1 counts what was missed, too.": lambda gold, found: (
            sum(c[0] for c in _counts(gold, found)) / sum(c[2] for c in _counts(gold, found))
        ),
        "This is recall, hits by brackets of the right trees; F1 counts what was found in vain, too.": (
            lambda gold, found: sum(c[0] for c in _counts(gold, found)) / sum(c[1] for c in _counts(gold, found))
        ),
        "The kinds are not compared: a bracket with another label is no hit.": lambda gold, found: _f1(
            _counts(gold, found, key=lambda one: tuple(one[1:]))
        ),
        "Your sets forget how often a bracket stands there; count it with a Counter.": lambda gold, found: _f1(
            _counts(gold, found, kind=set)
        ),
        "You put all sentences into one: a bracket is a hit only if the right tree of the same sentence has it.": (
            lambda gold, found: _f1(_counts([[*chain(*gold)]], [[*chain(*found)]]))
        ),
        "You pass over sentences in which nothing was found: what is missing there counts, too.": lambda gold, found: (
            labelled_f1.reference(*zip(*((a, b) for a, b in zip(gold, found, strict=True) if b), strict=True))
        ),
        "The 2 is missing: F1 is twice the hits, divided by the brackets of both sides.": (
            lambda gold, found: labelled_f1.reference(gold, found) / 2
        ),
        "You return percent, expected a share from 0 to 1: leave the 100 out.": (
            lambda gold, found: 100 * labelled_f1.reference(gold, found)
        ),
        "You take the mean of precision and recall; F1 is their harmonic mean, 2 P R / (P + R).": lambda gold, found: (
            sum(_both(_counts(gold, found))) / 2
        ),
        "You take the geometric mean of precision and recall; F1 is the harmonic one, 2 P R / (P + R).": (
            lambda gold, found: math.prod(_both(_counts(gold, found))) ** 0.5
        ),
        "You divide by what stands in either (Jaccard): F1 is twice the hits, divided by both sides' brackets.": (
            lambda gold, found: 1 / (2 / labelled_f1.reference(gold, found) - 1)
        ),
        "You take precision and recall of each sentence, then their means: add hits and brackets up first.": _macro,
        "Where brackets end is not compared: another end is no hit.": lambda gold, found: _f1(
            _counts(gold, found, key=lambda one: tuple(one[:2]))
        ),
        "A bracket counts as a hit each time it is found, expected at most as often as the right tree has it.": (
            lambda gold, found: (
                2
                * sum(one in right for right, ours in zip(gold, found, strict=True) for one in ours)
                / sum(map(len, [*gold, *found]))
            )
        ),
        "You compare place by place: a bracket is a hit wherever it stands in the list.": lambda gold, found: (
            2
            * sum(a == b for right, ours in zip(gold, found, strict=True) for a, b in zip(right, ours, strict=False))
            / sum(map(len, [*gold, *found]))
        ),
        "A Counter cannot count lists: make a tuple of each bracket first, Counter(map(tuple, brackets)).": (
            lambda gold, found: _f1(_counts(gold, found, key=list))
        ),
    }
)


def tasks(draw: Draw) -> Iterator[Arguments]:
    """Sources and targets as lists of ids, and the three marks."""
    for source, target in ((1, 1), (3, 2), (2, 4)):
        yield (draw.ids(50, source) + 10).tolist(), (draw.ids(50, target) + 70).tolist(), 1, 5, 2


@exercise(
    "13.3",
    tasks,
    hints=[
        "The text is bos, source, mark, target, eos; the inputs are all of it but the last.",
        "At each place the next token is wanted. The first one that is asked for is wanted at the mark's place.",
    ],
)
def prompt_example(source, target, bos, mark, eos):
    """One example for decoder-only, of lists of ids: the inputs, which begin with bos, the source and the mark of
    the task, and what is wanted at each of their places: the next token, eos last, and −100 wherever the next token
    belongs to the prompt. Two lists of one length."""
    text = [bos, *source, mark, *target, eos]
    prompt = len(source) + 1
    return text[:-1], [-100] * prompt + text[prompt + 1 :]


def _prompt_example(source, target, bos, mark, eos, asks=None, shift=1):
    text = [bos, *source, mark, *target, eos]
    wanted = text[shift : shift + len(text) - 1]
    silent = len(source) + 1 if asks is None else asks
    return text[:-1], [-100] * silent + wanted[silent:]


def _wanted(source, target, *end):
    """What is wanted, from the first place of the prompt to the end."""
    return [-100] * (len(source) + 1) + [*target, *end]


prompt_example.mistakes(
    {
        "The prompt is asked for, too: at its places but the last, −100 is wanted.": (
            lambda *args: _prompt_example(*args, asks=0)
        ),
        "Each place is asked for its own token, which it sees, expected the next one.": (
            lambda *args: _prompt_example(*args, shift=0)
        ),
        "The first token of the answer is not asked for: it is wanted at the mark's place.": (
            lambda *args: _prompt_example(*args, asks=len(args[0]) + 2)
        ),
        "The mark is asked for, but it is part of the prompt.": (
            lambda *args: _prompt_example(*args, asks=len(args[0]))
        ),
        "The end is not asked for: the last thing that is wanted is eos.": lambda *args: (
            _prompt_example(*args)[0],
            [*_prompt_example(*args)[1][:-1], -100],
        ),
        "What is wanted is not shifted: at each place the *next* token is wanted, so the inputs end before eos, and "
        "one −100 fewer is needed.": lambda source, target, bos, mark, eos: (
            [bos, *source, mark, *target, eos],
            [-100] * (len(source) + 2) + [*target, eos],
        ),
        "Both lists are the same: at each place the *next* token is wanted, and −100 in the prompt.": (
            lambda source, target, bos, mark, eos: ([bos, *source, mark, *target, eos],) * 2
        ),
        "eos stands in your inputs: nothing is wanted behind it, so the inputs end before it.": (
            lambda source, target, bos, mark, eos: (
                [bos, *source, mark, *target, eos],
                _wanted(source, target, eos),
            )
        ),
        "The mark stands before the source: it comes behind it, right before the answer.": (
            lambda source, target, bos, mark, eos: ([bos, mark, *source, *target], _wanted(source, target, eos))
        ),
        "The target is hidden and the prompt is asked for, expected the other way round.": (
            lambda source, target, bos, mark, eos: (
                [bos, *source, mark, *target],
                [*source, mark] + [-100] * (len(target) + 1),
            )
        ),
        "0 or the padding stands where −100 is expected: −100 is what the loss passes over.": (
            lambda source, target, bos, mark, eos: (
                [bos, *source, mark, *target],
                [0] * (len(source) + 1) + [*target, eos],
            )
        ),
        "eos is missing: it is the last thing that is wanted, at the place of the last token.": (
            lambda source, target, bos, mark, eos: ([bos, *source, mark, *target[:-1]], _wanted(source, target))
        ),
        "Your lists differ in length: eos is missing at the end of what is wanted.": (
            lambda source, target, bos, mark, eos: ([bos, *source, mark, *target], _wanted(source, target))
        ),
        "bos stands before the target, too: the text goes on behind the mark.": (
            lambda source, target, bos, mark, eos: (
                [bos, *source, mark, bos, *target],
                _wanted(source, [bos, *target], eos),
            )
        ),
        "bos is missing: the inputs begin with it.": lambda source, target, bos, mark, eos: (
            [*source, mark, *target],
            _wanted(source, target, eos)[1:],
        ),
        "The two lists come back in the wrong order: inputs, then what is wanted.": (
            lambda *args: _prompt_example(*args)[::-1]
        ),
        "A decoder alone reads the answer, too: the inputs hold bos, source, mark and target.": (
            lambda source, target, bos, mark, eos: ([*source, mark], [*target, eos])
        ),
        "The prompt is hidden in the inputs: −100 belongs into what is wanted only.": (
            lambda source, target, bos, mark, eos: (
                [-100] * (len(source) + 2) + [*target],
                _wanted(source, target, eos),
            )
        ),
        "eos stands behind the source: the mark alone ends it, and eos comes last.": (
            lambda source, target, bos, mark, eos: (
                [bos, *source, eos, mark, *target],
                [-100, *_wanted(source, target, eos)],
            )
        ),
        "The mark is missing: it stands between source and target.": lambda source, target, bos, mark, eos: (
            [bos, *source, *target],
            _wanted(source, target, eos)[1:],
        ),
    }
)


def pictures(draw: Draw) -> Iterator[Arguments]:
    """Images of several shapes, which can be cut into squares."""
    for height, width, p in ((4, 4, 2), (4, 6, 2), (6, 3, 3), (4, 8, 4)):
        yield draw.normal(height, width), p


@exercise(
    "13.4",
    pictures,
    hints=[
        "Give the rows two axes, (H/p, p), and the columns, too.",
        "A patch has one row axis and one column axis of p pixels: bring these two to the end, then flatten them.",
    ],
)
def cut_patches(image, p):
    """Cut an image (H, W) into squares of p × p pixels: (n, p·p), squares and the pixels of each from left to right,
    row by row."""
    height, width = image.shape
    cells = image.reshape(height // p, p, width // p, p).transpose(1, 2)
    return cells.reshape(-1, p * p)


def _cells(image, p):
    return image.reshape(image.size(0) // p, p, image.size(1) // p, p)


cut_patches.mistakes(
    {
        "Your patches are runs of pixels of one row, or of several whole rows, expected squares.": (
            lambda image, p: image.reshape(-1, p * p)
        ),
        "Your squares go down the columns first, expected from left to right, row by row.": (
            lambda image, p: _cells(image, p).permute(2, 0, 1, 3).reshape(-1, p * p)
        ),
        "The pixels of each square go down its columns, expected from left to right.": (
            lambda image, p: _cells(image, p).permute(0, 2, 3, 1).reshape(-1, p * p)
        ),
        "Your rows hold every p-th pixel of the image, expected neighbours.": lambda image, p: (
            image.reshape(p, image.size(0) // p, p, image.size(1) // p).permute(1, 3, 0, 2).reshape(-1, p * p)
        ),
        "Squares and their pixels go down the columns, expected from left to right, row by row: the image is not to be "
        "transposed.": lambda image, p: cut_patches.reference(image.mT, p),
        "Your table is transposed: a row is one square, a column one place in it.": (
            lambda image, p: cut_patches.reference(image, p).mT
        ),
        "Your squares overlap: they begin at every p-th pixel.": (
            lambda image, p: image.unfold(0, p, 1).unfold(1, p, 1).reshape(-1, p * p)
        ),
        "You cut the rows alone: a square takes p rows of the image, too.": lambda image, p: image.unfold(
            1, p, p
        ).reshape(-1, p),
        "Height and width are exchanged: rows are cut in H/p, columns in W/p.": lambda image, p: (
            image.reshape(image.size(1) // p, p, image.size(0) // p, p).transpose(1, 2).reshape(-1, p * p)
        ),
        "p is the side of a square, not their number along a side.": lambda image, p: (
            image.reshape(p, image.size(0) // p, p, image.size(1) // p).transpose(1, 2).reshape(p * p, -1)
        ),
        "You move the wrong axes: of (H/p, p, W/p, p) the two in the middle change places, transpose(1, 2).": (
            lambda image, p: _cells(image, p).transpose(0, 1).reshape(-1, p * p)
        ),
        "Each square begins one pixel after the one before: begin at every p-th pixel, range(0, H, p).": (
            lambda image, p: torch.stack(
                [
                    image[i : i + p, j : j + p].flatten()
                    for i in range(image.size(0) // p)
                    for j in range(image.size(1) // p)
                ]
            )
        ),
        "You keep rows and columns of squares apart: flatten to (n, p·p) in the end.": (
            lambda image, p: _cells(image, p).transpose(1, 2)
        ),
        "You keep the squares as they are: flatten the pixels of each, (n, p·p).": (
            lambda image, p: _cells(image, p).transpose(1, 2).reshape(-1, p, p)
        ),
        "After a transpose the numbers no longer lie in a row in memory, and view asks for that: take reshape.": (
            lambda image, p: _cells(image, p).transpose(1, 2).view(-1, p * p)
        ),
        "You take as many squares along a row as along a column: there are W/p and H/p of them.": (
            lambda image, p: torch.stack(
                [
                    image[i * p : (i + 1) * p, j * p : (j + 1) * p].flatten()
                    for i in range(image.size(0) // p)
                    for j in range(image.size(0) // p)
                ]
            )
        ),
        "The last row and column of squares are missing: range(0, H, p) ends before H as it is.": (
            lambda image, p: torch.stack(
                [
                    image[i : i + p, j : j + p].flatten()
                    for i in range(0, image.size(0) - p, p)
                    for j in range(0, image.size(1) - p, p)
                ]
            )
        ),
    }
)


def stacks(draw: Draw) -> Iterator[Arguments]:
    """Sizes of stacks, and lengths of text."""
    yield from (
        (1, 4, 8, 10, 3),
        (2, 8, 16, 100, 16),
        (12, 768, 3072, 50_257, 1024),
        (96, 12_288, 49_152, 50_257, 2048),
    )


@exercise(
    "13.5",
    stacks,
    hints=[
        "Forward, a product with a matrix of m numbers costs 2 m operations: a multiplication and an addition each.",
        "Scores and the mean of the values: n products of d numbers each, all heads together, so 4 n d a layer.",
        "The backward pass costs twice the forward pass.",
    ],
)
def training_operations(L, d, d_ff, V, n):
    """Operations to train on one token of a text of n tokens, in a stack of L layers, each with self-attention of
    width d and a feed-forward network of inner width d_ff, and an output matrix V × d. Only matrix products count,
    in which a multiplication and an addition are two; all n scores are computed, masked or not."""
    layer = 2 * (4 * d * d + 2 * d * d_ff) + 4 * n * d
    return 3 * (L * layer + 2 * V * d)


def _operations(L, d, d_ff, V, n, passes=3, each=2, scores=1, output=1, matrices=4):
    layer = each * (matrices * d * d + 2 * d * d_ff) + 2 * each * n * d * scores
    return passes * (L * layer + each * V * d * output)


def _operations_with(
    L, d, d_ff, V, n,
    forward=False, once=False, alone=False, blind=False, three=False, thin=False, usual=False,
):  # fmt: skip
    passes = 1 if forward else 2 if once else 3
    d_ff = 4 * d if usual else d_ff
    return _operations(L, d, d_ff / 2 if thin else d_ff, V, n, passes, 2, not alone, not blind, 3 if three else 4)


training_operations.knobs(
    _operations_with,
    forward="This is the forward pass alone: the backward pass costs twice as much again.",
    once="The backward pass costs two forward passes, not one: a gradient by the input and one by the matrix.",
    alone="Scores and means are forgotten: they have no matrix of weights, and cost 4 n d a layer.",
    blind="The output matrix is forgotten: V × d.",
    three="Self-attention has four matrices, for queries, keys, values and the output.",
    thin="A feed-forward network has two matrices, d × d_ff and d_ff × d.",
    usual="12 d² holds only for d_ff = 4d.",
)
training_operations.mistakes(
    {
        "A multiplication and an addition are two operations.": lambda *args: _operations(*args, each=1),
        "The output matrix counts once, V·d numbers: the embedding is looked up, which multiplies nothing.": (
            lambda *args: _operations(*args, output=2)
        ),
        "Scores are one half: the means of the values cost as much again, 4 n d for both.": (
            lambda *args: _operations(*args, scores=0.5)
        ),
        "Scores and means have a backward pass, too: 4 n d forward, three times that in all.": (
            lambda *args: _operations(*args, scores=1 / 3)
        ),
        "Scores and means are those of one layer: all L have them.": lambda L, d, d_ff, V, n: (
            _operations(L, d, d_ff, V, n, scores=0) + 12 * n * d
        ),
        "The output matrix stands in every layer: there is one, behind the last.": lambda L, d, d_ff, V, n: _operations(
            L, d, d_ff, V, n, output=L
        ),
        "These are the operations for the whole text of n tokens, expected for one of them.": (
            lambda *args: args[-1] * _operations(*args)
        ),
        "Scores and means are those of all n tokens, n² · d: one token looks at n, which are 4 n d a layer.": (
            lambda L, d, d_ff, V, n: _operations(L, d, d_ff, V, n, scores=n)
        ),
        "You count half of the scores, as if the mask saved the others: all n are computed.": (
            lambda L, d, d_ff, V, n: _operations(L, d, d_ff, V, n, scores=0) + 6 * L * (n + 1) * d
        ),
        "You count biases: only matrix products count.": lambda L, d, d_ff, V, n: (
            _operations(L, d, d_ff, V, n) + 6 * L * (5 * d + d_ff)
        ),
        "The factor 6 is missing at the output matrix: it has a forward and a backward pass like the others.": (
            lambda L, d, d_ff, V, n: _operations(L, d, d_ff, V, n, output=0) + V * d
        ),
        "You count eight matrices of attention: without an encoder there is self-attention alone, with four.": (
            lambda *args: _operations(*args, matrices=8)
        ),
    }
)
