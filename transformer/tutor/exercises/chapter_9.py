"""Exercises of chapter 9, inference."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from transformer.text.symbols import EOS as PACKAGE_EOS
from transformer.tutor.exercises.exercise import Arguments, Draw, exercise

BOS, EOS = 0, 1


class Writer:
    """A stand-in for a model: log-probabilities (V,) of the next token, which depend on every token so far."""

    def __init__(self, draw: Draw, vocab_size: int, length: int, early: float = -3.0) -> None:
        self.table = 1.5 * draw.normal(12, vocab_size, vocab_size)
        self.length = length  # tokens after which it ends
        self.early = early  # how likely it is to end before

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        if any(isinstance(token, list | tuple) or getattr(token, "ndim", 0) for token in tokens):
            raise TypeError("step takes the tokens so far as one row, such as [0, 3], without an axis for the batch")
        tokens = [int(token) for token in tokens]
        nothing = torch.zeros_like(self.table[0, 0])  # whoever forgets bos asks with an empty list
        scores = sum((self.table[place % 12, token] for place, token in enumerate(tokens)), nothing)
        ending = torch.zeros_like(scores)
        ending[EOS] = 20.0 if len(tokens) > self.length else self.early
        ending[BOS] = -50.0  # is never written
        if EOS in tokens:  # nobody should ask; whoever does is led astray
            ending[EOS], ending[-1] = -50.0, 20.0
        return (scores + ending).log_softmax(-1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Writer) and torch.equal(self.table, other.table)

    def __repr__(self) -> str:
        return f"a model that ends after {self.length} tokens"

    __hash__ = None


def writers(draw: Draw) -> Iterator[Arguments]:
    """Models that end before the limit, at it, and after it."""
    for length, max_len in ((2, 6), (4, 4), (9, 5), (3, 8), (0, 3)):
        yield Writer(draw, 7, length), BOS, EOS, max_len
    yield Writer(draw, 7, 3, early=-60.0), BOS, EOS, 5  # the least likely token is eos here, and bos elsewhere


@exercise(
    "9.1",
    writers,
    hints=[
        "What does step take, and which of the V numbers is the best?",
        "argmax gives a tensor; int(…) makes a token of it.",
    ],
    given="""
        tokens = [bos]
        while len(tokens) <= max_len:
            token = ...  # the likeliest after all tokens so far
            if token == eos:
                break
            tokens.append(token)
        return tokens[1:]
    """,
)
def my_greedy(step, bos, eos, max_len):
    """What greedy search writes, a list without bos and eos, at most max_len tokens. step(tokens) takes the list of
    all tokens so far, from bos on, and returns the log-probabilities (V,) of the next."""
    tokens = [bos]
    while len(tokens) <= max_len:
        token = int(step(tokens).argmax())
        if token == eos:
            break
        tokens.append(token)
    return tokens[1:]


def _greedy(step, bos, eos, max_len, endless=False, last=False, begins=False, ends=False, least=False, short=False):
    tokens = [bos]
    while len(tokens) <= max_len - short:
        log_probs = step(tokens[-1:] if last else tokens)
        token = int(log_probs.argmin() if least else log_probs.argmax())
        if token == eos and not endless:
            tokens += [eos] * ends
            break
        tokens.append(token)
    return tokens if begins else tokens[1:]


my_greedy.knobs(
    _greedy,
    endless="You do not stop at eos: what comes after it belongs to no sentence.",
    last="You feed the last token only: the next one depends on all tokens so far.",
    begins="bos still stands in your list: it is a mark, not a word. Return what comes behind it.",
    ends="eos stands in your list: it is a mark, not a word. Ask for eos before you append.",
    least="You take the least likely token: log-probabilities are largest, nearest to 0, at the best.",
    short="Where max_len ends the sentence, its last token is missing: bos does not count towards max_len, and only "
    "eos is cut off.",
)


def _chosen(step, bos, eos, max_len, choose=lambda scores: int(scores.argmax()), feed=lambda tokens: tokens):
    """Greedy search that chooses a token, or feeds the tokens, in a way of its own."""
    tokens = [bos]
    while len(tokens) <= max_len:
        token = choose(step(feed(tokens)))
        if token == eos:
            break
        tokens.append(token)
    return tokens[1:]


my_greedy.mistakes(
    {
        "max_len is not used: stop there, too.": lambda step, bos, eos, max_len: _greedy(step, bos, eos, 99),
        "You write one token too many: at most max_len, eos not counted.": (
            lambda step, bos, eos, max_len: _greedy(step, bos, eos, max_len + 1)
        ),
        "You ask step without bos: it wants all tokens so far, from bos on.": (
            lambda *args: _chosen(*args, feed=lambda tokens: tokens[1:])
        ),
        "You append the largest log-probability itself: argmax gives the token that has it.": (
            lambda *args: _chosen(*args, choose=lambda scores: scores.max().item())
        ),
        "0 comes out at every step: you ask for the argmax of a single number, or make a whole number of a "
        "log-probability. The token is the argmax of all (V,) that step returns.": (
            lambda *args: _chosen(*args, choose=lambda scores: int(scores[-1].argmax()))
        ),
        "You draw the next token: greedy search takes the likeliest one, the argmax.": (
            lambda *args: _chosen(*args, choose=lambda scores: torch.multinomial(scores.exp(), 1).item())
        ),
        "You stop at the package's EOS: here the end mark is the argument eos.": (
            lambda step, bos, eos, max_len: _chosen(step, bos, PACKAGE_EOS, max_len)
        ),
    }
)


def caches(draw: Draw) -> Iterator[Arguments]:
    """A new word, keys and values of the words before it, and matrices that are not square."""
    for n, d, d_k, d_v in ((1, 3, 2, 3), (2, 4, 5, 3), (4, 6, 4, 4)):
        W = {"Q": draw.normal(d, d_k), "K": draw.normal(d, d_k), "V": draw.normal(d, d_v)}
        yield draw.normal(d), draw.normal(n, d_k), draw.normal(n, d_v), W


@exercise(
    "9.2",
    caches,
    hints=[
        "Make q, k and v of the new word alone, and put k and v behind those of the earlier words.",
        "torch.cat([keys, k[None]]) is (n + 1, d_k): the new word may look at itself, too.",
    ],
)
def cached_attention(x, keys, values, W):
    """The attention of a new word x (D,), with the keys (n, d_k) and values (n, d_v) of the words before it. Returns
    its output (d_v,), and keys and values with the new word's behind. W["Q"], W["K"], W["V"]: (D, …)."""
    keys = torch.cat([keys, (x @ W["K"])[None]])  # (n + 1, d_k)
    values = torch.cat([values, (x @ W["V"])[None]])  # (n + 1, d_v)
    q = x @ W["Q"]  # (d_k,)
    weights = (keys @ q / math.sqrt(len(q))).softmax(-1)  # (n + 1,)
    return weights @ values, keys, values


