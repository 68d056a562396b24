"""A Transformer made of the learner's own functions, and how it differs from the package's.

`assemble` puts the answers to the exercises of chapters 1 to 10 where they belong in the model, and the book's in the
place of those that are missing. `learn` trains it with the learner's own targets, loss and learning rate; `translated`
translates with the learner's own search. `transformer.tutor.comparison` holds it against the package's model.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from transformer.attention import MultiHeadAttention
from transformer.config import TransformerConfig
from transformer.layers import DecoderLayer, EncoderLayer, Residual
from transformer.model import AttentionMaps, DecoderCache, Transformer
from transformer.text.batches import Batch, Example, collate
from transformer.text.symbols import BOS, EOS, PAD
from transformer.training import paper_adam
from transformer.tutor.exercises.exercise import Function
from transformer.tutor.exercises.learner import exercises, kept_answers

PARTS = {
    "embed": "turns ids into vectors",
    "my_sinusoids": "the table of positions",
    "add_positions": "adds the positions to the words",
    "my_padding_mask": "hides the padding of the source",
    "decoder_mask": "hides padding and future while it learns",
    "my_causal_mask": "hides the future while it writes",
    "my_split_heads": "cuts queries, keys and values into heads",
    "masked_softmax": "the weights where something is hidden",
    "mix_values": "mixes the values with the weights",
    "my_merge_heads": "lays the heads side by side",
    "multi_head": "attention where nothing is hidden",
    "my_attention_weights": "shows where each word looks",
    "my_layer_norm": "every norm",
    "feed_forward": "every feed-forward network",
    "encoder_layer": "every layer that reads",
    "decoder_layer": "every layer that writes",
    "residual": "every layer of a pre-norm model",
    "tied_logits": "rates every word of the vocabulary",
    "shift": "what goes in, and what should come out",
    "smooth": "the smoothed targets of the loss",
    "token_loss": "the loss on sentences that it has not seen",
    "my_noam": "the learning rate",
    "my_greedy": "writes the likeliest word",
    "my_beam_search": "writes with a beam",
    "my_bleu": "scores the translations",
}
"""every exercise whose answer is a part of the model or of its training, and what it is there, in the paper's order"""

SMOOTHING = 0.1
"""ε of the smoothed targets, the paper's"""


# The model


def your_parts(even_wrong: bool = False) -> dict[str, Function]:
    """The learner's answers that are parts of the model, of this session or kept; each is graded again.

    One that is no longer right is told, and left out unless `even_wrong`. Prints how many parts were found.
    """
    parts: dict[str, Function] = {}
    for name, answer in kept_answers(PARTS).items():
        if answer.problem:
            used = even_wrong and answer.function is not None
            print(f"{exercises()[name].number} {name}: {answer.problem} {'It is used' if used else 'Not used'}.")
        if answer.function is not None and (even_wrong or not answer.problem):
            parts[name] = answer.function
    print(f"{len(parts)} of {len(PARTS)} parts are yours.")
    return parts


def assemble(config: TransformerConfig, **parts: Function) -> "OwnTransformer":
    """Make a model of the given answers, by the names of their exercises, and of the book's for all others.

    Its parameters have the names and the first values of the package's `Transformer`, so that the state of one loads
    into the other. In the attentions it has no biases, as in the paper's formula: they stay at their first value, 0.

    Raises TypeError for a name that is no part or a part that is no function, ValueError for a configuration with
    learned positions, heads of another size, dropout, or matrices that are not tied.
    """
    for name, function in parts.items():
        if name not in PARTS:
            raise TypeError(f"the model has no part {name!r}, expected one of {', '.join(PARTS)}")
        if not callable(function):
            raise TypeError(f"{name} is {function!r}, expected a function")
    other = {"positions": "sinusoidal", "d_k": None, "d_v": None, "tie_embeddings": True, "dropout": 0.0}
    for name, value in {**other, "attention_dropout": 0.0}.items():
        if getattr(config, name) != value:
            raise ValueError(f"{name} is {getattr(config, name)!r}, expected {value!r}: no exercise has the other")
    return OwnTransformer(config, parts)


