"""Every search finds what it should, keeps its accounts right, and treats each sentence as if it were alone."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from transformer.attention import MultiHeadAttention
from transformer.decoding import (
    BeamNode,
    Decoded,
    DecodingConfig,
    Hypothesis,
    beam_search,
    filter_logits,
    greedy,
    length_penalty,
    sample,
    search,
    translate,
)
from transformer.model import Transformer
from transformer.text.batches import pad
from transformer.text.symbols import BOS, EOS, PAD, UNK
from transformer.text.tokenizer import Tokenizer

Build = Callable[..., Transformer]

SOURCES = [[5, 4, 7, EOS], [6, EOS], [9, 9, 8, 7, 6, 5, EOS], [10, 4, EOS], [4, EOS]]
SEEDS = pytest.mark.parametrize("seed", range(6))
ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
SEARCHES = pytest.mark.parametrize("search", [greedy, beam_search, sample])


@pytest.fixture
def lively(tiny_model: Build) -> Build:
    """Builds a model for each seed; translations differ from source to source, for its attention is sharp."""

    def build(seed: int = 0, **changes: Any) -> Transformer:
        torch.manual_seed(seed)
        model = tiny_model(fresh=True, tie_embeddings=False, **changes)
        with torch.no_grad():
            for attention in (module for module in model.modules() if isinstance(module, MultiHeadAttention)):
                attention.query.weight *= 3
                attention.key.weight *= 3
            model.output.weight *= 2
        return model

    return build


@pytest.fixture
def model(lively: Build) -> Transformer:
    return lively()


def fix_logits(model: Transformer, logits: list[float]) -> Transformer:
    """Let the model give every next token the same logits, whatever it reads."""
    nn.init.zeros_(model.output.weight)
    model.output.bias = nn.Parameter(torch.tensor(logits))
    return model


def set_bias(model: Transformer, token: int, bias: float) -> Transformer:
    """Make one token more or less likely everywhere."""
    model.output.bias = nn.Parameter(bias * F.one_hot(torch.tensor(token), model.config.vocab_size))
    return model


def never_ending(model: Transformer) -> Transformer:
    return set_bias(model, EOS, -1e4)


def log_probs_of_next(model: Transformer, source: list[int], tokens: list[int]) -> Tensor:
    """By recomputation from scratch: (V,)."""
    with torch.no_grad():
        return model(torch.tensor([source]), torch.tensor([[BOS, *tokens]]))[0, -1].log_softmax(-1)


def teacher_forced(model: Transformer, source: list[int], hypothesis: Hypothesis) -> float:
    target = torch.tensor([[BOS, *hypothesis.tokens, *[EOS] * hypothesis.finished]])
    with torch.no_grad():
        logits = model(torch.tensor([source]), target[:, :-1])
    return -F.cross_entropy(logits[0], target[0, 1:], reduction="sum").item()


def best(results: list[Decoded]) -> list[list[int]]:
    return [result.best.tokens for result in results]


# Greedy


def test_greedy_takes_the_most_likely_word_until_the_end(model: Transformer):
    """The mistakes: EOS ignored, PAD as the start symbol."""
    set_bias(model, EOS, 1.0)
    for source, result in zip(SOURCES, greedy(model, pad(SOURCES)), strict=True):
        expected: list[int] = []
        while len(expected) < len(source) - 1 + 50 and (not expected or expected[-1] != EOS):
            scores = log_probs_of_next(model, source, expected)
            scores[[PAD, BOS]] = -math.inf
            expected.append(int(scores.argmax()))
        assert [*result.best.tokens, *[EOS] * result.best.finished] == expected
    assert any(result.best.finished and result.best.tokens for result in greedy(model, pad(SOURCES)))


@SEEDS
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("endless", [False, True])
def test_beam_of_one_is_greedy(lively: Build, seed: int, alpha: float, endless: bool):
    model = lively(seed)
    if endless:
        never_ending(model)
    source = pad(SOURCES)
    one, by_greed = beam_search(model, source, beam=1, alpha=alpha, max_length=12), greedy(model, source, 12)
    assert best(one) == best(by_greed)
    for a, b in zip(one, by_greed, strict=True):
        assert len(a.hypotheses) == 1 and a.best.finished == b.best.finished
        assert a.best.log_prob == pytest.approx(b.best.log_prob, rel=1e-5)
    assert not endless or not any(result.best.finished for result in one)


# Beam search against simpler searches


def all_hypotheses(model: Transformer, source: list[int], max_length: int) -> Iterator[Hypothesis]:
    """Every translation that ends within the limit."""
    words = range(UNK, model.config.vocab_size)
    for n in range(max_length):
        for tokens in itertools.product(words, repeat=n):
            open_end = Hypothesis(list(tokens), 0.0, finished=True)
            yield Hypothesis(open_end.tokens, teacher_forced(model, source, open_end), finished=True)


@ALPHAS
@pytest.mark.parametrize("seed", range(4))
def test_beam_as_wide_as_all_sequences_is_exhaustive(lively: Build, seed: int, alpha: float):
    model, max_length = lively(seed, vocab_size=6), 4
    sources = [[5, 4, 4, EOS], [3, 5, EOS]]
    n_sequences = sum(3**n for n in range(max_length + 1))
    for source, result in zip(sources, beam_search(model, pad(sources), n_sequences, alpha, max_length), strict=True):
        everything = list(all_hypotheses(model, source, max_length))
        winner = max(everything, key=lambda h: h.score(alpha))
        assert result.best.tokens == winner.tokens and result.best.finished
        assert result.best.score(alpha) == pytest.approx(winner.score(alpha), rel=1e-4)
        known = {tuple(h.tokens): h.log_prob for h in everything}
        for hypothesis in result.hypotheses:
            assert hypothesis.log_prob == pytest.approx(known[tuple(hypothesis.tokens)], rel=1e-4)


def plain_beam_search(
    model: Transformer, source: list[int], beam: int, alpha: float, limit: int
) -> tuple[list[Hypothesis], int]:
    """Beam search as one would explain it: one sentence, lists, no cache.

    It goes on to the end, and returns all it found and the first step at which it could have stopped.
    """
    open_ends, finished, could_stop = [Hypothesis([], 0.0, False)], [], limit
    for n in range(1, limit + 1):
        candidates = []
        for parent in open_ends:
            scores = log_probs_of_next(model, source, parent.tokens).tolist()
            for token in range(EOS, len(scores)):
                log_prob = parent.log_prob + scores[token]
                if token == EOS:
                    candidates.append(Hypothesis(parent.tokens, log_prob, True))
                else:
                    candidates.append(Hypothesis([*parent.tokens, token], log_prob, False))
        survivors = sorted(candidates, key=lambda h: h.log_prob, reverse=True)[: beam - len(finished)]
        finished += [h for h in survivors if h.finished]
        open_ends = [h for h in survivors if not h.finished]
        so_far = max((h.score(alpha) for h in finished), default=-math.inf)
        reachable = max((h.log_prob / length_penalty(limit, alpha) for h in open_ends), default=-math.inf)
        if so_far >= reachable:
            could_stop = min(could_stop, n)
    return sorted(finished or open_ends, key=lambda h: h.score(alpha), reverse=True), could_stop


@SEEDS
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("beam", [2, 3, 5, pytest.param(12, marks=pytest.mark.slow)])
def test_beam_search_equals_a_plain_one_and_stops_as_soon_as_it_may(lively: Build, seed: int, alpha: float, beam: int):
    """Cached, batched and stopped early, it finds the same best translation as without any of that."""
    model = set_bias(lively(seed), EOS, seed - 2.0)  # from rarely ending to ending soon
    for source, result in zip(SOURCES, beam_search(model, pad(SOURCES), beam, alpha, 6, history=True), strict=True):
        expected, could_stop = plain_beam_search(model, source, beam, alpha, limit=6)
        assert result.best.tokens == expected[0].tokens and result.best.finished == expected[0].finished
        assert result.best.log_prob == pytest.approx(expected[0].log_prob, rel=1e-4)
        assert len(result.history) == could_stop
        assert len(result.hypotheses) <= beam
        assert {tuple(h.tokens) for h in result.hypotheses} <= {tuple(h.tokens) for h in expected}


def test_beam_search_takes_what_was_cut_off_only_where_nothing_ended(model: Transformer):
    """With EOS possible but unlikely, the one hypothesis that reached it wins over likelier open ends."""
    logits = [0.0, 0.0, 0.0, 1.0, 1.0, 0.5, *[-9.0] * 5]
    source = torch.tensor([[5, EOS]])
    (ended,) = beam_search(fix_logits(model, logits), source, beam=4, alpha=0.0, max_length=1)
    assert [(h.tokens, h.finished) for h in ended.hypotheses] == [([], True)]
    (cut,) = beam_search(fix_logits(model, logits), source, beam=3, alpha=0.0, max_length=1)
    assert sorted((h.tokens, h.finished) for h in cut.hypotheses) == [([3], False), ([4], False), ([5], False)]
    assert cut.hypotheses[-1].tokens == [5]


# Scores


@ALPHAS
def test_scores_use_the_length_penalty_of_wu_et_al(alpha: float):
    """((5 + n)/6)^α of all tokens, EOS included; the mistake is n^α."""
    for n in range(1, 9):
        assert length_penalty(n, alpha) == pytest.approx(math.exp(alpha * (math.log(5 + n) - math.log(6))))
        ended, cut_off = Hypothesis([7] * (n - 1), -3.0, True), Hypothesis([7] * n, -3.0, False)
        assert ended.length == cut_off.length == n
        assert ended.score(alpha) == cut_off.score(alpha) == pytest.approx(-3.0 * (6 / (5 + n)) ** alpha)


@SEARCHES
@pytest.mark.parametrize("endless", [False, True])
def test_log_prob_is_what_teacher_forcing_gives(
    model: Transformer, search: Callable[..., list[Decoded]], endless: bool
):
    """The mistakes: adding probabilities, or changing a finished hypothesis while others go on."""
    if endless:
        never_ending(model)
    for source, result in zip(SOURCES, search(model, pad(SOURCES), max_length=9), strict=True):
        for hypothesis in result.hypotheses:
            expected = teacher_forced(model, source, hypothesis)
            assert hypothesis.log_prob == pytest.approx(expected, rel=1e-4, abs=1e-5)
            assert hypothesis.length <= 9 and (hypothesis.finished or hypothesis.length == 9)


@SEEDS
def test_hypotheses_are_ranked_distinct_and_their_own(lively: Build, seed: int):
    """The mistake: hypotheses that alias each other's lists."""
    model = set_bias(lively(seed), EOS, 1.0)
    for result in beam_search(model, pad(SOURCES), beam=5, max_length=8):
        scores = [hypothesis.score(0.6) for hypothesis in result.hypotheses]
        assert scores == sorted(scores, reverse=True) and result.best is result.hypotheses[0]
        before = [tuple(hypothesis.tokens) for hypothesis in result.hypotheses]
        assert len(set(before)) == len(before)
        result.best.tokens.append(99)
        assert [tuple(hypothesis.tokens) for hypothesis in result.hypotheses[1:]] == before[1:]