def _cached(x, keys, values, W, before=False, unscaled=False, front=False, forgets=False, by_d=False):
    q, k, v = x @ W["Q"], (x @ W["K"])[None], (x @ W["V"])[None]
    longer = [torch.cat([k, keys] if front else [keys, k]), torch.cat([v, values] if front else [values, v])]
    seen = [keys, values] if before else longer
    scale = 1 if unscaled else math.sqrt(len(x) if by_d else len(q))
    output = (seen[0] @ q / scale).softmax(-1) @ seen[1]
    return (output, keys, values) if forgets else (output, *longer)


cached_attention.knobs(
    _cached,
    before="You attend before you append: the new word must be able to look at itself.",
    unscaled="The division by √d_k is missing.",
    by_d="You divide by the root of the word's size, expected that of the key's.",
    front="You put the new word in front: the caches run in the order of the words.",
    forgets="You return the old caches: the next word will not find this one.",
)


def _attended(x, keys, values, W, Q="Q", K="K", V="V", scale=lambda q, keys, values: math.sqrt(len(q)), axis=-1):
    """Attention of the new word with other matrices, another scale or another axis of the softmax."""
    keys, values = torch.cat([keys, (x @ W[K])[None]]), torch.cat([values, (x @ W[V])[None]])
    q = x @ W[Q]
    weights = (q[None] @ keys.mT / scale(q, keys, values)).softmax(axis)
    return (weights @ values)[0], keys, values


