"""Exercises of chapter 13, beyond translation."""

from collections import Counter
from collections.abc import Iterator

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


def _spans(symbols, first=False, every=False, inclusive=False, opening=False):
    waiting, found, place = [], [], 0
    for symbol in symbols:
        if symbol > 0:
            waiting.append((symbol, place, len(found)))
            if opening:
                found.append(None)
        elif symbol < 0:
            kind, start, at = waiting.pop(0 if first else -1)
            one = kind, start, place - inclusive
            if opening:
                found[at] = one
            else:
                found.append(one)
        if every or symbol == 0:
            place += 1
    return found


spans.knobs(
    _spans,
    first="You close the phrase that was opened first, expected the one that was opened last.",
    every="Your places count all symbols, expected words only.",
    inclusive="Your end is the last word of the phrase, expected the place behind it.",
    opening="Your brackets stand in the order in which they open, expected the order in which they close.",
)


def bracketed_sentences(draw: Draw) -> Iterator[Arguments]:
    """Two sentences or more: brackets of the right trees, and of those that were found."""
    right = [[1, 0, 4], [2, 0, 2], [3, 2, 3]]
    yield [right], [[[1, 0, 4], [2, 0, 2], [3, 2, 4]]]
    yield [right, [[1, 0, 2]]], [[[1, 0, 4], [3, 0, 2], [2, 2, 3], [2, 0, 2]], [[1, 0, 2]]]
    yield [[[1, 0, 3], [2, 0, 3], [2, 0, 3]], right], [[[1, 0, 3], [2, 0, 3]], [[2, 0, 2], [2, 0, 2], [1, 0, 3]]]
    yield [[[2, 0, 2], [2, 0, 2], [1, 0, 3]]], [[[2, 0, 2], [2, 0, 2], [3, 0, 3]]]  # the same bracket twice, in both
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
    found is a hit if the right tree has it, and as often as it has it. Hits and brackets are added up over all
    sentences before anything is divided."""
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


def _wrong_f1(gold, found, unlabelled=False, sets=False):
    bracket = (lambda one: tuple(one[1:])) if unlabelled else tuple
    return _f1(_counts(gold, found, bracket, set if sets else Counter))


labelled_f1.knobs(
    _wrong_f1,
    unlabelled="The kinds are not compared: a bracket with another label is no hit.",
    sets="Your sets forget how often a bracket stands there; count it with a Counter.",
)
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
    """One example for a decoder alone, of lists of ids: the inputs, which begin with bos, the source and the mark of
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
    width d and a feed-forward network of inner width d_ff, and an output matrix V × d. Only matrix products count;
    all n scores are computed, masked or not."""
    layer = 2 * (4 * d * d + 2 * d * d_ff) + 4 * n * d
    return 3 * (L * layer + 2 * V * d)


def _operations(L, d, d_ff, V, n, forward=False, once=False, single=False, bare=False, headless=False, three=False):
    passes, each = 1 if forward else 2 if once else 3, 1 if single else 2
    layer = each * ((3 if three else 4) * d * d + 2 * d * d_ff) + (0 if bare else 2 * each * n * d)
    return passes * (L * layer + (0 if headless else each * V * d))


training_operations.knobs(
    _operations,
    forward="This is the forward pass alone: the backward pass costs twice as much again.",
    once="The backward pass costs two forward passes, not one: a gradient by the input and one by the matrix.",
    single="A multiplication and an addition are two operations.",
    bare="Scores and means are forgotten: they have no matrix of weights, and cost 4 n d a layer.",
    headless="The output matrix is forgotten: V × d.",
    three="Self-attention has four matrices, for queries, keys, values and the output.",
)
