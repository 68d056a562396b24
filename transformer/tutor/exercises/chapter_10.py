"""Exercises of chapter 10, translating real text."""

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial, reduce
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
    yield [1, 12, 3], [11, 2, 3], 2  # which as a text without spaces begin alike
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


def _joined(words, n):
    return Counter("".join(map(str, words[i : i + n])) for i in range(len(words) - n + 1))


def _share(ours, theirs):
    ours, theirs = Counter(ours), Counter(theirs)
    return (ours & theirs).total() / ours.total()


def _every(words, n, step=1, short=0, shorter=0):
    """n-grams at every step-th place; short leaves places out at the end, shorter ones may come behind the last."""
    return [tuple(words[i : i + n]) for i in range(0, len(words) - n + 1 - short + shorter, step)]


clipped_precision.mistakes(
    {
        "Joined without a separator, (1, 12) and (11, 2) are the same text: keep n-grams as tuples.": (
            lambda hyp, ref, n: _share(_joined(hyp, n), _joined(ref, n))
        ),
        "You return percent, expected a share from 0 to 1: leave the 100 out.": (
            lambda hyp, ref, n: 100 * _precision(hyp, ref, n)
        ),
        "len of a Counter counts kinds, expected how many n-grams there are in all.": lambda hyp, ref, n: (
            (_grams(hyp, n) & _grams(ref, n)).total() / len(_grams(hyp, n))
        ),
        "You divide by the number of words, expected that of the n-grams: len(hyp) − n + 1.": (
            lambda hyp, ref, n: (_grams(hyp, n) & _grams(ref, n)).total() / len(hyp)
        ),
        "You return the number of hits, expected their share: divide by the number of the hypothesis's n-grams.": (
            lambda hyp, ref, n: (_grams(hyp, n) & _grams(ref, n)).total()
        ),
        "The last n-gram is missing: range ends before its end, so it needs len(hyp) − n + 1.": (
            lambda hyp, ref, n: _share(_every(hyp, n, short=1), _every(ref, n, short=1))
        ),
        "At the end you count n-grams that are too short: the last one begins at len(hyp) − n.": (
            lambda hyp, ref, n: _share(_every(hyp, n, shorter=n - 1), _every(ref, n, shorter=n - 1))
        ),
        "You count (n + 1)-grams: i to i + n, the end not included, are n words.": (
            lambda hyp, ref, n: _share(_every(hyp, n + 1), _every(ref, n + 1))
        ),
        "Your n-grams do not overlap: one begins at every word, not at every n-th.": (
            lambda hyp, ref, n: _share(_every(hyp, n, step=n), _every(ref, n, step=n))
        ),
        "You compare place by place: an n-gram may stand anywhere in the reference.": lambda hyp, ref, n: (
            sum(map(tuple.__eq__, _every(hyp, n), _every(ref, n))) / len(_every(hyp, n))
        ),
        "This is F1: precision divides the hits by the hypothesis's n-grams alone.": lambda hyp, ref, n: (
            2 * (_grams(hyp, n) & _grams(ref, n)).total() / (len(_every(hyp, n)) + len(_every(ref, n)))
        ),
    }
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
    # The first repeats what the second one's reference has: each sentence is clipped by its own reference.
    yield [[1, 2, 3, 4, 1, 2, 3, 4], [7, 8, 9, 10]], [[1, 2, 3, 4], [1, 2, 3, 4, 7, 8, 9, 10]]
    yield [[1, 12, 3, 4, 5, 6, 7]], [[11, 2, 3, 4, 5, 6, 7]]  # which as a text without spaces begin alike


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


def _scored(hyps, refs, precision=None, penalty=None, mean=None):
    """BLEU with another precision (hyps, refs, n), brevity penalty (of h and r words) or mean of the precisions."""
    precisions = [(precision or _pooled)(hyps, refs, n) for n in range(1, 5)]
    value = mean(precisions) if mean else math.prod(precisions) ** 0.25
    h, r = sum(map(len, hyps)), sum(map(len, refs))
    return 100 * value * (penalty(h, r) if penalty else math.exp(min(0, 1 - r / h)))


def _flat(sentences):
    return [word for sentence in sentences for word in sentence]


def _pooled(hyps, refs, n):
    hits = sum((_grams(hyp, n) & _grams(ref, n)).total() for hyp, ref in zip(hyps, refs, strict=True))
    return hits / sum(_grams(hyp, n).total() for hyp in hyps)


def _pooled_texts(hyps, refs, n):
    hits = sum((_joined(hyp, n) & _joined(ref, n)).total() for hyp, ref in zip(hyps, refs, strict=True))
    return hits / sum(_joined(hyp, n).total() for hyp in hyps)


def _add_one(hyps, refs, n, first=1):
    """The precision with one more hit and one more n-gram, from n = first on."""
    hits, total = (some * sum(_grams(hyp, n).total() for hyp in hyps) for some in (_pooled(hyps, refs, n), 1))
    return (hits + 1) / (total + 1) if n >= first else hits / total


def _mean_precision(hyps, refs, n):
    return sum(_precision(hyp, ref, n) for hyp, ref in zip(hyps, refs, strict=True)) / len(hyps)


def _clipped_by_all(hyps, refs, n):
    ours, theirs = (sum((_grams(words, n) for words in some), Counter()) for some in (hyps, refs))
    return (ours & theirs).total() / ours.total()


my_bleu.knobs(
    _bleu,
    long="Your brevity penalty is 1 throughout, or missing: it compares the numbers of *words* in all hypotheses and "
    "references, not those of sentences.",
    mean="You take the arithmetic mean of the precisions, expected the geometric one.",
    sum_="You add the logarithms without dividing by 4.",
    share="Your result is a share, expected 0 to 100.",
    three="You count up to n = 3, expected 4.",
)
my_bleu.mistakes(
    {
        "Joined without a separator, (1, 12) and (11, 2) are the same text: keep n-grams as tuples.": (
            lambda hyps, refs: _scored(hyps, refs, precision=_pooled_texts)
        ),
        "You add 1 to hits and n-grams, which smooths the precisions: every n has a hit, so count them as they are.": (
            lambda hyps, refs: _scored(hyps, refs, precision=_add_one)
        ),
        "You add 1 to hits and n-grams from n = 2 on, which smooths the precisions: every n has a hit, so count them "
        "as they are.": lambda hyps, refs: _scored(hyps, refs, precision=partial(_add_one, first=2)),
        "You take the mean of the sentences' scores: BLEU adds the counts up over the corpus first.": _per_sentence,
        "The brevity penalty compares the lengths of the whole corpus, not of each sentence.": _brevity_per_sentence,
        "You take the mean of the sentences' precisions: add hits and n-grams up over all sentences, then divide.": (
            lambda hyps, refs: _scored(hyps, refs, precision=_mean_precision)
        ),
        "You clip by the references of the whole corpus: an n-gram counts at most as often as in its own sentence's "
        "reference. Take the smaller counts sentence by sentence, then add up.": (
            lambda hyps, refs: _scored(hyps, refs, precision=_clipped_by_all)
        ),
        "You count n-grams across the border of two sentences: count in each sentence, then add up.": (
            lambda hyps, refs: _scored(
                hyps, refs, precision=lambda hyps, refs, n: _precision(_flat(hyps), _flat(refs), n)
            )
        ),
        "You divide by the references' n-grams: that is recall. Precision divides by the hypotheses'.": (
            lambda hyps, refs: _scored(
                hyps,
                refs,
                precision=lambda hyps, refs, n: (
                    _pooled(hyps, refs, n)
                    * sum(_grams(hyp, n).total() for hyp in hyps)
                    / sum(_grams(ref, n).total() for ref in refs)
                ),
            )
        ),
        "You take the precision for n = 4 alone, expected the geometric mean for n = 1 to 4.": (
            lambda hyps, refs: _scored(hyps, refs, mean=lambda precisions: precisions[-1])
        ),
        "You leave n = 4 out but still divide by 4: range(1, 5) ends with 4.": (
            lambda hyps, refs: _scored(hyps, refs, mean=lambda precisions: math.prod(precisions[:3]) ** 0.25)
        ),
        "You count n = 0 to 3, expected 1 to 4: range(1, 5).": (
            lambda hyps, refs: _scored(hyps, refs, precision=lambda hyps, refs, n: _pooled(hyps, refs, n - 1))
        ),
        "Longer hypotheses are rewarded: the brevity penalty is at most 1, so take min(0, 1 − r/h) in the exponent.": (
            lambda hyps, refs: _scored(hyps, refs, penalty=lambda h, r: math.exp(1 - r / h))
        ),
        "The quotient in the brevity penalty is upside down: exp(1 − r/h), h the words of the hypotheses.": (
            lambda hyps, refs: _scored(hyps, refs, penalty=lambda h, r: math.exp(min(0, 1 - h / r)))
        ),
        "The quotient in the brevity penalty is upside down, and nothing keeps it from growing above 1.": (
            lambda hyps, refs: _scored(hyps, refs, penalty=lambda h, r: math.exp(1 - h / r))
        ),
        "The quotient in the brevity penalty is upside down, so that short hypotheses are rewarded.": (
            lambda hyps, refs: _scored(hyps, refs, penalty=lambda h, r: math.exp(max(0, 1 - h / r)))
        ),
        "The brevity penalty is h/r as you have it, expected exp(1 − r/h).": (
            lambda hyps, refs: _scored(hyps, refs, penalty=lambda h, r: min(1, h / r))
        ),
        "The exponential function of the brevity penalty is missing: exp(1 − r/h).": (
            lambda hyps, refs: _scored(hyps, refs, penalty=lambda h, r: min(1, 1 - r / h))
        ),
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
    yield [[1, 2], [1, 2], [2, 1], [5]], 9  # the order counts: 2 1 is another pair
    yield [[1, 2, 3, 1, 2, 4, 1, 2], [6, 7], [8, 6, 7]], 9  # three times in one word, which is one word
    # A word that is written often counts as often; 17 8 is not 7 8, though as a text it ends so.
    yield [[7, 8], [7, 8], [7, 8], [4, 5, 6], [3, 4, 5], [17, 8]], 9


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
    neighbours that is most frequent in all words becomes the id `new`. One pair is the most frequent."""
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


def _pairs(words):
    return Counter(pair for word in words for pair in pairwise(word))


def _replaced(word, best, new, first=False, kept=None, short=0):
    """A word with the pair replaced; kept: which of the pair stays before (0) or behind (1) the new id."""
    out, i, done = [], 0, False
    while i < len(word) - short:
        found = tuple(word[i : i + 2]) == best and not (first and done)
        done = done or found
        out += [word[i], new] if found and kept == 0 else [new if found else word[i]]
        i += 2 if found and kept != 1 else 1
    return out


def _merge(words, new, across=False, first=False, rare=False, keeps=False):
    pairs = _pairs([_flat(words)] if across else words)
    best = (min if rare else max)(pairs, key=pairs.get)
    return [_replaced(word, best, new, first, kept=1 if keeps else None) for word in words]


def _all_merged(words, new):
    for best, n in _pairs(words).most_common():
        words = [_replaced(word, best, new) for word in words] if n > 1 else words
    return words


def _merged_by(counts, **otherwise):
    """A merging step with other counts of pairs, counts(words), or another way to replace the pair."""

    def merge(words, new):
        best = counts(words).most_common(1)[0][0]
        return [_replaced(word, best, new, **otherwise) for word in words]

    return merge


def _each_its_own(words, new):
    bests = [_pairs([word]).most_common(1) for word in words]
    return [_replaced(w, best[0][0], new) if best else w for w, best in zip(words, bests, strict=True)]


def _by_replace(words, new):
    pair = " ".join(map(str, _pairs(words).most_common(1)[0][0]))
    texts = [" ".join(map(str, word)).replace(pair, str(new)) for word in words]
    return [[int(number) for number in text.split()] for text in texts]


def _either_order(words, new):
    best = Counter(tuple(sorted(pair)) for word in words for pair in pairwise(word)).most_common(1)[0][0]
    merged = []
    for word in words:
        out, i = [], 0
        while i < len(word):
            found = tuple(sorted(word[i : i + 2])) == best
            out.append(new if found else word[i])
            i += 2 if found else 1
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
        "Each word merges its own most frequent pair: count in all words, and merge one pair.": _each_its_own,
        "You count a pair once in a word, expected as often as it stands there.": (
            _merged_by(lambda words: Counter(pair for word in words for pair in set(pairwise(word))))
        ),
        "You count a word once, expected as often as it stands in the list.": (
            _merged_by(lambda words: _pairs(set(map(tuple, words))))
        ),
        "You count every second pair only: zip(word[::2], word[1::2]) leaves out what begins at an odd place.": (
            _merged_by(lambda words: Counter(pair for w in words for pair in zip(w[::2], w[1::2], strict=False)))
        ),
        "The last id of a word is lost where no pair ends there: go on while i < len(word).": (
            _merged_by(_pairs, short=1)
        ),
        "The first of the pair is still there: the new id takes the place of both.": _merged_by(_pairs, kept=0),
        "The order counts: (a, b) and (b, a) are two pairs.": _either_order,
        "You merge one pair after another: one step merges the most frequent pair only.": _all_merged,
        "replace also finds the pair inside longer numbers: compare whole ids.": _by_replace,
        "You return one list of ids, expected a list for each word.": (
            lambda words, new: _flat(merge_step.reference(words, new))
        ),
        "You merge from the right: where pairs overlap, the left one comes first.": lambda words, new: [
            _replaced(word[::-1], _pairs(words).most_common(1)[0][0][::-1], new)[::-1] for word in words
        ],
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


def _with_mean(mean):
    """The network of a mean over the stack (n, …) of each matrix."""
    return lambda checkpoints, x: _network(*(mean(torch.stack([c[name] for c in checkpoints])) for name in "AB"), x)


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
        "You take the mean of the first two checkpoints alone.": _with_mean(lambda stack: stack[:2].mean(0)),
        "You take the mean of the last two checkpoints alone.": _with_mean(lambda stack: stack[-2:].mean(0)),
        "You use the last checkpoint alone.": lambda checkpoints, x: _network(*checkpoints[-1].values(), x),
        "You use the first checkpoint alone.": lambda checkpoints, x: _network(*checkpoints[0].values(), x),
        "(mean + next) / 2 gives the last one half of the weight: all count alike.": lambda checkpoints, x: _network(
            _running(checkpoints, "A"), _running(checkpoints, "B"), x
        ),
        "The ReLU is missing.": lambda checkpoints, x: x @ _mean(checkpoints, "A") @ _mean(checkpoints, "B"),
        "The ReLU comes last, expected between A and B: relu(x A) B.": (
            lambda checkpoints, x: (x @ _mean(checkpoints, "A") @ _mean(checkpoints, "B")).relu()
        ),
        "You divide by 2 whatever their number: divide by len(checkpoints).": _with_mean(
            lambda stack: stack.sum(0) / 2
        ),
        "You divide by n − 1: the mean divides by the number of checkpoints, n.": (
            _with_mean(lambda stack: stack.sum(0) / (len(stack) - 1))
        ),
        "You take the median, expected the mean.": _with_mean(lambda stack: stack.median(0).values),
        "You take the mean over the rows of each matrix, .mean(1): the checkpoints are the first axis of the stack, "
        ".mean(0).": _with_mean(lambda stack: stack.mean(1)),
        "Your mean is a single number: take it over the checkpoints alone, .mean(0).": lambda checkpoints, x: (
            (x * torch.stack([c["A"] for c in checkpoints]).mean()).relu()
            * torch.stack([c["B"] for c in checkpoints]).mean()
        ),
        "You add B up without dividing by the number of checkpoints.": lambda checkpoints, x: _network(
            _mean(checkpoints, "A"), sum(c["B"] for c in checkpoints), x
        ),
        "You divide by the number of checkpoints once more: the two means have done it.": lambda checkpoints, x: (
            average_weights.reference(checkpoints, x) / len(checkpoints)
        ),
        "You average the hidden layers' outputs, expected the weights A: one network runs.": lambda checkpoints, x: (
            sum((x @ c["A"]).relu() for c in checkpoints) / len(checkpoints) @ _mean(checkpoints, "B")
        ),
        "Your networks run one behind the other: each has x as its input, and the weights are averaged.": (
            lambda checkpoints, x: reduce(lambda h, c: _network(c["A"], c["B"], h), checkpoints, x) / len(checkpoints)
        ),
        "You average A only, and take B from the last checkpoint.": lambda checkpoints, x: _network(
            _mean(checkpoints, "A"), checkpoints[-1]["B"], x
        ),
    }
)
