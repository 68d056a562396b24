"""Exercises of chapter 10, translating real text."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import torch

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise


def hypotheses(draw: Draw) -> Iterator[Arguments]:
    """Sentences of ids beside their references: with repetitions, in another order, longer and shorter."""
    yield [3, 3, 3, 7], [3, 5, 8], 1
    yield [3, 3, 3, 3], [3, 5, 3], 1
    yield [1, 2, 3], [2, 1, 3], 2
    yield [2, 7, 2, 7, 2, 7], [7, 2, 7, 4], 2
    yield [1, 2, 3, 4, 5], [1, 2, 3, 9, 4, 5, 6], 2
    for n in (1, 2, 3):
        yield (draw.ids(4, 9) + 5).tolist(), (draw.ids(4, 7) + 5).tolist(), n


@exercise(
    "10.1",
    hypotheses,
    hints=[
        "Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) counts a sentence's n-grams.",
        "An n-gram counts no more often than it stands in the reference: a & b takes the smaller of two counts.",
    ],
)
def clipped_precision(hyp, ref, n):
    """The share of the hypothesis's n-grams that stand in the reference, each counted there at most as often as in the
    reference. hyp and ref are lists of words, here given by their ids."""
    ours = Counter(tuple(hyp[i : i + n]) for i in range(len(hyp) - n + 1))
    theirs = Counter(tuple(ref[i : i + n]) for i in range(len(ref) - n + 1))
    return (ours & theirs).total() / ours.total()


def _grams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _precision(hyp, ref, n, unclipped=False, recall=False, kinds=False, words=False, bags=False):
    n = 1 if words else n
    ours, theirs = _grams(hyp, n), _grams(ref, n)
    if bags:
        ours, theirs = (Counter(tuple(sorted(g)) for g in c.elements()) for c in (ours, theirs))
    if kinds:
        ours, theirs = Counter(set(ours)), Counter(set(theirs))
    found = sum(k for gram, k in ours.items() if gram in theirs) if unclipped else (ours & theirs).total()
    return found / (theirs if recall else ours).total()


clipped_precision.knobs(
    _precision,
    unclipped='No clipping: "the the the" would be perfect. A word counts at most as often as in the reference.',
    recall="You divide by the reference's n-grams: that is recall. Precision divides by the hypothesis's.",
    kinds="You count each n-gram once, expected as often as it stands there.",
    words="You count single words, expected n-grams.",
    bags="The order inside an n-gram counts: (a, b) is not (b, a).",
)


def corpora(draw: Draw) -> Iterator[Arguments]:
    """Corpora that are too short, too long, and of sentences of unequal quality."""
    for hyp_lengths, ref_lengths in (((6, 9), (8, 12)), ((9, 6), (8, 5)), ((12, 5, 7), (10, 9, 7))):
        pairs = []
        for long, wanted in zip(hyp_lengths, ref_lengths, strict=True):
            ref = draw.ids(30, wanted).tolist()
            hyp = (ref + ref)[:long]
            hyp[long // 2] = 99  # one word is wrong
            pairs.append((hyp, ref))
        pairs[-1] = (pairs[-1][1], pairs[-1][1])  # one sentence is perfect
        yield [hyp for hyp, _ in pairs], [ref for _, ref in pairs]


@exercise(
    "10.2",
    corpora,
    hints=[
        "For each n from 1 to 4 add up the clipped counts, and the counts, over *all* sentences; then divide.",
        "The mean is geometric: exp of the mean of the four logarithms.",
        "The brevity penalty is exp(1 − r/h) where the hypotheses' words h are fewer than the references' r, else 1.",
    ],
)
def my_bleu(hyps, refs):
    """Corpus BLEU from 0 to 100 of hypotheses with one reference each, lists of words: the geometric mean of the
    clipped precisions for n = 1 to 4, counted over the whole corpus, times the brevity penalty. Every n has a hit."""
    logs = []
    for n in range(1, 5):
        found = total = 0
        for hyp, ref in zip(hyps, refs, strict=True):
            ours = Counter(tuple(hyp[i : i + n]) for i in range(len(hyp) - n + 1))
            theirs = Counter(tuple(ref[i : i + n]) for i in range(len(ref) - n + 1))
            found += (ours & theirs).total()
            total += ours.total()
        logs.append(math.log(found / total))
    h, r = sum(map(len, hyps)), sum(map(len, refs))
    return 100 * math.exp(sum(logs) / 4 + min(0, 1 - r / h))


def _bleu(hyps, refs, long=False, mean=False, sum_=False, share=False, unclipped=False, three=False):
    found, total = Counter(), Counter()
    for hyp, ref in zip(hyps, refs, strict=True):
        for n in range(1, 4 if three else 5):
            ours, theirs = _grams(hyp, n), _grams(ref, n)
            found[n] += sum(k for g, k in ours.items() if g in theirs) if unclipped else (ours & theirs).total()
            total[n] += ours.total()
    precisions = [found[n] / total[n] for n in found]
    logs = [math.log(p) for p in precisions]
    value = sum(precisions) / len(precisions) if mean else math.exp(sum(logs) / (1 if sum_ else len(logs)))
    h, r = sum(map(len, hyps)), sum(map(len, refs))
    return (1 if share else 100) * value * (1 if long else math.exp(min(0, 1 - r / h)))


def _per_sentence(hyps, refs):
    scores = []
    for hyp, ref in zip(hyps, refs, strict=True):
        precisions = [_precision(hyp, ref, n) for n in range(1, 5)]
        value = math.exp(sum(math.log(p) for p in precisions) / 4) if min(precisions) else 0.0
        scores.append(100 * value * math.exp(min(0, 1 - len(ref) / len(hyp))))
    return sum(scores) / len(scores)


def _brevity_per_sentence(hyps, refs):
    penalty = [math.exp(min(0, 1 - len(ref) / len(hyp))) for hyp, ref in zip(hyps, refs, strict=True)]
    return _bleu(hyps, refs, long=True) * sum(penalty) / len(penalty)


my_bleu.knobs(
    _bleu,
    long="The brevity penalty is missing: hypotheses that leave words out have it too easy.",
    mean="You take the arithmetic mean of the precisions, expected the geometric one.",
    sum_="You add the logarithms without dividing by 4.",
    share="Your result is a share, expected 0 to 100.",
    three="You count up to n = 3, expected 4.",
)
my_bleu.mistakes(
    {
        "You take the mean of the sentences' scores: BLEU adds the counts up over the corpus first.": _per_sentence,
        "The brevity penalty compares the lengths of the whole corpus, not of each sentence.": _brevity_per_sentence,
        "No clipping: an n-gram counts at most as often as in the reference.": lambda h, r: _bleu(h, r, unclipped=True),
        "Only the brevity penalty is left: as you count, each n-gram of a hypothesis is found.": lambda hyps, refs: (
            100 * math.exp(min(0, 1 - sum(map(len, refs)) / sum(map(len, hyps))))
        ),
    }
)


def vocabularies(draw: Draw) -> Iterator[Arguments]:
    """Words as lists of ids, with a pair that is frequent, one across words, one that overlaps itself."""
    yield [[1, 2, 3], [1, 2], [3, 1, 2]], 9
    yield [[4, 5], [6, 4], [5, 6], [4, 5], [7, 6], [4, 7], [1, 6], [4, 8]], 9  # across words, 6 4 is most frequent
    yield [[2, 2, 2, 2], [2, 2, 2], [3, 2]], 8
    yield [[5, 6, 5, 6, 7], [6, 7, 5, 6], [8]], 9
    yield [[1, 2, 5, 6], [3, 5, 6], [1, 2, 4, 5, 6]], 9  # the most frequent pair is not at the beginning


@exercise(
    "10.3",
    vocabularies,
    hints=[
        "Count pairs inside each word with Counter(zip(word, word[1:])), and add the counters up.",
        "Walk through each word from the left: where the pair begins, append the new id and step over both.",
    ],
)
def merge_step(words, new):
    """One step of byte-pair encoding. words is a list of lists of ids: in each word, from the left, the pair of
    neighbours that is most frequent in all words becomes the id `new`. No two pairs are equally frequent."""
    pairs = Counter((word[i], word[i + 1]) for word in words for i in range(len(word) - 1))
    best = max(pairs, key=pairs.get)
    merged = []
    for word in words:
        out, i = [], 0
        while i < len(word):
            found = tuple(word[i : i + 2]) == best
            out.append(new if found else word[i])
            i += 2 if found else 1
        merged.append(out)
    return merged


def _merge(words, new, across=False, first=False, rare=False, keeps=False, once=False):
    text = [i for word in words for i in word]
    pairs = Counter(pairwise(text)) if across else Counter(p for w in words for p in pairwise(w))
    if once:
        pairs = Counter(p for w in words for p in set(pairwise(w)))
    best = (min if rare else max)(pairs, key=pairs.get)
    merged = []
    for word in words:
        out, i, done = [], 0, False
        while i < len(word):
            found = tuple(word[i : i + 2]) == best and not (first and done)
            done = done or found
            out.append(new if found else word[i])
            i += 2 if found and not keeps else 1
        merged.append(out)
    return merged


merge_step.knobs(
    _merge,
    across="You count pairs across words: the end of one word and the beginning of the next are no neighbours.",
    first="You merge the pair only once in a word, expected everywhere.",
    rare="You merge the rarest pair, expected the most frequent.",
    keeps="The second of the pair is still there: step over both.",
)
merge_step.mistakes(
    {
        "You merge the most frequent pair of the first word alone: count in all words.": lambda words, new: [
            *_merge(words[:1], new),
            *words[1:],
        ],
        "You append the merged pair to the vocabulary but leave the words as they are.": lambda words, new: [*words],
    }
)


def checkpoints(draw: Draw) -> Iterator[Arguments]:
    """Checkpoints of a network of two matrices, and words."""
    for n, d in ((2, 2), (3, 3), (4, 2)):
        yield [{"A": draw.normal(d, 4), "B": draw.normal(4, d)} for _ in range(n)], draw.normal(3, d)


@exercise(
    "10.4",
    checkpoints,
    hints=[
        "The mean of A over all checkpoints is one matrix, the mean of B another.",
        "torch.stack([c[name] for c in checkpoints]).mean(0)",
    ],
)
def average_weights(checkpoints, x):
    """The output (T, D) of *one* network relu(x A) B, whose weights are the mean of those of the checkpoints: a list
    of dictionaries with "A" and "B". x is (T, D)."""
    A = torch.stack([checkpoint["A"] for checkpoint in checkpoints]).mean(0)
    B = torch.stack([checkpoint["B"] for checkpoint in checkpoints]).mean(0)
    return (x @ A).relu() @ B


def _network(A, B, x):
    return (x @ A).relu() @ B


def _mean(checkpoints, name):
    return sum(checkpoint[name] for checkpoint in checkpoints) / len(checkpoints)


def _running(checkpoints, name):
    mean = checkpoints[0][name]
    for checkpoint in checkpoints[1:]:
        mean = (mean + checkpoint[name]) / 2
    return mean


average_weights.mistakes(
    {
        "You average outputs: that is an ensemble, and costs a run of each network. Average the weights.": (
            lambda checkpoints, x: sum(_network(c["A"], c["B"], x) for c in checkpoints) / len(checkpoints)
        ),
        "You add the weights without dividing by their number.": lambda checkpoints, x: _network(
            sum(c["A"] for c in checkpoints), sum(c["B"] for c in checkpoints), x
        ),
        "You use the last checkpoint alone.": lambda checkpoints, x: _network(*checkpoints[-1].values(), x),
        "You use the first checkpoint alone.": lambda checkpoints, x: _network(*checkpoints[0].values(), x),
        "(mean + next) / 2 gives the last one half of the weight: all count alike.": lambda checkpoints, x: _network(
            _running(checkpoints, "A"), _running(checkpoints, "B"), x
        ),
        "The ReLU is missing.": lambda checkpoints, x: x @ _mean(checkpoints, "A") @ _mean(checkpoints, "B"),
        "You average A only, and take B from the last checkpoint.": lambda checkpoints, x: _network(
            _mean(checkpoints, "A"), checkpoints[-1]["B"], x
        ),
    }
)