def _without_a_row(x, keys, values, W):
    q, k, v = x @ W["Q"], x @ W["K"], x @ W["V"]
    keys = torch.cat([keys, k])
    values = torch.cat([values, v])
    return (keys @ q / math.sqrt(len(q))).softmax(-1) @ values, keys, values


def _not_projected(x, keys, values, W):
    keys, values = torch.cat([keys, x[None]]), torch.cat([values, x[None]])
    return (keys @ (x @ W["Q"])).softmax(-1) @ values, keys, values


cached_attention.mistakes(
    {
        "You divide by the root of the number of keys, expected that of their size: √d_k.": (
            lambda *args: _attended(*args, scale=lambda q, keys, values: math.sqrt(len(keys)))
        ),
        "You divide by the root of the values' size d_v, expected that of the keys' size d_k.": (
            lambda *args: _attended(*args, scale=lambda q, keys, values: math.sqrt(values.size(-1)))
        ),
        'You put the new word\'s query behind the keys, expected its key: x @ W["K"].': (
            lambda *args: _attended(*args, K="Q")
        ),
        'You ask with the new word\'s key, expected its query: x @ W["Q"].': lambda *args: _attended(*args, Q="K"),
        'W["K"] and W["V"] are exchanged: keys are made with W["K"], values with W["V"].': (
            lambda *args: _attended(*args, K="V", V="K")
        ),
        "The softmax runs over an axis of one place, so every weight is 1: take it along the keys.": (
            lambda *args: _attended(*args, axis=0)
        ),
        "Keys and values come back in the wrong order: output, keys, values.": (
            lambda *args: tuple(cached_attention.reference(*args)[i] for i in (0, 2, 1))
        ),
        "You return the new word's key and value alone: the next word needs all of them, with the new ones behind.": (
            lambda x, keys, values, W: (
                cached_attention.reference(x, keys, values, W)[0],
                x @ W["K"],
                x @ W["V"],
            )
        ),
        "You return the output alone, expected three things: output, keys, values.": (
            lambda *args: cached_attention.reference(*args)[0]
        ),
        "Your output is a table of one row, (1, d_v), expected a vector (d_v,): take its row 0.": (
            lambda *args: (
                cached_attention.reference(*args)[0][None],
                *cached_attention.reference(*args)[1:],
            )
        ),
        "torch.cat joins a table and a vector only if the vector is a row: k[None] is (1, d_k).": _without_a_row,
        'You append x itself: its key is x @ W["K"], its value x @ W["V"].': _not_projected,
        'The factors stand in the wrong order: x is (D,) and W["Q"] is (D, d_k), so x @ W["Q"].': (
            lambda x, keys, values, W: W["Q"] @ x
        ),
    }
)


def _trap(draw: Draw, sharply: dict[tuple[int, int, int], float]) -> Writer:
    """A model that is undecided but for these scores, by place, token there, and token to come."""
    writer = Writer(draw, 6, 3)
    writer.table *= 0.002  # not 0: equally likely ones would be chosen at random
    for place, score in sharply.items():
        writer.table[place] = score
    return writer


