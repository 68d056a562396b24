"""Decoding, which writes a translation one token after the other (paper §6.1): greedy, beam search, sampling.

All of them read a batch of sources once, keep the decoder's keys and values in a cache, feed it one token per
step, and drop a sentence from the batch when it is finished. In shapes B counts the sentences that are left, W the
hypotheses of each.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from transformer.config import check_sizes, check_type, check_types, check_whole
from transformer.model import AttentionMaps, DecoderCache, Transformer, evaluation_mode
from transformer.text.batches import pad
from transformer.text.pairs import normalised, refuse_string
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import Tokenizer

EXTRA_LENGTH = 50
"""a translation may be this many tokens longer than its source (paper §6.1)"""
WIDEST = 100_000
"""hypotheses that a beam keeps at each step, at most: each has keys and values of its own"""


@dataclass(frozen=True)
class Hypothesis:
    """One translation that a search has found."""

    tokens: list[int]
    """the ids, without BOS and EOS"""
    log_prob: float
    """log P(tokens | source) in nats, a sum over the tokens; with that of EOS if it is finished"""
    finished: bool
    """whether EOS was reached before the length limit"""

    @property
    def length(self) -> int:
        """Tokens that were chosen, EOS included."""
        return len(self.tokens) + self.finished

    def score(self, alpha: float) -> float:
        """The log-probability under a length penalty of strength alpha: what beam search compares."""
        return self.log_prob / length_penalty(self.length, alpha)


@dataclass(frozen=True)
class BeamNode:
    """One hypothesis at one step of a beam search, to draw the search as a tree."""

    parent: int
    """index of the node it extends in the list of the step before; 0 at the first step, which extends BOS"""
    token: int
    """the id that was added"""
    log_prob: float
    """of the whole hypothesis up to here, in nats"""
    finished: bool
    """whether the token was EOS, so that the hypothesis left the beam"""


@dataclass(frozen=True)
class Decoded:
    """What a search returns for one source sentence."""

    hypotheses: list[Hypothesis]
    """best first; greedy and sampling find one, a beam at most as many as it is wide"""
    history: list[list[BeamNode]] = field(default_factory=list)
    """for each step the nodes that survived it, most likely first; of a beam search, on request"""
    attention: AttentionMaps | None = None
    """the weights behind the best hypothesis, B = 1, on request; row t is where the model looked for token t"""

    @property
    def best(self) -> Hypothesis:
        """The hypothesis that the search prefers."""
        return self.hypotheses[0]


def length_penalty(length: int | Tensor, alpha: float) -> float | Tensor:
    """((5 + length) / 6)^alpha, by which a log-probability is divided (Wu et al. 2016, cited in paper §6.1).

    Of a tensor of lengths it is a tensor of the same shape.
    """
    return ((5 + length) / 6) ** alpha


def greedy(model: Transformer, source: Tensor, max_length: int | None = None, attention: bool = False) -> list[Decoded]:
    """Take the most likely token at every step: source ids (B, S), each ending in EOS → one translation each.

    `max_length` limits the tokens of a translation, EOS included; by default to the source's length + 50. With
    `attention`, each result has the weights behind its translation.

    Raises ValueError for a `max_length` below 1, TypeError for one that is no whole number, what `Transformer.encode`
    raises for the ids, and FloatingPointError where the model's scores are not finite.
    """
    return _one_path(model, source, max_length, attention, lambda log_probs: log_probs.argmax(-1))


def sample(
    model: Transformer,
    source: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    max_length: int | None = None,
    attention: bool = False,
) -> list[Decoded]:
    """Draw every token from the model's distribution, perhaps sharpened and cut: source ids (B, S).

    Logits are divided by `temperature` (0 takes the most likely token) and cut by `filter_logits`; random numbers come
    from `generator`, if none is given from PyTorch's own. The `log_prob` of a result is under the model's own
    distribution, whatever the filters did. `max_length` and `attention` are as in `greedy`.

    Raises ValueError for a temperature other than 0 outside 1e-6 to 1e6, a top_k below 1 or a top_p outside (0, 1],
    TypeError for what is no number, and what `greedy` raises.
    """
    _check_temperature(temperature)
    _check_filters(top_k, top_p)

    def choose(log_probs: Tensor) -> Tensor:  # (B, V) → (B,)
        if temperature == 0:
            return log_probs.argmax(-1)
        probabilities = filter_logits(log_probs / temperature, top_k, top_p).softmax(-1)
        probabilities = probabilities.nan_to_num(1.0)  # of NaN any token will do: `_results` refuses it
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    return _one_path(model, source, max_length, attention, choose)


def filter_logits(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Set to −inf all but the top_k largest logits, and all outside the nucleus of mass top_p: (…, V) → (…, V).

    The nucleus is the smallest set of most likely tokens that holds at least top_p (Holtzman et al. 2020); the
    token that crosses the line belongs to it, so that at least one is always left.

    Raises ValueError for a top_k below 1 or a top_p outside (0, 1], TypeError for what is no number.
    """
    _check_filters(top_k, top_p)
    if top_k is not None:
        kept = logits.topk(min(top_k, logits.size(-1)))  # values and indices, (…, k); of equal ones only so many
        logits = torch.full_like(logits, -math.inf).scatter(-1, kept.indices, kept.values)
    if top_p is not None and top_p < 1:  # of 1 no token is outside, though a sum may reach 1 before the last
        descending, order = logits.sort(descending=True, dim=-1)  # (…, V) each
        probabilities = descending.softmax(-1)  # (…, V)
        mass_before = probabilities.cumsum(-1) - probabilities  # (…, V)
        beyond = (mass_before >= top_p) & (mass_before > 0)  # (…, V); the first stays, even where top_p rounds to 0
        outside = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, beyond)  # (…, V)
        logits = logits.masked_fill(outside, -math.inf)
    return logits


