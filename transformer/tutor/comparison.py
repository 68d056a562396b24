"""How a model of one's own differs from the package's: stage by stage, and through which of its parts.

Each stage is given what the package's model computed before it, and each part a copy of what it is asked. So a mistake
shows where it is made, and not in all that comes later. Where two numbers differ in float64, the stage is asked again
in float32: an answer that makes its own numbers in float32 is right, and said to be.
"""

import copy
import html
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer.decoding import greedy
from transformer.embeddings import sinusoids
from transformer.evaluation import bleu
from transformer.layers import Residual
from transformer.loss import smoothed_cross_entropy
from transformer.model import Transformer
from transformer.text.batches import Batch
from transformer.text.symbols import BOS, EOS, PAD
from transformer.training import noam
from transformer.tutor.exercises.exercise import Function
from transformer.tutor.exercises.grading import grade
from transformer.tutor.exercises.learner import MARKS, exercises
from transformer.tutor.exercises.running import as_tensor, close, run, unchanged
from transformer.tutor.your_own import SMOOTHING, OwnTransformer, book

RATES = (1, 2, 99, 100, 101, 5_000)
"""updates at which two learning rates are compared; 100 is the end of the warm-up"""
SINGLE = "≈"
"""the sign of a stage that is the same in float32 only"""
WRITTEN = 8
"""tokens that are written at most where greedy search is compared with the package's"""


class Question(NamedTuple):
    """What is asked at one stage."""

    name: str
    """of the stage"""
    ask: Callable[[OwnTransformer], Any]
    """how a model is asked"""
    expected: Any
    """what the package answers"""
    is_beside: bool = False
    """whether the package has nothing to compare with, and the answer is the book's"""


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
    """what went wrong, where nothing could be compared or an input was changed"""
    is_single: bool = False
    """whether it is the same in float32 only"""
    is_beside: bool = False
    """whether it was compared with the book's answer to an exercise, and not with the package"""

    def __str__(self) -> str:
        how = "equal" if self.is_equal else self.story or "different"
        how = "equal in float32" if self.is_single else how
        far = "" if self.difference is None or self.story else f", at most {self.difference:.0e} apart"
        far = ", to the last digit" if self.is_equal and self.difference == 0 else far
        mark = SINGLE if self.is_single else MARKS["right" if self.is_equal else "wrong"]
        return f"{mark} {self.name}: {how}{far}"


@dataclass(frozen=True)
class Comparison:
    """What came of comparing a model with the package's; shows itself in notebooks and in a terminal."""

    stages: tuple[Stage, ...]
    """in the order of the computation"""
    wrong: dict[str, str]
    """the parts that make a difference on their own, each with what is wrong with it"""
    single: tuple[str, ...] = ()
    """the parts that are right, and make their numbers in float32 whatever the inputs have"""
    n_given: int = 0
    """how many of the model's parts are the learner's"""

    @property
    def is_equal(self) -> bool:
        """Whether all stages are the same."""
        return all(stage.is_equal for stage in self.stages)

    @property
    def first(self) -> Stage | None:
        """The first stage that differs."""
        return next((stage for stage in self.stages if not stage.is_equal), None)

    @property
    def n_beside(self) -> int:
        """How many stages were compared with the book's answer to an exercise, and not with the package."""
        return sum(stage.is_beside for stage in self.stages)

    def lines(self) -> list[str]:
        """What is said, line by line: the verdict, the stages, and the parts that are to blame."""
        n, whose = len(self.stages), "Your model" if self.n_given else "The book's parts"
        verdict = f"equal in all {n} stages" if self.is_equal else f"different from {self.first.name} on"
        blamed = [f"{exercises()[name].number} {name}: {text}" for name, text in self.wrong.items()]
        blamed += [
            f"{exercises()[name].number} {name}: right in float32. To compare more digits, make what it creates like "
            f"its inputs (dtype=x.dtype), or without .float() and dtype=torch.float32."
            for name in self.single
        ]
        return [f"{whose} and the package transformer: {verdict}", *map(str, self.stages), *blamed]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        verdict, *lines = map(html.escape, self.lines())
        stages, blamed = lines[: len(self.stages)], lines[len(self.stages) :]
        page = (
            f'<div class="verdict" data-status="{"right" if self.is_equal else "wrong"}"><strong>{verdict}</strong>'
            + "".join(f"<p>{line}</p>" for line in blamed)
            + f"<details{' open' * (not self.is_equal)}><summary>Every stage</summary>"
            + '<pre style="white-space: pre-wrap">{}</pre></details></div>'.format("\n".join(stages))
        )
        return {"text/plain": str(self), "text/html": page}