def searches(draw: Draw) -> Iterator[Arguments]:
    """Models for which looking ahead pays, beams of two and three, and a limit that comes too early."""
    second_of_best = {(0, BOS, 2): 4.0, (0, BOS, 3): 3.0, (1, 2, 4): 6.0, (1, 2, 5): 5.9, (2, 5, EOS): 30.0}
    best_of_second = {(0, BOS, 2): 4.0, (0, BOS, 3): 3.9, (1, 3, EOS): 30.0}
    for scores in (second_of_best, best_of_second):
        yield _trap(draw, scores), BOS, EOS, 2, 5
    # The empty sentence finishes at once, with 7 %: it wins over the open one if that may not go on,
    at_once = {(0, BOS, 2): 6.0, (0, BOS, EOS): 6.5}
    yield _trap(draw, at_once), BOS, EOS, 2, 1
    # loses to the third one that finishes, so that two are not enough,
    yield _trap(draw, at_once | {(1, 2, 3): 9.0, (1, 2, EOS): 4.5, (2, 3, EOS): 30.0}), BOS, EOS, 2, 5
    # and takes no place from the open ones, of which the second is the best in the end.
    yield _trap(draw, at_once | {(1, 2, 3): 9.0, (1, 2, 4): 8.9, (2, 4, EOS): 30.0}), BOS, EOS, 2, 5
    # Nothing finishes in time, and the best one begins with the second word;
    yield _trap(draw, {(0, BOS, 2): 4.0, (0, BOS, 3): 3.9, (1, 3, 4): 30.0}), BOS, EOS, 2, 2
    # two continuations of the best word push 3 3 out, which would have finished.
    third = {(0, BOS, 2): 5.0, (0, BOS, 3): 4.1, (1, 2, 4): 9.0, (1, 2, 5): 8.9, (1, 3, 3): 30.0, (2, 3, EOS): 60.0}
    yield _trap(draw, third), BOS, EOS, 2, 3
    # The empty sentence is the likeliest; with totals divided by the length, the longer one would be.
    yield _trap(draw, {(0, BOS, EOS): 8.0, (0, BOS, 2): 4.6, (1, 2, EOS): 30.0}), BOS, EOS, 2, 3
    for length, max_len, k in ((2, 5, 2), (3, 6, 2), (1, 4, 3), (3, 6, 3), (9, 3, 2), (4, 7, 2), (2, 4, 3)):
        yield Writer(draw, 6, length, early=-0.5), BOS, EOS, k, max_len
    # Behind the second word eos is the likeliest, but two continuations of the best word are likelier still.
    third = {(0, BOS, 2): 5.0, (0, BOS, 3): 4.5, (1, 2, 4): 9.0, (1, 2, 5): 8.9, (1, 3, EOS): 8.5}
    yield _trap(draw, third), BOS, EOS, 2, 3


@exercise(
    "9.3",
    searches,
    hints=[
        "Keep a list of (total log-probability, tokens). It begins as [(0.0, [bos])].",
        "Continue every hypothesis by every token, put all continuations in one list, and keep the k best.",
        "Those that end in eos leave the beam with their total; return the best of them.",
    ],
)
def my_beam_search(step, bos, eos, k, max_len):
    """The best hypothesis of a beam of k, a list without bos and eos. Of all continuations of the beam the k likeliest
    stay; those that end in eos are finished and leave it. After max_len steps, or when the beam is empty, the
    likeliest finished one wins, or the likeliest open one where none has finished. step as in 9.1."""
    beam, finished = [(0.0, [bos])], []
    for _ in range(max_len):
        candidates = []
        for total, tokens in beam:
            for token, log_prob in enumerate(step(tokens).tolist()):
                candidates.append((total + log_prob, [*tokens, token]))
        kept = sorted(candidates, reverse=True)[:k]
        finished += [one for one in kept if one[1][-1] == eos]
        beam = [one for one in kept if one[1][-1] != eos]
    _, tokens = max(finished or beam)
    return [token for token in tokens[1:] if token != eos]


def _beam(step, bos, eos, k, max_len, own=False, adds=False, last=False, one=False, worst=False, ends=False):
    beam, finished = [(0.0, [bos])], []
    for i in range(max_len):
        found = []
        for total, tokens in beam:
            scores = step(tokens)
            best = scores.topk(1 if one or (own and i) else len(scores))
            values = best.values.exp() if adds else best.values
            found += [(total + v, [*tokens, t]) for v, t in zip(values.tolist(), best.indices.tolist(), strict=True)]
        kept = sorted(found, reverse=not worst)[:k]
        ended = [hypothesis for hypothesis in kept if hypothesis[1][-1] == eos]
        finished = (ended or finished) if last else finished + ended
        beam = [hypothesis for hypothesis in kept if hypothesis[1][-1] != eos]
        if not beam:
            break
    _, tokens = max(finished or beam)
    return tokens[1:] if ends else [token for token in tokens[1:] if token != eos]


