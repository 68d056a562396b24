"""How a model of one's own differs from the package's: stage by stage, and through which of its parts.

Each stage is given what the package's model computed before it. So a mistake shows where it is made, and not in all
that comes later.
"""

import copy
import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer.embeddings import sinusoids
from transformer.evaluation import bleu
from transformer.layers import Residual
from transformer.loss import smoothed_cross_entropy
from transformer.model import Transformer
from transformer.text.batches import Batch
from transformer.text.symbols import PAD
from transformer.training import noam
from transformer.tutor.exercises.grading import grade
from transformer.tutor.exercises.learner import MARKS, exercises
from transformer.tutor.exercises.running import as_tensor, close, run
from transformer.tutor.your_own import SMOOTHING, OwnTransformer, book

Question = tuple[str, Callable[[OwnTransformer], Any], Any]
"""a stage: its name, what to ask of a model, and what the package answers"""
RATES = (1, 2, 99, 100, 101, 5_000)
"""updates at which two learning rates are compared; 100 is the end of the warm-up"""


@dataclass(frozen=True)
class Stage:
    """One stage of the model, of its training or of its search, beside the package's."""

    name: str
    """what is computed"""
    is_equal: bool
    """whether it is the same up to rounding"""
    difference: float | None
    """the largest difference of two numbers, where there are equally many"""
    story: str = ""
    """what went wrong, where nothing could be compared"""

    def __str__(self) -> str:
        how = "equal" if self.is_equal else self.story or "different"
        far = "" if self.difference is None else f", at most {self.difference:.0e} apart"
        far = ", to the last digit" if self.difference == 0 else far
        return f"{MARKS['right' if self.is_equal else 'wrong']} {self.name}: {how}{far}"


@dataclass(frozen=True)
class Comparison:
    """What came of comparing a model with the package's; shows itself in notebooks and in a terminal."""

    stages: tuple[Stage, ...]
    """in the order of the computation"""
    wrong: dict[str, str]
    """the parts that make a difference on their own, each with what is wrong with it"""

    @property
    def is_equal(self) -> bool:
        """Whether all stages are the same."""
        return all(stage.is_equal for stage in self.stages)

    @property
    def first(self) -> Stage | None:
        """The first stage that differs."""
        return next((stage for stage in self.stages if not stage.is_equal), None)

    def lines(self) -> list[str]:
        """What is said, line by line: the verdict, the stages, and the parts that are to blame."""
        n = len(self.stages)
        verdict = f"equal in all {n} stages" if self.is_equal else f"different from {self.first.name} on"
        blamed = [f"{exercises()[name].number} {name}: {text}" for name, text in self.wrong.items()]
        return [f"Your model and the package's: {verdict}", *map(str, self.stages), *blamed]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        verdict, *lines = map(html.escape, self.lines())
        stages, blamed = lines[: len(self.stages)], lines[len(self.stages) :]
        page = (
            f'<div class="verdict" data-status="{"right" if self.is_equal else "wrong"}"><strong>{verdict}</strong>'
            + "".join(f"<p>{line}</p>" for line in blamed)
            + "<pre>{}</pre></div>".format("\n".join(stages))
        )
        return {"text/plain": str(self), "text/html": page}


def compare(own: OwnTransformer, batch: Batch) -> Comparison:
    """Hold a model against the package's with the same weights, in float64, on a batch whose first source is longest.

    Where a stage differs, each of the learner's parts is put alone among the book's: those that make a difference
    there are the wrong ones, and their exercises say why. An error, or a loop that does not end, is a difference too.
    """
    with float64():
        package = package_twin(own)
        own = copy.deepcopy(own).double()
        asked = list(questions(package, batch))
        stages = [stage(own, question) for question in asked]
        differing = [question for question, one in zip(asked, stages, strict=True) if not one.is_equal]
        wrong = _blamed(own, differing) if differing else {}
    said = {name: grade(exercises()[name], own.given[name]).text for name in wrong}
    return Comparison(tuple(stages), {name: said[name] or f"it differs in {wrong[name]}." for name in wrong})