class Asked:
    """All questions about a model, in float64 and in float32."""

    def __init__(self, own: OwnTransformer, batch: Batch) -> None:
        self.models, self.questions = {}, {}
        for dtype in (torch.float64, torch.float32):
            with default_dtype(dtype):
                package = package_twin(own).to(dtype)
                self.models[dtype] = copy.deepcopy(own).to(dtype)
                self.questions[dtype] = list(questions(package, batch))
        self.n = len(self.questions[torch.float64])

    def stage(self, i: int, dtype: torch.dtype = torch.float64, parts: dict[str, Function] | None = None) -> Stage:
        """Ask question number i, of the model or of one with these parts among the book's."""
        own = self.models[dtype]
        with default_dtype(dtype):
            return stage(own if parts is None else own.with_parts(**parts), self.questions[dtype][i])

    def alone(self, i: int, name: str) -> Stage:
        """Ask question number i of a model of one given part and the book's.

        What differs in float64 only is right if the part's exercise says so.
        """
        part = {name: self.models[torch.float64].given[name]}
        in_double = self.stage(i, torch.float64, part)
        if in_double.is_equal:
            return in_double
        in_single = self.stage(i, torch.float32, part)
        if in_single.is_equal and grade(exercises()[name], part[name]).status == "right":
            return replace(in_single, is_single=True)
        return in_double


def compare(own: OwnTransformer, batch: Batch) -> Comparison:
    """Hold a model against the package's with the same weights, in float64, on a batch whose first source is longest.

    Where a stage differs, each of the learner's parts is put alone among the book's: those that make a difference
    there are the wrong ones, and their exercises say why. An error, a loop that does not end, or an input that is
    changed in place is a difference too. A right answer that makes its numbers in float32 is none.
    """
    asked = Asked(own, batch)
    stages = [asked.stage(i) for i in range(asked.n)]
    differing = [i for i, one in enumerate(stages) if not one.is_equal]
    alone = {name: {i: asked.alone(i, name) for i in differing} for name in own.given}
    wrong, single = {}, []
    for name, found in alone.items():
        if first := next((one for one in found.values() if not one.is_equal), None):
            said = grade(exercises()[name], own.given[name]).text
            wrong[name] = said or f"it differs in {first.name}{f' ({first.story})' if first.story else ''}."
        elif any(one.is_single for one in found.values()):
            single.append(name)
    for i in differing:
        here = [found[i] for found in alone.values()]
        if any(one.is_single for one in here) and all(one.is_equal for one in here):
            in_single = asked.stage(i, torch.float32)
            stages[i] = replace(in_single, is_single=True) if in_single.is_equal else stages[i]
    return Comparison(tuple(stages), wrong, tuple(single), len(own.given))