my_beam_search.knobs(
    _beam,
    own="Each hypothesis keeps its own best continuation: that is k greedy searches. All of them must compete.",
    adds="You add probabilities: they multiply. Add their logarithms.",
    last="You return what finished last, expected the likeliest of all that have finished.",
    one="Only the best continuation of each hypothesis is tried: that is greedy search. Take the best k of each.",
    worst="You keep the least likely hypotheses: sort from the largest log-probability down.",
    ends="eos stands in your result: it is a mark, not a word. Leave it out in the end.",
)


def _searched(
    step, bos, eos, k, max_len,
    narrows=False, enough=False, uncut=False, early=False, best_of_each=False, feed=None, start=0.0, total=None,
):  # fmt: skip
    """Beam and finished hypotheses, sorted, of a search that does one thing in another way."""
    beam, finished = [(start, [bos])], []
    for _ in range(max_len):
        found = []
        for so_far, tokens in beam:
            best = step(feed(tokens) if feed else tokens).topk(k if uncut or best_of_each else step([bos]).numel())
            for v, t in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                found.append((total(so_far, v) if total else so_far + v, [*tokens, t]))
        kept = sorted(found, reverse=True)
        if early:  # puts aside what ends in eos, and cuts then
            kept = [one for one in kept if one[1][-1] == eos] + [one for one in kept if one[1][-1] != eos][:k]
        kept = kept if uncut or early else kept[: k - len(finished) * narrows]
        finished += [one for one in kept if one[1][-1] == eos]
        beam = [one for one in kept if one[1][-1] != eos]
        if not beam or (enough and len(finished) >= k):
            break
    return beam, finished