# Batches


@SEARCHES
@pytest.mark.parametrize("endless", [False, True])
def test_batched_equals_one_at_a_time_in_any_order(model: Transformer, search: Callable[..., Any], endless: bool):
    if endless:
        never_ending(model)
    options = {"temperature": 0.0} if search is sample else {}
    alone = [search(model, torch.tensor([source]), **options)[0] for source in SOURCES]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        together = search(model, pad([SOURCES[i] for i in order]), **options)
        for i, result in zip(order, together, strict=True):
            assert [h.tokens for h in result.hypotheses] == [h.tokens for h in alone[i].hypotheses]
            assert result.best.log_prob == pytest.approx(alone[i].best.log_prob, rel=1e-4)


@SEARCHES
def test_batch_of_nothing_gives_nothing(model: Transformer, search: Callable[..., Any]):
    assert search(model, torch.empty(0, 3, dtype=torch.long)) == []


@pytest.mark.parametrize(("search", "width"), [(greedy, 1), (beam_search, 4)])
def test_finished_sentences_leave_the_batch(model: Transformer, search: Callable[..., Any], width: int):
    """And the decoder reads no token twice."""
    shapes: list[tuple[int, ...]] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[:2])))
    never_ending(model)
    results = search(model, pad(SOURCES))
    lengths = sorted(result.best.length for result in results)
    alive = [sum(length > step for length in lengths) for step in range(lengths[-1])]
    assert shapes == [(n * (width if step else 1), 1) for step, n in enumerate(alive)]
    assert len(set(alive)) == 4  # sentences of 1, 1, 2, 3 and 6 words