def _blamed(own: OwnTransformer, differing: list[Question]) -> dict[str, str]:
    """The given parts that make a difference alone among the book's, each with the first stage where it does."""
    wrong = {}
    for name, function in own.given.items():
        alone = own.with_parts(**{name: function})
        first = next((question[0] for question in differing if not stage(alone, question).is_equal), None)
        if first:
            wrong[name] = first
    return wrong


def stage(own: OwnTransformer, question: Question) -> Stage:
    """Ask a model one question, and compare its answer."""
    name, ask, expected = question
    with torch.no_grad():
        found = run(lambda: ask(own), ())
    if found.error:
        return Stage(name, False, None, found.story)
    actual, target = as_tensor(found.value), as_tensor(expected)
    far = None
    if actual is not None and target is not None and actual.shape == target.shape and actual.numel():
        far = float((actual.double() - target.double()).abs().max())
    same_kind = not (isinstance(expected, Tensor) and expected.dtype == torch.bool) or actual.dtype == torch.bool
    return Stage(name, close(found.value, expected) and same_kind, far)


@contextmanager
def float64() -> Iterator[None]:
    """Numbers are made in float64 while the block runs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def package_twin(own: Transformer) -> Transformer:
    """The package's model with the weights of this one, in float64, its positions not rounded to float32."""
    package = Transformer(own.config).double().eval()
    package.load_state_dict(own.state_dict())
    package.positions.table = sinusoids(own.config.max_len, own.config.d_model, torch.float64)
    return package


# The stages


@torch.no_grad()
def questions(package: Transformer, batch: Batch) -> Iterator[Question]:
    """Every stage in its order: the model's, those of a search and of a training, and the score."""
    yield from _beginning(package, batch)
    whole, alone = batch, _first_alone(batch)
    for padded in (whole, alone):
        yield from _layers(package, padded, "" if padded is whole else ", a sentence alone")
    yield "the whole model", lambda own: own(batch.source, batch.target_in), package(batch.source, batch.target_in)
    maps = package.attention_maps(alone.source, alone.target_in)
    ids = alone.source[0, :-1].tolist(), alone.target_in[0, 1:].tolist()
    yield "where words look", lambda own: own.looks(*ids), maps.cross[-1, 0]
    yield from _learning(package, batch)
    yield from _searching()


def _first_alone(batch: Batch) -> Batch:
    source, target = (ids[0][ids[0] != PAD][None] for ids in (batch.source, batch.target))
    return Batch(source, target)


def _beginning(package: Transformer, batch: Batch) -> Iterator[Question]:
    source, target = batch.source, batch.target_in
    table, n = package.output.weight, source.size(1)
    words = package.source_embedding(source)  # (B, S, D)
    places = package.positions.table[:n]  # (S, D)
    yield "word vectors", lambda own: own.parts.embed(source, table), words
    yield "table of positions", lambda own: own.parts.my_sinusoids(n, table.size(1)), places
    longer = package.positions.table[: n + 3]
    yield "positions added", lambda own: own.parts.add_positions(words, longer), package.positions(words)
    yield "mask of the source", lambda own: own.source_mask(source), package.source_mask(source)
    yield "mask while it learns", lambda own: own.parts.decoder_mask(target, PAD), package.decoder_mask(target)
    alone = torch.ones_like(target[:1])  # without padding
    yield "mask while it writes", lambda own: own.parts.my_causal_mask(alone.size(1)), package.decoder_mask(alone)