def _check_temperature(temperature: float) -> None:
    check_type("temperature", temperature, float)
    if temperature and not 1e-6 <= temperature <= 1e6:  # beyond, logits / temperature are no longer numbers
        raise ValueError(f"temperature is {temperature}, expected 0 (greedy) or more: from 1e-6 to 1e6")


def _check_filters(top_k: int | None, top_p: float | None) -> None:
    check_whole(top_k=top_k)
    check_sizes(top_k=top_k)
    if top_p is not None:
        check_type("top_p", top_p, float)
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p is {top_p}, expected more than 0 and at most 1")


def _one_path(
    model: Transformer, source: Tensor, max_length: int | None, attention: bool, choose: Callable[[Tensor], Tensor]
) -> list[Decoded]:
    """Follow one hypothesis per sentence, each token chosen from log-probabilities (B, V)."""
    found: dict[int, Hypothesis] = {}
    with torch.inference_mode(), evaluation_mode(model):
        batch = _Batch(model, source, max_length)
        tokens = torch.full((len(source), 1), BOS, device=source.device)  # (B, steps + 1)
        totals = torch.zeros(len(source), device=source.device)  # (B,)
        while len(tokens):
            log_probs = batch.next_log_probs(tokens[:, -1:])[:, 0]  # (B, V)
            chosen = choose(log_probs)[:, None]  # (B, 1)
            totals += log_probs.gather(1, chosen)[:, 0]
            tokens = torch.cat([tokens, chosen], dim=1)
            done = (chosen[:, 0] == EOS) | (batch.steps >= batch.limits)  # (B,)
            for i in done.nonzero()[:, 0].tolist():
                found[batch.sentences[i]] = _hypothesis(tokens[i], totals[i])
            if done.any():
                left = (~done).nonzero()[:, 0]
                tokens, totals = tokens[left], totals[left]
                batch.keep(left)
    return _results(model, source, [Decoded([found[i]]) for i in range(len(source))], attention)