# Limits


@SEARCHES
def test_translation_may_be_fifty_tokens_longer_than_its_source(model: Transformer, search: Callable[..., Any]):
    results = search(never_ending(model), pad(SOURCES))
    assert [len(result.best.tokens) for result in results] == [len(source) - 1 + 50 for source in SOURCES]
    assert not any(result.best.finished for result in results)


@SEARCHES
@pytest.mark.parametrize("limit", [1, 3])
def test_limit_can_be_given(model: Transformer, search: Callable[..., Any], limit: int):
    results = search(never_ending(model), pad(SOURCES), max_length=limit)
    assert [len(result.best.tokens) for result in results] == [limit] * len(SOURCES)
    with pytest.raises(ValueError, match="max_length is 0, expected at least 1 token"):
        search(model, pad(SOURCES), max_length=0)


@SEARCHES
def test_learned_positions_end_a_translation_with_a_warning(lively: Build, search: Callable[..., Any]):
    model = never_ending(lively(positions="learned"))  # of 16 positions
    with pytest.warns(UserWarning, match="has learned 16 positions: translations end there, not at the limit of 56"):
        results = search(model, pad(SOURCES))
    assert {len(result.best.tokens) for result in results} == {16}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(search(model, pad(SOURCES), max_length=16)[0].best.tokens) == 16
    with pytest.warns(UserWarning, match="not at the limit of 17"):
        search(model, pad(SOURCES), max_length=17)