def stage(own: OwnTransformer, question: Question) -> Stage:
    """Ask a model one question, and compare its answer."""
    name, ask, expected, is_beside = question
    watched, changed = _watched(own)
    with torch.no_grad():
        found = run(lambda: ask(watched), ())
    if found.error:
        return Stage(name, False, None, found.story, is_beside=is_beside)
    actual, target = as_tensor(found.value), as_tensor(expected)
    far = None
    if actual is not None and target is not None and actual.shape == target.shape and actual.numel():
        far = float((actual.double() - target.double()).abs().max())
    is_mask = isinstance(expected, Tensor) and expected.dtype == torch.bool
    same_kind = not is_mask or (actual is not None and actual.dtype == torch.bool)
    is_equal = same_kind and close(found.value, expected) and not changed
    return Stage(name, is_equal, far, " and ".join(changed), is_beside=is_beside)


def _watched(own: OwnTransformer) -> tuple[OwnTransformer, list[str]]:
    """A model whose parts get copies of what they are asked, and the list to which is added who changes its input."""
    other, changed = copy.copy(own), []
    parts = {name: _watch(name, function, changed) for name, function in vars(own.parts).items()}
    other.parts = SimpleNamespace(**parts)
    return other, changed


def _watch(name: str, function: Function, changed: list[str]) -> Function:
    def watching(*given: Any) -> Any:
        copies = copy.deepcopy(given)
        result = function(*copies)
        names = inspect.signature(exercises()[name].reference).parameters
        for argument, after, before in zip(names, copies, given, strict=False):
            said = f"{name} changes its input {argument}"
            if said not in changed and not unchanged(after, before):
                changed.append(said)
        return result

    return watching


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Numbers are made in this dtype while the block runs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def float64() -> Any:
    """Numbers are made in float64 while the block runs."""
    return default_dtype(torch.float64)


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
    yield Question(
        "the whole model", lambda own: own(batch.source, batch.target_in), package(batch.source, batch.target_in)
    )
    maps = package.attention_maps(alone.source, alone.target_in)
    ids = alone.source[0, :-1].tolist(), alone.target_in[0, 1:].tolist()
    yield Question("where words look", lambda own: own.looks(*ids), maps.cross[-1, 0])
    yield from _learning(package, batch)
    yield from _searching(package, alone)


def _first_alone(batch: Batch) -> Batch:
    source, target = (ids[0][ids[0] != PAD][None] for ids in (batch.source, batch.target))
    return Batch(source, target)


def _beginning(package: Transformer, batch: Batch) -> Iterator[Question]:
    source, target = batch.source, batch.target_in
    table, n = package.output.weight, source.size(1)
    words = package.source_embedding(source)  # (B, S, D)
    places = package.positions.table[:n]  # (S, D)
    yield Question("word vectors", lambda own: own.parts.embed(source, table), words)
    yield Question("table of positions", lambda own: own.parts.my_sinusoids(n, table.size(1)), places)
    longer = package.positions.table[: n + 3]
    yield Question("positions added", lambda own: own.parts.add_positions(words, longer), package.positions(words))
    yield Question("mask of the source", lambda own: own.source_mask(source), package.source_mask(source))
    yield Question(
        "mask while it learns", lambda own: own.parts.decoder_mask(target, PAD), package.decoder_mask(target)
    )
    alone = torch.ones_like(target[:1])  # without padding
    yield Question(
        "mask while it writes", lambda own: own.parts.my_causal_mask(alone.size(1)), package.decoder_mask(alone)
    )


def _layers(package: Transformer, batch: Batch, how: str) -> Iterator[Question]:
    """The layers on what the package's layer below gives, and the logits."""
    mask, self_mask = package.source_mask(batch.source), package.decoder_mask(batch.target_in)
    x = package.positions(package.source_embedding(batch.source))
    for i, layer in enumerate(package.encoder.layers):
        name = f"encoder layer {i + 1}{how}"
        yield Question(name, lambda own, i=i, x=x: own.read_layer(own.encoder.layers[i], x, mask), layer(x, mask))
        x = layer(x, mask)
    memory, y = package.encoder.norm(x), package.positions(package.target_embedding(batch.target_in))
    for i, layer in enumerate(package.decoder.layers):
        after = layer(y, memory, self_mask, mask)
        name = f"decoder layer {i + 1}{how}"
        yield Question(
            name, lambda own, i=i, y=y: own.write_layer(own.decoder.layers[i], y, memory, self_mask, mask), after
        )
        y = after
    yield from _sublayers(package, x) if not how else ()
    hidden = package.decoder.norm(y)
    yield Question(f"logits{how}", lambda own: own.parts.tied_logits(hidden, own.output.weight), package.output(hidden))


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

        yield Question(f"a {norm}-norm sub-layer", ask, other(x, layer.feed_forward))