class OwnTransformer(Transformer):
    """The package's parameters, and the learner's functions for all that is done with them; see `assemble`."""

    def __init__(self, config: TransformerConfig, given: Mapping[str, Function]) -> None:
        super().__init__(config)
        self.put(given)
        self.seen: dict[MultiHeadAttention, Tensor] | None = None  # the weights, while somebody looks
        self.rotate: Function | None = None  # of queries and keys, in the place of positions that are added
        for attention in self.modules():
            if isinstance(attention, MultiHeadAttention):
                for linear in (attention.query, attention.key, attention.value, attention.output):
                    linear.bias.requires_grad_(False)

    def put(self, given: Mapping[str, Function]) -> None:
        """Make these the model's parts, and the book's answers all others; what is the book's counts as not given."""
        self.given = {name: function for name, function in given.items() if function is not book(name)}
        self.parts = SimpleNamespace(**{name: given.get(name) or book(name) for name in PARTS})

    def words(self, ids: Tensor) -> Tensor:
        """Vectors with positions (B, n, D) of token ids (B, n)."""
        table = self.output.weight  # (V, D)
        if self.rotate is not None:
            return self.parts.embed(ids, table)
        places = self.parts.my_sinusoids(ids.size(1), table.size(1))  # (n, D)
        return self.parts.add_positions(self.parts.embed(ids, table), places.to(table))

    def attend(self, attention: MultiHeadAttention, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Let x (B, T, D) attend to memory (B, S, D) under a mask that broadcasts to (B, H, T, S): (B, T, D).

        Where nothing is hidden, by `multi_head`; where something is, or weights with biases were loaded, by its pieces.
        """
        parts, heads = self.parts, self.config.n_heads
        W = dict(zip("QKVO", (attention.query, attention.key, attention.value, attention.output), strict=True))
        if bool(mask.all()):
            if self.seen is not None:
                q, k = (parts.my_split_heads(linear(y), heads) for linear, y in ((W["Q"], x), (W["K"], memory)))
                self.seen[attention] = parts.my_attention_weights(q, k)  # (B, H, T, S)
            if self.rotate is None and not any(bool(linear.bias.any()) for linear in W.values()):
                return parts.multi_head(x, memory, {name: linear.weight.mT for name, linear in W.items()}, heads)
        projected = (W["Q"](x), W["K"](memory), W["V"](memory))
        q, k, v = (parts.my_split_heads(y, heads) for y in projected)  # (B, H, T or S, K)
        if self.rotate is not None and same_numbers(x, memory):  # within one sentence
            q, k = self.rotate(q), self.rotate(k)
        scores = q @ k.mT / math.sqrt(q.size(-1))  # (B, H, T, S)
        weights = parts.masked_softmax(scores, mask.expand_as(scores))
        return W["O"](parts.my_merge_heads(parts.mix_values(weights, v)))

    def transform(self, layer: EncoderLayer | DecoderLayer, x: Tensor) -> Tensor:
        """The feed-forward network of a layer: (B, T, D) → (B, T, D)."""
        inner, outer = layer.feed_forward.inner, layer.feed_forward.outer
        return self.parts.feed_forward(x, inner.weight.mT, inner.bias, outer.weight.mT, outer.bias)

    def normalised(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        """One of the model's norms: (B, T, D) → (B, T, D)."""
        return self.parts.my_layer_norm(x, norm.weight, norm.bias, norm.eps)

    def norms(self, *residuals: Residual) -> Function:
        """A function that is the norm of the first residual at its first call, that of the second at its second, …"""
        turns = itertools.cycle(residuals)
        return lambda x: self.normalised(next(turns).norm, x)

    def read_layer(self, layer: EncoderLayer, x: Tensor, mask: Tensor) -> Tensor:
        """One layer of the encoder: x (B, S, D) → (B, S, D)."""
        norms = self.norms(layer.self_attention_residual, layer.feed_forward_residual)

        def attention(queries: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
            return self.attend(layer.self_attention, queries, memory, mask)

        def transform(x: Tensor) -> Tensor:
            return self.transform(layer, x)

        if self.config.norm == "post":
            return self.parts.encoder_layer(x, mask, attention, transform, norms)
        x = self.parts.residual(x, lambda x: attention(x, x, mask), norms, True)
        return self.parts.residual(x, transform, norms, True)

    def write_layer(
        self, layer: DecoderLayer, x: Tensor, memory: Tensor, self_mask: Tensor, memory_mask: Tensor
    ) -> Tensor:
        """One layer of the decoder: x (B, T, D) and memory (B, S, D) → (B, T, D)."""
        residuals = layer.self_attention_residual, layer.cross_attention_residual, layer.feed_forward_residual
        norms = self.norms(*residuals)

        def attention(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
            is_cross = same_numbers(queries, memory) or same_numbers(keys, memory)
            return self.attend(layer.cross_attention if is_cross else layer.self_attention, queries, keys, mask)

        def transform(x: Tensor) -> Tensor:
            return self.transform(layer, x)

        if self.config.norm == "post":
            return self.parts.decoder_layer(x, memory, self_mask, memory_mask, attention, transform, norms)
        x = self.parts.residual(x, lambda x: attention(x, x, self_mask), norms, True)
        x = self.parts.residual(x, lambda x: attention(x, memory, memory_mask), norms, True)
        return self.parts.residual(x, transform, norms, True)

    def source_mask(self, source: Tensor) -> Tensor:
        """The mask (B, 1, 1, S) of source ids (B, S)."""
        return self.parts.my_padding_mask(source, PAD)

    def encode(self, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read source ids (B, S) into the memory (B, S, D)."""
        mask = self.source_mask(source) if mask is None else mask
        x = self.words(source)
        for layer in self.encoder.layers:
            x = self.read_layer(layer, x, mask)
        return self.normalised(self.encoder.norm, x) if self.config.norm == "pre" else x

    def decode(
        self,
        target: Tensor,
        memory: Tensor,
        source_mask: Tensor | None = None,
        cache: DecoderCache | None = None,
        writes: bool = False,
    ) -> Tensor:
        """Map target ids (B, T) and the memory (B, S, D) to the last layer's vectors (B, T, D).

        `writes` says that the target is one hypothesis without padding, as in a search. Raises ValueError for a cache,
        as the package's searches give one: the learner's functions read all words at every step.
        """
        if cache is not None:
            raise ValueError(
                "got a cache, which a model of your own functions does not have; to translate with it, use "
                "transformer.tutor.your_own.translated, which searches without one"
            )
        if source_mask is None:
            source_mask = torch.ones(len(memory), 1, 1, memory.size(1), dtype=torch.bool)  # sees all of the memory
        parts, x = self.parts, self.words(target)
        self_mask = parts.my_causal_mask(target.size(1)) if writes else parts.decoder_mask(target, PAD)
        for layer in self.decoder.layers:
            x = self.write_layer(layer, x, memory, self_mask, source_mask)
        return self.normalised(self.decoder.norm, x) if self.config.norm == "pre" else x

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, T, V) for source (B, S) and target (B, T) ids."""
        return self.parts.tied_logits(self.hidden(source, target), self.output.weight)

    def attention_maps(self, source: Tensor, target: Tensor, products: bool = False) -> AttentionMaps:
        """Raises ValueError: the learner's functions hand on no weights but those that `looks` gives."""
        raise ValueError("a model of your own functions has no attention_maps, use looks(source, target): its last one")

    @torch.no_grad()
    def looks(self, source: Sequence[int], target: Sequence[int]) -> Tensor:
        """The weights of the last cross-attention, (H, T, S), for the ids of a sentence and of its translation."""
        self.seen = {}
        try:
            ids = torch.tensor([[*source, EOS]])
            mask = self.source_mask(ids)
            self.decode(torch.tensor([[BOS, *target]]), self.encode(ids, mask), mask, writes=True)
            return self.seen[self.decoder.layers[-1].cross_attention][0]
        finally:
            self.seen = None

    def with_parts(self, **parts: Function) -> "OwnTransformer":
        """A model that shares the weights of this one, made of other parts: the given ones, else the book's."""
        other = copy.copy(self)
        other.put(parts)
        return other


def same_numbers(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers: an answer may hand on a copy."""
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def book(name: str) -> Function:
    """The book's answer to the exercise of this name."""
    return exercises()[name].reference


# Learning and writing


def loss_of(model: OwnTransformer, batch: Batch) -> Tensor:
    """The smoothed loss of a batch, a scalar in nats per token that is to be predicted."""
    fed, wanted = model.parts.shift(batch.target)  # (B, T) each
    log_p = model(batch.source, fed).log_softmax(-1).flatten(0, 1)  # (B·T, V)
    targets = model.parts.smooth(wanted.flatten(), log_p.size(-1), SMOOTHING, PAD)  # (B·T, V)
    return -(targets * log_p).sum() / (wanted != PAD).sum()


def learn(
    model: OwnTransformer, examples: Sequence[Example], steps: int, warmup: int, size: int = 32, seed: int = 0
) -> Iterator[float]:
    """Train on batches of like length, with Adam and the learner's learning rate; yields the loss of each update.

    size: sentences of a batch, which are neighbours in the order of length, drawn at random. In the second half of so
    short a training the rate is led down to 0: the paper's alone would still be high at its end. Raises ValueError, at
    the first update, for fewer examples than a batch takes.
    """
    if len(examples) < size:
        raise ValueError(
            f"got {len(examples)} examples, expected at least {size}, as many as a batch: give more, or a smaller size"
        )
    adam, draw = paper_adam(model), torch.Generator().manual_seed(seed)
    by_length = sorted(examples, key=lambda pair: (len(pair[1]), len(pair[0])))
    for step in range(1, steps + 1):
        rate = float(model.parts.my_noam(step, model.config.d_model, warmup))
        adam.param_groups[0]["lr"] = rate * min(1, 2 * (steps + 1 - step) / steps)
        start = int(torch.randint(len(by_length) - size + 1, (), generator=draw))
        loss = loss_of(model, collate(by_length[start : start + size]))
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield loss.item()


@torch.no_grad()
def unseen_loss(model: OwnTransformer, examples: Sequence[Example]) -> float:
    """The loss on examples that it was not trained on, by the learner's `token_loss`, in nats per token."""
    batch = collate(examples)
    fed, wanted = model.parts.shift(batch.target)
    return float(model.parts.token_loss(model(batch.source, fed), wanted, PAD))


@torch.no_grad()
def translated(model: OwnTransformer, sources: Sequence[Sequence[int]], beam: int = 0) -> list[list[int]]:
    """Ids of a translation for the ids of each sentence, by `my_beam_search` of that width, or, for 0, by `my_greedy`.

    Raises ValueError for a width below 0, TypeError for the ids of a single sentence.
    """
    if beam < 0:
        raise ValueError(f"beam is {beam}, expected a width of 1 or more, or 0 for greedy search")
    if any(isinstance(source, int) for source in sources):
        raise TypeError(f"got {sources!r:.80}, expected the ids of several sentences: put those of one into a list")
    found = []
    for source in sources:
        ids = torch.tensor([[*source, EOS]])
        mask = model.source_mask(ids)
        step, longest = _step(model, model.encode(ids, mask), mask), len(source) + 10
        if beam:
            found.append(model.parts.my_beam_search(step, BOS, EOS, beam, longest))
        else:
            found.append(model.parts.my_greedy(step, BOS, EOS, longest))
    return found


def _step(model: OwnTransformer, memory: Tensor, mask: Tensor) -> Callable[[list[int]], Tensor]:
    def step(tokens: list[int]) -> Tensor:
        hidden = model.decode(torch.tensor([tokens]), memory, mask, writes=True)  # (1, T, D)
        return model.parts.tied_logits(hidden[0, -1], model.output.weight).log_softmax(-1)  # (V,)

    return step