@SEARCHES
def test_padding_and_beginning_are_never_written(model: Transformer, search: Callable[..., Any]):
    logits = [9.0, 9.0, -2.0, *[0.0] * 8]  # as if the model wanted nothing else
    for result in search(fix_logits(model, logits), pad(SOURCES), max_length=5):
        assert all(not {PAD, BOS, EOS} & set(hypothesis.tokens) for hypothesis in result.hypotheses)


@SEARCHES
@pytest.mark.parametrize("training", [False, True])
def test_search_is_without_dropout_and_leaves_the_model_as_it_was(
    lively: Build, search: Callable[..., Any], training: bool
):
    model = lively(dropout=0.5, attention_dropout=0.5)
    options = {"temperature": 0.0} if search is sample else {}
    expected = search(model, pad(SOURCES), max_length=6, **options)
    assert search(model.train(training), pad(SOURCES), max_length=6, **options) == expected
    assert all(module.training == training for module in model.modules())


# The history of a beam search


def replay(history: list[list[BeamNode]], step: int, place: int) -> list[int]:
    """The tokens that lead to a node, from the first step on."""
    tokens: list[int] = []
    for nodes in reversed(history[: step + 1]):
        tokens.insert(0, nodes[place].token)
        place = nodes[place].parent
    return tokens


