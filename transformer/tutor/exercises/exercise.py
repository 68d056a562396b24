"""What an exercise is: the book's answer, inputs to try it on, hints, and the mistakes that people make::

    @exercise("3.2", cases, hints=["…", "…"])
    def my_attention_weights(q, k):                  # the book's answer; its docstring is the task
        return (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)

    my_attention_weights.mistakes({"what to say": lambda q, k: …})
    my_attention_weights.knobs(wrong, axis="what to say", unscaled="what to say")

An exercise that writes again what the package has is called `my_…`, so that the learner's function never takes the
place of the package's. The answers have no annotations, so that a stub made from one runs in a notebook that has
imported nothing.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]
"""an answer, or the book's"""
Arguments = tuple[Any, ...]
"""what an answer is tried with, in order"""
COLUMNS = 74
"""letters that fit a line of code on a page"""


class Draw:
    """Draws the inputs of the cases: the same seed and dtype give the same inputs."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def normal(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and variance 1, the same ones in every dtype up to rounding."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def ids(self, n: int, *shape: int) -> Tensor:
        """Token ids from 0 to n − 1."""
        return torch.randint(n, shape, generator=self.generator)

    def weights(self, *shape: int) -> Tensor:
        """Positive numbers that sum to 1 over the last axis."""
        return self.normal(*shape).softmax(-1)


def _dtypes(value: Any) -> set[torch.dtype]:
    """The dtypes of all tensors in a value."""
    if isinstance(value, Tensor):
        return {value.dtype}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return set().union(*map(_dtypes, inner))


def has_tensors(case: Arguments) -> bool:
    """Whether there is a tensor among the arguments."""
    return bool(_dtypes(case))


def in_double(case: Arguments) -> bool:
    """Whether a case has numbers in float64."""
    return torch.float64 in _dtypes(case)


def in_single(case: Arguments) -> bool:
    """Whether all its numbers with a point are in float32, and there are some."""
    return {dtype for dtype in _dtypes(case) if dtype.is_floating_point} == {torch.float32}


@dataclass(frozen=True)
class Mistake:
    """A wrong answer, and what to say to whoever gives it."""

    text: str
    """what is wrong, and what to do"""
    function: Function
    """the wrong answer, to be recognised by what it returns"""


@dataclass(eq=False)
class Exercise:
    """One exercise; see the module's docstring."""

    number: str
    """chapter and place in it, such as 3.2"""
    reference: Function
    """the right answer; its signature and docstring are those of the stub"""
    draw_cases: Callable[[Draw], Iterator[Arguments]]
    """the arguments to try an answer with"""
    hints: Sequence[str]
    """from a nudge to nearly the answer"""
    given: str = ""
    """the body of the stub where part of it is given: `name = ...` and `return ...` are the holes to fill"""
    single: list[Mistake] = field(default_factory=list)
    """the known mistakes"""
    pairs: list[Mistake] = field(default_factory=list)
    """two mistakes made at once"""

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    @property
    def chapter(self) -> int:
        """The number of the chapter."""
        return int(self.number.partition(".")[0])

    def cases(self, seed: int = 0) -> list[Arguments]:
        """The inputs, smallest first: in float32, and in float64 where there are numbers with a point among them."""
        drawn = list(self.draw_cases(Draw(seed, torch.float32)))
        if any(_dtypes(case) & {torch.float32} for case in drawn):
            drawn += self.draw_cases(Draw(seed, torch.float64))
        return sorted(drawn, key=lambda case: sum(a.numel() for a in case if isinstance(a, Tensor)))

    def mistakes(self, texts: dict[str, Function]) -> None:
        """Declare mistakes that stand alone: what to say → the wrong function."""
        self.single += [Mistake(text, function) for text, function in texts.items()]

    def knobs(self, function: Function, **texts: str) -> None:
        """Declare mistakes that can be made together: a function with one boolean keyword for each of them."""
        self.single += [Mistake(text, partial(function, **{knob: True})) for knob, text in texts.items()]
        for (one, first), (other, second) in combinations(texts.items(), 2):
            both = partial(function, **{one: True, other: True})
            self.pairs.append(Mistake(f"Two things at once. First: {first} Second: {second}", both))

    @property
    def stub(self) -> str:
        """The cell that the learner finds: signature, task in lines that fit the page, and what is given."""
        body = textwrap.indent(self.given or "...", "    ")
        task = textwrap.indent(textwrap.fill(f'"""{inspect.getdoc(self.reference)}"""', COLUMNS - 4), "    ")
        return f"@check\ndef {self.name}{inspect.signature(self.reference)}:\n{task}\n{body}"

    @property
    def solution(self) -> str:
        """The source of the book's answer, without its declaration and without the task."""
        source = textwrap.dedent(inspect.getsource(self.reference))
        function = ast.parse(source).body[0]
        first = function.body[1].lineno - 1
        return "\n".join([f"def {self.name}{inspect.signature(self.reference)}:", *source.splitlines()[first:]])


def exercise(
    number: str, cases: Callable[[Draw], Iterator[Arguments]], hints: Sequence[str], given: str = ""
) -> Callable[[Function], Exercise]:
    """Make an exercise of the book's answer to it."""
    return lambda reference: Exercise(number, reference, cases, hints, textwrap.dedent(given).strip())
