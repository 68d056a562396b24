"""Exercises of chapter 9, inference."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from transformer.tutor.exercises.exercise import Arguments, Draw, exercise

BOS, EOS = 0, 1


class Writer:
    """A stand-in for a model: log-probabilities (V,) of the next token, which depend on every token so far."""

    def __init__(self, draw: Draw, vocab_size: int, length: int, early: float = -3.0) -> None:
        self.table = 1.5 * draw.normal(12, vocab_size, vocab_size)
        self.length = length  # tokens after which it ends
        self.early = early  # how likely it is to end before

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        tokens = [int(token) for token in tokens]
        scores = sum(self.table[place % 12, token] for place, token in enumerate(tokens))
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


@exercise(
    "9.1",
    writers,
    hints=[
        "Begin with [bos], ask step for log-probabilities, append the argmax, and ask again with all tokens so far.",
        "Stop as soon as the argmax is eos, or when max_len tokens stand behind bos.",
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


def _greedy(step, bos, eos, max_len, endless=False, last=False, marks=False, least=False, short=False, long=False):
    tokens = [bos]
    while len(tokens) <= max_len - short + long:
        log_probs = step(tokens[-1:] if last else tokens)
        token = int(log_probs.argmin() if least else log_probs.argmax())
        if token == eos and not endless:
            tokens += [eos] * marks
            break
        tokens.append(token)
    return tokens if marks else tokens[1:]


my_greedy.knobs(
    _greedy,
    endless="You do not stop at eos: what comes after it belongs to no sentence.",
    last="You feed the last token only: the next one depends on all tokens so far.",
    marks="Your result contains bos or eos: they are marks, not words.",
    least="You take the least likely token: log-probabilities are largest, nearest to 0, at the best.",
    short="You stop one token too early: bos does not count towards max_len.",
    long="You write one token too many: at most max_len, eos not counted.",
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


def _trap(draw: Draw, sharply: dict[tuple[int, int, int], float]) -> Writer:
    """A model that is undecided but for these scores, by place, token there, and token to come."""
    writer = Writer(draw, 6, 3)
    writer.table.zero_()
    for place, score in sharply.items():
        writer.table[place] = score
    return writer


def searches(draw: Draw) -> Iterator[Arguments]:
    """Models for which looking ahead pays, beams of two and three, and a limit that comes too early."""
    second_of_best = {(0, BOS, 2): 4.0, (0, BOS, 3): 3.0, (1, 2, 4): 6.0, (1, 2, 5): 5.9, (2, 5, EOS): 30.0}
    best_of_second = {(0, BOS, 2): 4.0, (0, BOS, 3): 3.9, (1, 3, EOS): 30.0}
    for scores in (second_of_best, best_of_second):
        yield _trap(draw, scores), BOS, EOS, 2, 5
    for length, max_len, k in ((2, 5, 2), (3, 6, 2), (1, 4, 3), (3, 6, 3), (9, 3, 2), (4, 7, 2), (2, 4, 3)):
        yield Writer(draw, 6, length, early=-0.5), BOS, EOS, k, max_len


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


def _beam(step, bos, eos, k, max_len, own=False, adds=False, last=False, one=False, worst=False, marks=False):
    beam, finished = [(0.0, [bos])], []
    for i in range(max_len):
        found = []
        for total, tokens in beam:
            best = step(tokens).topk(1 if one or (own and i) else k)
            values = best.values.exp() if adds else best.values
            found += [(total + v, [*tokens, t]) for v, t in zip(values.tolist(), best.indices.tolist(), strict=True)]
        kept = sorted(found, reverse=not worst)[:k]
        ended = [hypothesis for hypothesis in kept if hypothesis[1][-1] == eos]
        finished = (ended or finished) if last else finished + ended
        beam = [hypothesis for hypothesis in kept if hypothesis[1][-1] != eos]
        if not beam:
            break
    _, tokens = max(finished or beam)
    return tokens if marks else [token for token in tokens[1:] if token != eos]


my_beam_search.knobs(
    _beam,
    own="Each hypothesis keeps its own best continuation: that is k greedy searches. All of them must compete.",
    adds="You add probabilities: they multiply. Add their logarithms.",
    last="You return what finished last, expected the likeliest of all that have finished.",
    one="Only the best continuation of each hypothesis is tried: that is greedy search. Take the best k of each.",
    worst="You keep the least likely hypotheses: sort from the largest log-probability down.",
    marks="Your result contains bos or eos: they are marks, not words.",
)


def totals(draw: Draw) -> Iterator[Arguments]:
    """Log-probabilities of several hypotheses, their lengths, and strengths of the penalty."""
    for n, alpha in ((2, 0.6), (3, 1.0), (4, 0.3)):
        yield -draw.normal(n).abs() - 1, (draw.ids(9, n) + 2).to(draw.dtype), alpha


@exercise(
    "9.4",
    totals,
    hints=["The penalty is ((5 + n) / 6)^α.", "Log-probabilities are negative: to help the long one, divide."],
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
    multiplies="You multiply: log-probabilities are negative, so the long hypothesis is punished twice. Divide.",
    plain="You divide by n^α: the penalty is ((5 + n) / 6)^α.",
    linear="The exponent alpha is missing.",
    outside="The 6 stands outside the power: ((5 + n) / 6)^α.",
)
length_normalised.mistakes({"You subtract the penalty, expected a quotient.": lambda s, n, a: s - ((5 + n) / 6) ** a})


def distributions(draw: Draw) -> Iterator[Arguments]:
    """Logits of several sizes, and shares that one token, some, or nearly all of them hold."""
    for V, p in ((4, 0.5), (5, 0.7), (8, 0.9), (8, 0.3), (10, 0.8)):
        yield 1.5 * draw.normal(V), p


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
    filtered[order[(reached if crossing else before) >= p]] = 0 if zeros else -math.inf
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
    }
)