@SEEDS
@pytest.mark.parametrize("beam", [1, 3, 20])
def test_history_tells_how_every_hypothesis_came_about(lively: Build, seed: int, beam: int):
    model = set_bias(lively(seed), EOS, 1.0)
    results = beam_search(model, pad(SOURCES), beam=beam, max_length=5, history=True)
    for source, result in zip(SOURCES, results, strict=True):
        found: dict[tuple[int, ...], float] = {}
        n_finished = 0
        for step, nodes in enumerate(result.history):
            assert 0 < len(nodes) <= beam - n_finished
            assert [n.log_prob for n in nodes] == sorted((n.log_prob for n in nodes), reverse=True)
            for place, node in enumerate(nodes):
                parent = result.history[step - 1][node.parent] if step else BeamNode(0, BOS, 0.0, False)
                assert not parent.finished and node.log_prob <= parent.log_prob
                assert node.finished == (node.token == EOS) and (step or node.parent == 0)
                tokens = replay(result.history, step, place)
                *words, _ = tokens if node.finished else [*tokens, EOS]
                expected = teacher_forced(model, source, Hypothesis(words, 0.0, node.finished))
                assert node.log_prob == pytest.approx(expected, rel=1e-4, abs=1e-5)
                if node.finished:
                    found[tuple(words)] = node.log_prob
            n_finished += sum(node.finished for node in nodes)
        if found:
            assert {tuple(h.tokens): h.log_prob for h in result.hypotheses} == found
        else:
            last = [replay(result.history, step, place) for place in range(len(nodes))]
            assert sorted(h.tokens for h in result.hypotheses) == sorted(last)


def test_history_is_kept_on_request_only(model: Transformer):
    assert all(result.history == [] for result in beam_search(model, pad(SOURCES), max_length=3))


# Attention behind a translation


@SEARCHES
@pytest.mark.parametrize("bias", [2.0, -1e4], ids=["ended", "cut off"])
def test_attention_on_request_is_that_of_every_step(model: Transformer, search: Callable[..., Any], bias: float):
    set_bias(model, EOS, bias)
    results = search(model, pad(SOURCES), max_length=4, attention=True)
    assert all(result.attention is None for result in search(model, pad(SOURCES), max_length=4))
    for source, result in zip(SOURCES, results, strict=True):
        t, s, maps = result.best.length, len(source), result.attention
        assert (maps.encoder.shape, maps.decoder.shape) == ((2, 1, 2, s, s), (2, 1, 2, t, t))
        assert maps.cross.shape == (2, 1, 2, t, s)
        for weights in (maps.encoder, maps.decoder, maps.cross):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        inputs = [BOS, *result.best.tokens][:t]  # row t is the step that chose token t
        expected = model.attention_maps(torch.tensor([source]), torch.tensor([inputs]))
        torch.testing.assert_close(maps.cross, expected.cross)
    assert {result.best.finished for result in results} >= {bias > 0}


# Sampling


def frequencies(model: Transformer, **options: Any) -> Tensor:
    """How often each token was drawn as the first one, of 4,000 times: (V,)."""
    source = torch.tensor([[5, EOS]]).expand(4_000, 2)
    results = sample(model, source, max_length=1, generator=torch.Generator().manual_seed(1), **options)
    drawn = [result.best.tokens[0] if result.best.tokens else EOS for result in results]
    return torch.bincount(torch.tensor(drawn), minlength=11) / 4_000


LOGITS = [-math.inf, -math.inf, 1.0, 2.0, 0.5, 0.0, -1.0, 1.5, -2.0, 0.2, 0.8]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_they_are_likely(model: Transformer, temperature: float):
    expected = (torch.tensor(LOGITS) / temperature).softmax(-1)
    got = frequencies(fix_logits(model, [-1e4, -1e4, *LOGITS[2:]]), temperature=temperature)
    margin = 4 * (expected * (1 - expected) / 4_000).sqrt()  # standard errors
    assert ((got - expected).abs() <= margin).all()
    assert not ((got - torch.tensor(LOGITS).softmax(-1)).abs() <= margin).all() or temperature == 1.0


@pytest.mark.parametrize(("options", "drawn"), [({"top_k": 2}, {3, 7}), ({"top_p": 0.6}, {2, 3, 7})], ids=str)
def test_filters_limit_what_is_drawn(model: Transformer, options: dict[str, float], drawn: set[int]):
    """e², e^1.5 and e¹ make up 35 %, 21 % and 13 % of the distribution."""
    fix_logits(model, [-1e4, -1e4, *LOGITS[2:]])
    assert set(frequencies(model, **options).nonzero()[:, 0].tolist()) == drawn