def _parents_exchanged(step, bos, eos, k, max_len):
    beam, finished = [(0.0, [bos])], []
    for _ in range(max_len):
        totals = torch.stack([total + step(tokens) for total, tokens in beam]).flatten()  # (hypotheses · V,)
        best, n = totals.topk(k), len(beam)
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        kept = [(total, [*beam[place % n][1], place // n]) for total, place in pairs]
        finished += [one for one in kept if one[1][-1] == eos]
        beam = [one for one in kept if one[1][-1] != eos]
        if not beam:
            break
    return _words(max(finished or beam))


def _words(hypothesis):
    tokens = hypothesis[1][1:]
    return tokens[:-1] if tokens[-1:] == [EOS] else tokens


def _winner(*args, **otherwise):
    beam, finished = _searched(*args, **otherwise)
    return _words(max(finished or beam))


def _length_counts(*args):
    beam, finished = _searched(*args)
    return _words(max(finished or beam, key=lambda one: one[0] / (len(one[1]) - 1)))


def _last_cut_off(*args):
    beam, finished = _searched(*args)
    return max(finished or beam)[1][1:-1]


def _first_that_finished(*args):
    beam, finished = _searched(*args)
    return _words((finished or beam)[0])


my_beam_search.mistakes(
    {
        "An open hypothesis wins although another has finished: put aside those that end in eos, and take an open one "
        "only where there are none.": (lambda *args: _words(max(itertools.chain(*_searched(*args))))),
        "You stop as soon as k hypotheses have finished: an open one may still finish with a larger total.": (
            lambda *args: _winner(*args, enough=True)
        ),
        "Your beam becomes narrower with each one that finishes, as in the package: here the k likeliest of all "
        "continuations stay at every step.": lambda *args: _winner(*args, narrows=True),
        "You take the best k of each hypothesis and never cut them down: only the k likeliest of all of them stay.": (
            lambda *args: _winner(*args, uncut=True)
        ),
        "You feed the last token only: the next one depends on all tokens so far.": (
            lambda *args: _winner(*args, feed=lambda tokens: tokens[-1:])
        ),
        "You take the remainder for the hypothesis, the quotient for the token: in a flat list of all continuations, "
        "place // V is the hypothesis, and place % V the token.": _parents_exchanged,
        "You multiply log-probabilities: probabilities multiply, their logarithms add up.": (
            lambda *args: _winner(*args, start=1.0, total=lambda so_far, v: so_far * v)
        ),
        "You divide totals by the length: here the likeliest wins, by its total log-probability.": _length_counts,
        "The first one to finish wins: expected the likeliest of all that have finished.": _first_that_finished,
        "Finished hypotheses count among the k: you put aside all that end in eos, and keep k open ones beside them.": (
            lambda *args: _winner(*args, early=True)
        ),
        "Finished hypotheses count among the k likeliest of all: you put aside what ends in eos among the best k of "
        "each.": lambda *args: _winner(*args, early=True, best_of_each=True),
        "You take one step too many: max_len tokens may stand behind bos.": (
            lambda step, bos, eos, k, max_len: _winner(step, bos, eos, k, max_len + 1)
        ),
        "You take one step too few: max_len tokens may stand behind bos.": (
            lambda step, bos, eos, k, max_len: _winner(step, bos, eos, k, max_len - 1)
        ),
        "You always cut the last token off: where nothing has finished it is a word, not eos.": _last_cut_off,
        "bos still stands in your result: it is a mark, not a word. Return what comes behind it.": (
            lambda step, bos, eos, k, max_len: [bos, *my_beam_search.reference(step, bos, eos, k, max_len)]
        ),
    }
)


def totals(draw: Draw) -> Iterator[Arguments]:
    """Log-probabilities of several hypotheses, their lengths, and strengths of the penalty."""
    for n, alpha in ((2, 0.6), (3, 1.0), (4, 0.3)):
        yield -draw.normal(n).abs() - 1, (draw.ids(9, n) + 2).to(draw.dtype), alpha


@exercise(
    "9.4",
    totals,
    hints=[
        "Log-probabilities are negative. Does a division by more than 1 make such a score better or worse, and which "
        "hypothesis is to gain by it?",
        "n holds a length for each hypothesis, and ** works on all of them. It comes before /: put the fraction in "
        "brackets.",
    ],
)
def length_normalised(logp, n, alpha):
    """The scores (B,) of hypotheses with log-probabilities logp (B,) and lengths n (B,): logp divided by the length
    penalty ((5 + n) / 6)^alpha of Wu et al. (2016)."""
    return logp / ((5 + n) / 6) ** alpha


def _normalised(logp, n, alpha, multiplies=False, plain=False, linear=False, outside=False):
    base = n if plain else (5 + n) / 6
    penalty = (5 + n) ** alpha / 6 if outside else base ** (1 if linear else alpha)
    return logp * penalty if multiplies else logp / penalty


length_normalised.knobs(
    _normalised,
    multiplies="Your score is logp times the penalty (divided by it with the exponent −α, it is the same): "
    "log-probabilities are negative, so the long hypothesis is punished twice. Divide.",
    plain="You divide by n^α: the penalty is ((5 + n) / 6)^α.",
    linear="The exponent alpha is missing.",
    outside="The 6 stands outside the power: ((5 + n) / 6)^α.",
)
length_normalised.mistakes(
    {
        "You subtract the penalty, expected a quotient.": lambda logp, n, alpha: logp - ((5 + n) / 6) ** alpha,
        "You raise the whole quotient to the power: a power of a negative number is NaN. Only the penalty has the "
        "exponent.": lambda logp, n, alpha: (logp / ((5 + n) / 6)) ** alpha,
        "You divide by alpha times (5 + n) / 6: alpha is an exponent, **.": (
            lambda logp, n, alpha: logp / ((5 + n) / 6 * alpha)
        ),
        "You divide by (5 + n) / 6 and multiply by alpha: alpha is the exponent of (5 + n) / 6, **.": (
            lambda logp, n, alpha: logp / ((5 + n) / 6) * alpha
        ),
        "Only n is divided by 6: put 5 + n in brackets.": lambda logp, n, alpha: logp / (5 + n / 6) ** alpha,
        "Only 5 is divided by 6: put 5 + n in brackets.": lambda logp, n, alpha: logp / (5 / 6 + n) ** alpha,
        "Only the 6 has the exponent, and you divide by 5 + n and by 6 in turn: put the fraction in brackets, "
        "((5 + n) / 6) ** alpha.": lambda logp, n, alpha: logp / (5 + n) / 6**alpha,
        "Only the 6 has the exponent: ** comes before /, so put the fraction in brackets, ((5 + n) / 6) ** alpha.": (
            lambda logp, n, alpha: logp / ((5 + n) / 6**alpha)
        ),
        "The exponent is applied before the division by 6, and logp is divided by 6, too: put the "
        "fraction in brackets, ((5 + n) / 6) ** alpha.": lambda logp, n, alpha: logp / (5 + n) ** alpha / 6,
        "5 and 6 are exchanged: the penalty is ((5 + n) / 6)^α.": lambda logp, n, alpha: logp / ((6 + n) / 5) ** alpha,
        "You divide the probability: the score is the log-probability, divided by the penalty. Leave exp out.": (
            lambda logp, n, alpha: logp.exp() / ((5 + n) / 6) ** alpha
        ),
        "len(n) is the number of hypotheses: each has a length of its own, n.": lambda logp, n, alpha: (
            logp / ((5 + len(n)) / 6) ** alpha
        ),
        "A power is ** in Python: ^ works on the bits of whole numbers.": (
            lambda logp, n, alpha: logp / (((5 + n) / 6) ^ alpha)
        ),
    }
)


def distributions(draw: Draw) -> Iterator[Arguments]:
    """Logits of several sizes, and shares that one token, some, or nearly all of them hold."""
    for V, p in ((4, 0.5), (5, 0.7), (8, 0.9), (8, 0.3), (10, 0.8)):
        yield 1.5 * draw.normal(V), p
    # Two tokens hold exactly one half each: together they reach p = 1, and no third one is needed.
    yield torch.tensor([0.0, -2000.0, 0.0, -3000.0], dtype=draw.dtype), 1.0


@exercise(
    "9.5",
    distributions,
    hints=[
        "Sort the probabilities from the largest down, and add them up as you go (cumsum).",
        "A token stays if those *before* it do not reach p yet: so the one that crosses p stays.",
        "order[drop] gives the ids to be set to −∞ in a clone of the logits.",
    ],
)
def top_p(logits, p):
    """The logits (V,) with −∞ for all tokens but the likeliest ones that together hold the probability p: as few of
    them as reach it."""
    probabilities, order = logits.softmax(-1).sort(descending=True)  # (V,) each
    before = probabilities.cumsum(-1) - probabilities  # what the likelier ones hold
    filtered = logits.clone()
    filtered[order[before >= p]] = -math.inf
    return filtered


def _top_p(logits, p, crossing=False, unsorted=False, zeros=False, least=False, extra=False):
    probabilities = logits.softmax(-1)
    order = torch.arange(len(logits)) if unsorted else probabilities.argsort(descending=not least)
    reached = probabilities[order].cumsum(-1)
    before = reached - probabilities[order]
    if extra:
        before = torch.cat([torch.zeros_like(before[:1]), before[:-1]])
    filtered = logits.clone()
    filtered[order[reached > p if crossing else before >= p]] = 0 if zeros else -math.inf
    return filtered


def _sorted(logits):
    return logits.sort(descending=True).values


def _before(logits):
    """What the tokens before each hold, in sorted order: (V,)."""
    probabilities = _sorted(logits).softmax(-1)
    return probabilities.cumsum(-1) - probabilities


def _at_least_one(stays):
    """The same, with the likeliest in any case: (V,) in sorted order."""
    return stays | (torch.arange(len(stays)) == 0)


def _filtered(logits, stays):
    """The logits with −∞ for all but those that stay, (V,) in sorted order."""
    filtered = torch.full_like(logits, -math.inf)
    ids = logits.argsort(descending=True)[stays]
    filtered[ids] = logits[ids]
    return filtered


top_p.knobs(
    _top_p,
    crossing="You drop the token that crosses p: what is left holds less than p, or is nothing at all.",
    unsorted="You add up in the order of the ids: sort by probability first.",
    zeros="You set logits to 0: e⁰ = 1, so those tokens are still drawn. −∞ takes them out.",
    least="You keep the least likely tokens: sort from the largest down.",
    extra="You keep one token more than is needed to reach p.",
)
top_p.mistakes(
    {
        "You compare each probability with p, expected the sum of the likeliest.": lambda logits, p: logits.masked_fill(
            logits.softmax(-1) < p, -math.inf
        ),
        "You return probabilities, expected logits.": lambda logits, p: top_p.reference(logits, p).softmax(-1),
        "You return the probabilities of the tokens that stay, expected their logits, and −∞ in the place of 0.": (
            lambda logits, p: logits.softmax(-1).where(top_p.reference(logits, p) > -math.inf, 0)
        ),
        "You return log-probabilities among the tokens that stay: they keep their logits as they are.": (
            lambda logits, p: top_p.reference(logits, p).log_softmax(-1)
        ),
        "You return log-probabilities: the tokens that stay keep their logits as they are.": (
            lambda logits, p: logits.log_softmax(-1).where(top_p.reference(logits, p) > -math.inf, -math.inf)
        ),
        "Where the likeliest tokens hold exactly p, you keep one more: a token goes as soon as those before it hold p "
        "or more (>=).": lambda logits, p: _filtered(logits, _before(logits) <= p),
        "Where the likeliest tokens reach p, the last of them is missing: ask what the tokens *before* it hold.": (
            lambda logits, p: _filtered(logits, _sorted(logits).softmax(-1).cumsum(-1) < p)
        ),
        "You keep what fits under p, and at least one token: as many stay as reach p, so keep the one that crosses p, "
        "too.": lambda logits, p: _filtered(logits, _at_least_one(_sorted(logits).softmax(-1).cumsum(-1) <= p)),
        "You keep what stays below p, and at least one token: as many stay as reach p, so keep the one that does.": (
            lambda logits, p: _filtered(logits, _at_least_one(_sorted(logits).softmax(-1).cumsum(-1) < p))
        ),
        "A large negative number is not −∞: write -math.inf, as the statement asks.": lambda logits, p: _filtered(
            logits, _before(logits) < p
        ).clamp(min=-1e9),
        "You keep a share p of the tokens, expected those that hold the probability p together.": (
            lambda logits, p: _filtered(logits, torch.arange(len(logits)) < max(1, math.ceil(p * len(logits))))
        ),
        "You keep what is likelier than p times the likeliest (that is min-p), expected as many as hold p together.": (
            lambda logits, p: logits.masked_fill(logits.softmax(-1) < p * logits.softmax(-1).max(), -math.inf)
        ),
        "You keep the likeliest token alone, expected as many as hold p together.": (
            lambda logits, p: _filtered(logits, torch.arange(len(logits)) < 1)
        ),
        "The mask is inverted: you set the tokens that should stay to −∞.": (
            lambda logits, p: _filtered(logits, _before(logits) >= p)
        ),
        "You keep what holds 1 − p: p is the probability of what stays.": (
            lambda logits, p: _filtered(logits, _before(logits) < 1 - p)
        ),
        "You return the logits in sorted order: bring them back to the places of their ids.": (
            lambda logits, p: _sorted(logits).masked_fill(_before(logits) >= p, -math.inf)
        ),
        "Your mask is in sorted order, the logits in that of the ids: order[mask] are the ids to be set to −∞.": (
            lambda logits, p: logits.masked_fill(_before(logits) >= p, -math.inf)
        ),
        "You return the tokens that stay alone, expected all V logits, with −∞ for the others.": (
            lambda logits, p: _sorted(logits)[_before(logits) < p]
        ),
    }
)