def _layers(package: Transformer, batch: Batch, how: str) -> Iterator[Question]:
    """The layers on what the package's layer below gives, and the logits."""
    mask, self_mask = package.source_mask(batch.source), package.decoder_mask(batch.target_in)
    x = package.positions(package.source_embedding(batch.source))
    for i, layer in enumerate(package.encoder.layers):
        name = f"encoder layer {i + 1}{how}"
        yield name, lambda own, i=i, x=x: own.read_layer(own.encoder.layers[i], x, mask), layer(x, mask)
        x = layer(x, mask)
    memory, y = package.encoder.norm(x), package.positions(package.target_embedding(batch.target_in))
    for i, layer in enumerate(package.decoder.layers):
        after = layer(y, memory, self_mask, mask)
        name = f"decoder layer {i + 1}{how}"
        yield (
            name,
            lambda own, i=i, y=y: own.write_layer(own.decoder.layers[i], y, memory, self_mask, mask),
            after,
        )
        y = after
    yield from _sublayers(package, x) if not how else ()
    hidden = package.decoder.norm(y)
    yield f"logits{how}", lambda own: own.parts.tied_logits(hidden, own.output.weight), package.output(hidden)


def _sublayers(package: Transformer, x: Tensor) -> Iterator[Question]:
    """A residual connection of either kind, around the feed-forward network of the first layer."""
    layer = package.encoder.layers[0]
    for norm in ("post", "pre"):
        other = Residual(replace(package.config, norm=norm)).to(x)
        other.load_state_dict(layer.feed_forward_residual.state_dict())

        def ask(own: OwnTransformer, norm: str = norm) -> Tensor:
            mine = own.encoder.layers[0]
            norms = own.norms(mine.feed_forward_residual)
            return own.parts.residual(x, lambda x: own.transform(mine, x), norms, norm == "pre")

        yield f"a {norm}-norm sub-layer", ask, other(x, layer.feed_forward)


def _learning(package: Transformer, batch: Batch) -> Iterator[Question]:
    wanted, real = batch.target_out, batch.target_mask
    hidden, matrix = package.hidden(batch.source, batch.target_in), package.output.weight
    logits = package.output(hidden)  # (B, T, V)

    def smoothed(own: OwnTransformer) -> Tensor:
        return own.parts.smooth(wanted.flatten(), len(matrix), SMOOTHING, PAD)

    yield "what goes in and comes out", lambda own: own.parts.shift(batch.target), (batch.target_in, wanted)
    yield "smoothed targets", smoothed, _targets_of_pytorch(logits.flatten(0, 1), wanted.flatten())
    right = (smoothed_cross_entropy(hidden[real], matrix, wanted[real]) / batch.n_tokens).float()
    loss = (lambda own: torch.as_tensor(own.parts.token_loss(logits, wanted, PAD)).float()), right
    yield "loss", *loss
    d = package.config.d_model
    rates = (lambda own: [own.parts.my_noam(step, d, 100) for step in RATES]), [noam(step, d, 100) for step in RATES]
    yield "learning rates", *rates


@torch.enable_grad()
def _targets_of_pytorch(logits: Tensor, wanted: Tensor) -> Tensor:
    """The targets (n, V) behind PyTorch's loss, whose gradient by the logits (n, V) is softmax − target."""
    logits = logits.detach().requires_grad_()
    settings = {"ignore_index": PAD, "label_smoothing": SMOOTHING, "reduction": "sum"}
    F.cross_entropy(logits, wanted, **settings).backward()
    return logits.detach().softmax(-1) * (wanted != PAD)[:, None] - logits.grad


def _searching() -> Iterator[Question]:
    """On the exercises' own cases: the book's answers stand for the package's searches, which go by whole batches."""
    for name, part in (("greedy search", "my_greedy"), ("beam search", "my_beam_search")):
        cases = exercises()[part].cases()
        right = [book(part)(*case) for case in cases]
        yield name, lambda own, part=part, cases=cases: [getattr(own.parts, part)(*case) for case in cases], right
    corpora = exercises()["my_bleu"].cases()
    scores = [
        bleu(*([" ".join(f"w{word}" for word in ids) for ids in side] for side in case)).score for case in corpora
    ]
    yield "BLEU", lambda own: [own.parts.my_bleu(*case) for case in corpora], scores