def test_temperature_of_zero_is_greedy(model: Transformer):
    assert best(sample(model, pad(SOURCES), temperature=0.0)) == best(greedy(model, pad(SOURCES)))


def test_same_seed_gives_the_same_translations(model: Transformer):
    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return best(sample(never_ending(model), pad(SOURCES), temperature=2.0, generator=generator, max_length=8))

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [0, 1, 3]),
        ({"top_k": 9}, [0, 1, 2, 3]),
        ({"top_p": 0.01}, [1]),
        ({"top_p": 0.4}, [1]),
        ({"top_p": 0.5}, [1, 3]),  # the token that crosses the line belongs to it
        ({"top_p": 0.71}, [0, 1, 3]),
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_k": 2, "top_p": 0.9}, [1, 3]),
        ({"top_k": 2, "top_p": 0.5}, [1]),  # of those left, token 1 has 4/7
    ],
    ids=str,
)
def test_filters_leave_the_likeliest_as_they_are(options: dict[str, float], left: list[int]):
    logits = torch.tensor([0.2, 0.4, 0.1, 0.3]).log()
    expected = torch.full((4,), -math.inf)
    expected[left] = logits[left]
    assert torch.equal(filter_logits(logits, **options), expected)
    rows = torch.stack([logits, logits.flip(0)])
    assert torch.equal(filter_logits(rows, **options), torch.stack([expected, expected.flip(0)]))


@given(weights=st.lists(st.integers(1, 50), min_size=1, max_size=8, unique=True), share=st.floats(0.01, 0.99))
def test_nucleus_is_the_smallest_set_of_likely_tokens_that_holds_enough(weights: list[int], share: float):
    probabilities = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    inside = filter_logits(probabilities.log(), top_p=share).isfinite()
    assert probabilities[inside].sum() >= share - 1e-12
    assert probabilities[inside].sum() - probabilities[inside].min() < share + 1e-12
    assert not (~inside).any() or probabilities[inside].min() > probabilities[~inside].max()


def test_nucleus_of_everything_leaves_nothing_out():
    """Though a sum of many small numbers may reach 1 before the last of them."""
    logits = 3 * torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(filter_logits(logits, top_p=1.0), logits)


def test_of_equal_logits_only_so_many_are_kept():
    assert filter_logits(torch.zeros(2, 5), top_k=2).isfinite().sum(-1).tolist() == [2, 2]


# Bad input