def beam_search(
    model: Transformer,
    source: Tensor,
    beam: int = 4,
    alpha: float = 0.6,
    max_length: int | None = None,
    attention: bool = False,
    history: bool = False,
) -> list[Decoded]:
    """Keep the `beam` most likely hypotheses at every step (paper §6.1): source ids (B, S), each ending in EOS.

    A hypothesis that reaches EOS leaves the beam with its score, log P / `length_penalty`, and the beam goes on
    narrower by one; a sentence is finished when its beam is empty or nothing in it can overtake the best score
    any more. Beam 1 is greedy search but for ties, and a beam as wide as the number of sequences is exhaustive search.
    `max_length` and `attention` are as in `greedy`; with `history`, each result has the hypotheses of every step.

    Raises ValueError for a beam outside 1 to `WIDEST` or an alpha outside 0 to 10, TypeError for what is no number, and
    what `greedy` raises.
    """
    _check_beam(beam, alpha)
    finished: list[list[Hypothesis]] = [[] for _ in source]
    trees: list[list[list[BeamNode]]] = [[] for _ in source]
    with torch.inference_mode(), evaluation_mode(model):
        batch = _Batch(model, source, max_length)
        tokens = torch.full((len(source), 1, 1), BOS, device=source.device)  # (B, W, steps + 1)
        totals = torch.zeros(len(source), 1, device=source.device)  # (B, W), −inf where there is no open hypothesis
        free = torch.full((len(source), 1), beam, device=source.device)  # (B, 1), places not taken by finished ones
        best = torch.full((len(source),), -math.inf, device=source.device)  # (B,), best score of a finished one
        while len(tokens):
            log_probs = batch.next_log_probs(tokens[:, :, -1])  # (B, W, V)
            totals, parents, chosen = _most_likely(log_probs.add_(totals[:, :, None]), beam, free)  # (B, W') each
            tokens = torch.cat([tokens.take_along_dim(parents[:, :, None], 1), chosen[:, :, None]], dim=2)
            if history:
                for i, sentence in enumerate(batch.sentences):
                    trees[sentence].append(_nodes(parents[i], chosen[i], totals[i]))

            at_limit = batch.steps >= batch.limits  # (B,)
            ended = (chosen == EOS) & totals.isfinite()  # (B, W')
            best = best.maximum((totals / length_penalty(batch.steps, alpha)).masked_fill(~ended, -math.inf).amax(1))
            cut_off = (at_limit & best.isinf())[:, None] & totals.isfinite()  # better than nothing: no EOS was reached
            for i, j in (ended | cut_off).nonzero().tolist():
                finished[batch.sentences[i]].append(_hypothesis(tokens[i, j], totals[i, j]))
            totals, free = totals.masked_fill(ended, -math.inf), free - ended.sum(1, keepdim=True)

            # Log-probabilities only fall, so this is the most that an open hypothesis can still reach.
            reachable = totals.amax(1) / length_penalty(batch.limits, alpha)  # (B,)
            left = (~at_limit & (best < reachable)).nonzero()[:, 0]  # (n,), the sentences that go on
            batch.keep(left, parents[left])
            tokens, totals, free, best = tokens[left], totals[left], free[left], best[left]
    ranked = [sorted(some, key=lambda h: h.score(alpha), reverse=True) for some in finished]
    return _results(model, source, [Decoded(some, trees[i]) for i, some in enumerate(ranked)], attention)


def _check_beam(beam: int, alpha: float) -> None:
    check_type("beam", beam, int)
    check_type("alpha", alpha, float)
    if not 1 <= beam <= WIDEST:
        raise ValueError(f"beam is {beam}, expected from 1 (greedy search) to {WIDEST:,} hypotheses; 4 to 10 are usual")
    if not 0 <= alpha <= 10:  # the penalty of a long translation must stay a number
        raise ValueError(f"alpha is {alpha}, expected 0 (no length penalty) or more, up to 10")