def _learning(package: Transformer, batch: Batch) -> Iterator[Question]:
    wanted, real = batch.target_out, batch.target_mask
    hidden, matrix = package.hidden(batch.source, batch.target_in), package.output.weight
    logits = package.output(hidden)  # (B, T, V)

    def smoothed(own: OwnTransformer) -> Tensor:
        return own.parts.smooth(wanted.flatten(), len(matrix), SMOOTHING, PAD)

    yield Question("what goes in and comes out", lambda own: own.parts.shift(batch.target), (batch.target_in, wanted))
    yield Question("smoothed targets", smoothed, _targets_of_pytorch(logits.flatten(0, 1), wanted.flatten()))
    right = (smoothed_cross_entropy(hidden[real], matrix, wanted[real]) / batch.n_tokens).float()
    yield Question("loss", lambda own: torch.as_tensor(own.parts.token_loss(logits, wanted, PAD)).float(), right)
    d = package.config.d_model
    rates = [noam(step, d, 100) for step in RATES]
    yield Question("learning rates", lambda own: [own.parts.my_noam(step, d, 100) for step in RATES], rates)


@torch.enable_grad()
def _targets_of_pytorch(logits: Tensor, wanted: Tensor) -> Tensor:
    """The targets (n, V) behind PyTorch's loss, whose gradient by the logits (n, V) is softmax − target."""
    logits = logits.detach().requires_grad_()
    settings = {"ignore_index": PAD, "label_smoothing": SMOOTHING, "reduction": "sum"}
    F.cross_entropy(logits, wanted, **settings).backward()
    return logits.detach().softmax(-1) * (wanted != PAD)[:, None] - logits.grad


def _searching(package: Transformer, alone: Batch) -> Iterator[Question]:
    """Greedy search of the package's model; searches on their exercises' cases, where the book's answer is beside.

    The package's beam search is another one: its beam gets narrower by each hypothesis that is finished.
    """
    written = greedy(package, alone.source, WRITTEN)[0].best.tokens
    step = _next_token(package, alone.source)
    yield Question("greedy search", lambda own: own.parts.my_greedy(step, BOS, EOS, WRITTEN), written)
    for name, part in (("greedy search", "my_greedy"), ("beam search", "my_beam_search")):
        cases = exercises()[part].cases()
        right = [book(part)(*case) for case in cases]

        def ask(own: OwnTransformer, part: str = part, cases: list[Any] = cases) -> list[Any]:
            return [getattr(own.parts, part)(*case) for case in cases]

        yield Question(f"{name} beside the book's answer", ask, right, is_beside=True)
    corpora = exercises()["my_bleu"].cases()
    scores = [
        bleu(*([" ".join(f"w{word}" for word in ids) for ids in side] for side in case)).score for case in corpora
    ]
    yield Question("BLEU", lambda own: [own.parts.my_bleu(*case) for case in corpora], scores)


def _next_token(package: Transformer, source: Tensor) -> Callable[[list[int]], Tensor]:
    """A function that gives the log-probabilities (V,) after all tokens so far, for one source (1, S).

    As in the package's searches, BOS and PAD are never written.
    """

    def step(tokens: list[int]) -> Tensor:
        log_probs = package(source, torch.tensor([tokens]))[0, -1].log_softmax(-1)
        log_probs[[BOS, PAD]] = -math.inf
        return log_probs

    return step