@pytest.mark.parametrize(
    ("search", "options", "message"),
    [
        (beam_search, {"beam": 0}, r"beam is 0, expected from 1 \(greedy search\) to 100,000 hypotheses"),
        (beam_search, {"alpha": -0.1}, r"alpha is -0.1, expected 0 \(no length penalty\) or more"),
        (beam_search, {"alpha": math.nan}, "alpha is nan, expected 0"),
        (beam_search, {"alpha": 2000.0}, "alpha is 2000.0, expected .* up to 10"),
        (beam_search, {"max_length": 10**12}, "max_length is 1000000000000, expected at least 1 token, and fewer than"),
        (sample, {"temperature": math.inf}, "temperature is inf, expected .* from 1e-6 to 1e6"),
        (sample, {"temperature": 1e-40}, "temperature is 1e-40, expected"),
        (DecodingConfig, {"method": "sample", "seed": 2**64}, "seed is a number of 20 digits, expected one below 2⁶³"),
        (DecodingConfig, {"method": "sample", "seed": -1}, "seed is -1, expected 0 or more"),
        (sample, {"temperature": -1.0}, r"temperature is -1.0, expected 0 \(greedy\) or more"),
        (sample, {"temperature": math.nan}, "temperature is nan"),
        (sample, {"top_k": 0}, "top_k is 0, expected at least 1"),
        (sample, {"top_p": 0.0}, "top_p is 0.0, expected more than 0 and at most 1"),
        (sample, {"top_p": 1.1}, "top_p is 1.1, expected more than 0 and at most 1"),
        (sample, {"temperature": 0, "top_k": 0}, "top_k is 0, expected at least 1"),
        (beam_search, {"beam": 10**12}, "beam is 1000000000000, .* to 100,000 hypotheses"),
        (DecodingConfig, {"beam": 10**12}, "beam is 1000000000000, .* to 100,000 hypotheses"),
        (DecodingConfig, {"method": "greedy", "beam": -3}, "beam is -3, expected from 1"),
        (DecodingConfig, {"alpha": math.nan}, "alpha is nan, expected 0"),
        (DecodingConfig, {"method": "sample", "temperature": -1.0}, "temperature is -1.0, expected 0"),
        (DecodingConfig, {"method": "sample", "top_p": 5.0}, "top_p is 5.0, expected more than 0"),
        (DecodingConfig, {"max_length": 0}, "max_length is 0, expected at least 1 token"),
        (DecodingConfig, {"batch_size": 0}, "batch_size is 0, expected at least 1 sentence"),
        (DecodingConfig, {"top_k": 5}, "top_k or top_p was given, and method is 'beam'.*expected method"),
        (DecodingConfig, {"method": "greedy", "temperature": 0.5}, "temperature, .* was given, and method is 'gree"),
        (DecodingConfig, {"method": "guess"}, "method is 'guess', expected one of beam, greedy, sample"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    model: Transformer, search: Callable[..., Any], options: dict[str, Any], message: str
):
    given = () if search is DecodingConfig else (model, pad(SOURCES))
    with pytest.raises(ValueError, match=message):
        search(*given, **options)


@pytest.mark.parametrize("setting", [{"beam": 2.0}, {"alpha": "0.6"}, {"max_length": 2.5}, {"seed": None}], ids=str)
def test_settings_of_another_type_are_refused(setting: dict[str, Any]):
    with pytest.raises(TypeError, match=f"{next(iter(setting))} is .*, expected a"):
        DecodingConfig(**setting)


@pytest.mark.parametrize(
    ("search", "options", "expected"),
    [
        *((beam_search, {"beam": beam}, "a whole number") for beam in (2.5, True, "4", None)),
        *((beam_search, {"alpha": alpha}, "a number") for alpha in ("1", None, True)),
        *((sample, {"top_k": k}, "a whole number") for k in (2.5, True, "4")),
        *((sample, {"top_p": p}, "a number") for p in ("1", True)),
        *((sample, {"temperature": t}, "a number") for t in ("1", None, True)),
    ],
)
def test_searches_refuse_what_is_no_number(model: Transformer, search: Any, options: dict[str, Any], expected: str):
    (name,) = options
    with pytest.raises(TypeError, match=f"{name} is .*, expected {expected}"):
        search(model, pad(SOURCES), **options)


def test_length_that_is_no_whole_number_is_refused(model: Transformer):
    for method in (greedy, beam_search, sample):
        with pytest.raises(TypeError, match=r"max_length is 1\.5, expected a whole number"):
            method(model, pad(SOURCES), max_length=1.5)


@pytest.mark.parametrize("share", [1e-300, 1e-46, 1e-20])
def test_smallest_nucleus_is_the_likeliest_token(share: float):
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert filter_logits(logits, top_p=share).isfinite().tolist() == [[False, True, False]]


@SEARCHES
def test_weights_that_are_no_numbers_are_said(model: Transformer, search: Callable[..., Any]):
    """A training that diverged in memory: nothing was loaded that could have been refused."""
    with torch.no_grad():
        model.encoder.layers[0].feed_forward.inner.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="the scores of sentence 1 are no finite numbers"):
        search(model, pad(SOURCES))


def test_extreme_settings_that_are_allowed_work(model: Transformer):
    source = pad(SOURCES)
    assert all(d.hypotheses for d in beam_search(model, source, alpha=10.0))
    assert best(sample(model, source, 1e-6, generator=torch.Generator())) == best(greedy(model, source))
    assert len(sample(model, source, 1e6, generator=torch.Generator())) == len(source)


# From text to text

SENTENCES = ["der Hund schläft", "", "die Katze", "der kleine Hund und die Katze schlafen", "Hund"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.words(SENTENCES)


@pytest.fixture
def reader(lively: Build, tokenizer: Tokenizer) -> Transformer:
    return lively(seed=9, vocab_size=len(tokenizer))  # a translation of its own for each sentence


def test_decoding_names_its_methods_and_passes_on_their_settings(model: Transformer):
    source = pad(SOURCES)
    settings = {"temperature": 3.0, "top_k": 4, "top_p": 0.9, "max_length": 5}
    generator = torch.Generator().manual_seed(7)
    assert search(model, source, DecodingConfig("greedy", max_length=5)) == greedy(model, source, 5)
    beam = DecodingConfig(beam=3, alpha=2.0, max_length=5)
    assert search(model, source, beam) == beam_search(model, source, 3, 2.0, 5)
    drawn = sample(model, source, generator=generator, **settings)
    assert search(model, source, DecodingConfig("sample", seed=7, **settings)) == drawn
    assert search(model, source, DecodingConfig("sample", seed=8, **settings)) != drawn


def test_default_is_the_papers_beam_search(model: Transformer):
    assert search(model, pad(SOURCES), DecodingConfig()) == beam_search(model, pad(SOURCES), beam=4, alpha=0.6)
    assert beam_search(model, pad(SOURCES)) == beam_search(model, pad(SOURCES), beam=4, alpha=0.6)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_translations_come_in_the_order_of_the_sentences(reader: Transformer, tokenizer: Tokenizer, batch_size: int):
    never_ending(reader)  # or all of them might be empty
    config = DecodingConfig(max_length=4, batch_size=batch_size)
    expected = []
    for sentence in SENTENCES:
        source = torch.tensor([[*tokenizer.encode(sentence), EOS]])
        tokens = beam_search(reader, source, max_length=4)[0].best.tokens
        expected.append(tokenizer.decode(tokens) if sentence else "")
    assert translate(reader, tokenizer, SENTENCES, config) == expected
    assert translate(reader, tokenizer, iter(SENTENCES), config) == expected
    assert len(set(expected)) == len(SENTENCES)


@pytest.mark.parametrize(("batch_size", "shapes"), [(2, [(2, 8), (2, 3)]), (3, [(3, 8), (1, 2)])])
def test_sentences_of_like_length_are_translated_together(
    reader: Transformer, tokenizer: Tokenizer, batch_size: int, shapes: list[tuple[int, int]]
):
    seen: list[tuple[int, ...]] = []
    reader.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[:2])))
    translate(reader, tokenizer, SENTENCES, DecodingConfig("greedy", batch_size=batch_size))
    assert seen == shapes


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_batch_is_drawn_by_numbers_of_its_own(reader: Transformer, tokenizer: Tokenizer, batch_size: int):
    never_ending(reader)
    config = DecodingConfig("sample", temperature=3.0, max_length=8, batch_size=batch_size, seed=2**63 - 1)
    drawn = translate(reader, tokenizer, ["the dog"] * 8, config)
    assert len(set(drawn)) == 8
    assert drawn == translate(reader, tokenizer, ["the dog"] * 8, config)
    with pytest.raises(ValueError, match="seed is -1, expected 0 or more"):
        replace(config, seed=-1)


def test_one_string_is_no_list_of_sentences(reader: Transformer, tokenizer: Tokenizer):
    with pytest.raises(TypeError, match="got one string, 'the dog', expected a list of sentences"):
        translate(reader, tokenizer, "the dog")


def test_sentence_too_long_for_learned_positions_is_named(lively: Build, tokenizer: Tokenizer):
    def build(max_len: int) -> Transformer:
        return lively(vocab_size=len(tokenizer), positions="learned", max_len=max_len)

    config = DecodingConfig("greedy", max_length=2)
    message = "sentence 4 has 8 tokens with EOS, expected at most 7, the number of learned positions; split it"
    with pytest.raises(ValueError, match=message):
        translate(build(7), tokenizer, SENTENCES, config)
    assert len(translate(build(8), tokenizer, SENTENCES, config)) == len(SENTENCES)
    assert len(translate(lively(vocab_size=len(tokenizer), max_len=7), tokenizer, SENTENCES, config)) == 5