def _most_likely(candidates: Tensor, beam: int, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations (B, W, V) of all hypotheses of a sentence, as many as it has places free (B, 1).

    Returns log-probability, parent and token of each, (B, W'); places beyond those free get −inf.
    """
    vocab_size = candidates.size(-1)
    totals, index = candidates.flatten(1).topk(min(beam, candidates[0].numel()))  # (B, W') each
    totals = totals.masked_fill(torch.arange(totals.size(1), device=free.device) >= free, -math.inf)
    return totals, index // vocab_size, index % vocab_size


def _nodes(parents: Tensor, tokens: Tensor, totals: Tensor) -> list[BeamNode]:
    """The open and newly finished hypotheses of one sentence, of W places, as nodes of its tree."""
    rows = zip(parents.tolist(), tokens.tolist(), totals.tolist(), strict=True)
    return [BeamNode(parent, token, total, token == EOS) for parent, token, total in rows if total > -math.inf]


def _hypothesis(tokens: Tensor, log_prob: Tensor) -> Hypothesis:
    """Make a hypothesis of ids (steps + 1,) that begin with BOS and perhaps end in EOS."""
    ids = tokens[1:].tolist()
    is_finished = ids[-1] == EOS
    return Hypothesis(ids[:-1] if is_finished else ids, float(log_prob), is_finished)


class _Batch:
    """The sentences that are not finished, and what the model needs to choose the next token of their hypotheses."""

    def __init__(self, model: Transformer, source: Tensor, max_length: int | None) -> None:
        self.model = model
        self.mask = model.source_mask(source)  # (B, 1, 1, S)
        self.memory = model.encode(source, self.mask)  # (B, S, D)
        self.cache = DecoderCache(model.config.n_layers)  # of B·W hypotheses, those of a sentence together
        self.limits = _length_limits(model, source, max_length)  # (B,)
        self.sentences = list(range(len(source)))  # which sentence of the source stands in each place of the batch
        self.steps = 0  # tokens chosen so far
        self.width = 1  # W at the last step

    def next_log_probs(self, tokens: Tensor) -> Tensor:
        """Newest tokens of the hypotheses (B, W) → log-probabilities of the next ones (B, W, V)."""
        self.steps, self.width = self.steps + 1, tokens.size(1)
        hidden = self.model.decode(tokens.reshape(-1, 1), self.memory, self.mask, self.cache)  # (B·W, 1, D)
        log_probs = self.model.output(hidden[:, 0]).float().log_softmax(-1)  # (B·W, V)
        log_probs[:, PAD] = log_probs[:, BOS] = -math.inf  # no translation has them, and no model learns to write them
        return log_probs.view(*tokens.shape, -1)

    def keep(self, left: Tensor, parents: Tensor | None = None) -> None:
        """Go on with these sentences (n,) only, and hypothesis j of each with the cache of its parent (n, W')."""
        rows = left if parents is None else (left[:, None] * self.width + parents).flatten()  # (n·W',)
        if len(left) == len(self.sentences):
            self.cache.select(rows)
            return
        self.cache.select(rows, left)
        self.sentences = [self.sentences[i] for i in left.tolist()]
        self.mask, self.memory, self.limits = self.mask[left], self.memory[left], self.limits[left]


def _length_limits(model: Transformer, source: Tensor, max_length: int | None) -> Tensor:
    """How many tokens each translation may have, (B,): its source's length, EOS not counted, + 50."""
    _check_max_length(max_length)
    lengths = (source != PAD).sum(1) - 1  # (B,)
    limits = lengths + EXTRA_LENGTH if max_length is None else torch.full_like(lengths, max_length)
    room = model.config.max_len if model.config.positions == "learned" else None
    if room is not None and (limits > room).any():
        warnings.warn(
            f"the model has learned {room} positions: translations end there, not at the limit of {int(limits.max())}",
            stacklevel=4,
        )
        limits = limits.clamp(max=room)
    return limits


def _check_max_length(max_length: int | None) -> None:
    check_whole(max_length=max_length)
    if max_length is not None and not 1 <= max_length < 2**31:
        raise ValueError(f"max_length is {max_length}, expected at least 1 token, and fewer than 2³¹")


def _results(model: Transformer, source: Tensor, decoded: list[Decoded], attention: bool) -> list[Decoded]:
    """Add, where asked for, the attention behind each best hypothesis, by one pass over the finished sentence.

    Raises FloatingPointError where the model gave no numbers to choose by.
    """
    for i, found in enumerate(decoded, 1):
        if not found.hypotheses or not math.isfinite(found.best.log_prob):
            raise FloatingPointError(
                f"the scores of sentence {i} are no finite numbers; are the model's weights? Use a checkpoint from "
                "before the training diverged"
            )
    if not attention:
        return decoded
    return [replace(d, attention=_attention_behind(model, row, d.best)) for row, d in zip(source, decoded, strict=True)]


def _attention_behind(model: Transformer, source: Tensor, hypothesis: Hypothesis) -> AttentionMaps:
    inputs = [BOS, *hypothesis.tokens][: hypothesis.length]  # row t is the step that chose token t
    target = torch.tensor([inputs], device=source.device)  # (1, T)
    return model.attention_maps(source[source != PAD][None], target)


@dataclass(frozen=True)
class DecodingConfig:
    """How to turn sources into translations.

    Raises TypeError for a setting of another type, ValueError for one outside its range, and for settings of sampling
    where another method would pass over them.
    """

    method: Literal["beam", "greedy", "sample"] = "beam"
    """keep several hypotheses, take the most likely word each time, or draw it"""
    beam: int = 4
    """hypotheses kept at each step"""
    alpha: float = 0.6
    """strength of the length penalty; 0: none"""
    temperature: float = 1.0
    """sampling: below 1 sharper, above 1 flatter than the model; 0: greedy"""
    top_k: int | None = None
    """sampling: draw from the k most likely tokens only"""
    top_p: float | None = None
    """sampling: draw from the most likely tokens that together hold this probability"""
    max_length: int | None = None
    """longest translation in tokens; None: the source's length + 50"""
    batch_size: int = 64
    """sentences decoded together"""
    seed: int = 0
    """sampling: same seed, sentences and batch size, same translations"""

    def __post_init__(self) -> None:
        check_types(self)
        if self.method != "sample" and (self.temperature, self.top_k, self.top_p) != (1.0, None, None):
            raise ValueError(
                f"temperature, top_k or top_p was given, and method is {self.method!r}, which draws nothing; expected "
                "method 'sample' with them, or none of them"
            )
        _check_beam(self.beam, self.alpha)
        _check_temperature(self.temperature)
        _check_filters(self.top_k, self.top_p)
        _check_max_length(self.max_length)
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, expected at least 1 sentence")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected 0 or more")

    def after(self, n: int) -> "DecodingConfig":
        """The same for sentences that come after n others: sampling draws other numbers for them."""
        return replace(self, seed=(self.seed + n) % 2**63) if n else self


DEFAULT_DECODING = DecodingConfig()
"""beam search as in the paper: four hypotheses, alpha 0.6"""


def search(model: Transformer, source: Tensor, config: DecodingConfig) -> list[Decoded]:
    """Find translations of source ids (B, S), each ending in EOS, by the method that the configuration names.

    Raises what `greedy`, `beam_search` and `sample` raise.
    """
    if config.method == "beam":
        return beam_search(model, source, config.beam, config.alpha, config.max_length)
    if config.method == "greedy":
        return greedy(model, source, config.max_length)
    generator = torch.Generator(source.device).manual_seed(config.seed)
    return sample(model, source, config.temperature, config.top_k, config.top_p, generator, config.max_length)


def translate(
    model: Transformer, tokenizer: Tokenizer, sentences: Sequence[str], config: DecodingConfig = DEFAULT_DECODING
) -> list[str]:
    """Translate sentences, in batches of similar length, and return the translations in the order given.

    Sentences are `normalised` first; an empty one has an empty translation. Raises TypeError for a single string,
    ValueError for a sentence that does not fit the model's learned positions, FloatingPointError for weights that are
    no numbers.
    """
    refuse_string(sentences, "sentences")
    ids = tokenizer.encode_all([normalised(sentence) for sentence in sentences])
    check_lengths(model, ids)
    order = sorted((i for i, row in enumerate(ids) if row), key=lambda i: len(ids[i]), reverse=True)
    translations = [""] * len(ids)
    for start in range(0, len(order), config.batch_size):
        chunk = order[start : start + config.batch_size]
        source = pad([[*ids[i], EOS] for i in chunk]).to(model.device)
        for i, decoded in zip(chunk, search(model, source, config.after(start)), strict=True):
            translations[i] = tokenizer.decode(decoded.best.tokens)
    return translations


def check_lengths(model: Transformer, ids: Sequence[Sequence[int]], first: int = 1, what: str = "sentence") -> None:
    """Raise ValueError for ids, without EOS, that learned positions do not reach; they are counted from `first`."""
    if model.config.positions != "learned":
        return
    for i, row in enumerate(ids, first):
        if len(row) + 1 > model.config.max_len:
            raise ValueError(
                f"{what} {i} has {len(row) + 1} tokens with EOS, expected at most {model.config.max_len}, the number "
                "of learned positions; split it, or use a model with sinusoidal positions"
            )
