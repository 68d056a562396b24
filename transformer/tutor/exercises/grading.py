"""Run an answer on every case, and find out what is wrong with it."""

import ast
import copy
import inspect
import io
import itertools
import linecache
import math
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transformer.tutor.exercises.exercise import Arguments, Exercise, Function
from transformer.tutor.exercises.time_limit import TooSlow, time_limit
from transformer.tutor.exercises.variation import Variant, first_order, in_words, second_order

TIME_LIMIT = 5.0
"""seconds of computing for one case: time in which others have the processor, or in which the answer waits, does not
count. Kept by a signal, so on Linux and macOS, in a notebook's main thread; elsewhere (Windows) a loop that never ends
must be interrupted by hand: the stop button, or Kernel → Interrupt"""

PATIENCE = 1.5
"""seconds of computing in which a mistake that nobody foresaw is looked for"""
SMALL = 12
"""numbers; an input of no more is shown"""
HALF = (torch.float16, torch.bfloat16)
"""formats with too few digits to tell a right answer from a nearly right one"""
LONGEST = 300
"""letters of what a function printed or raised, or of another long value, that are shown"""


@dataclass(frozen=True)
class Finding:
    """What grading found: "todo", "right" or "wrong", the diagnosis, and lines that show the case."""

    status: str
    """todo, right or wrong"""
    text: str = ""
    """the diagnosis, in one or two sentences"""
    details: tuple[str, ...] = ()
    """lines that show the case: input, expected, got"""


@dataclass(frozen=True)
class Run:
    """What came of one call: a value, or the kind of error and what to say of it."""

    value: Any = None
    """what was returned"""
    error: str = ""
    """the kind of failure, if it did not return"""
    story: str = ""
    """what to say of the failure"""
    printed: str = ""
    """what the answer printed"""
    changed: tuple[int, ...] = ()
    """which arguments are no longer what they were"""


def grade(exercise: Exercise, answer: Function, seed: int = 0) -> Finding:
    """Compare an answer with the book's: the seed chooses the cases."""
    if is_stub(answer):
        return Finding("todo")
    if problem := wrong_signature(exercise, answer):
        return Finding("wrong", problem)
    cases, expected = exercise.cases(seed), reference_runs(exercise, seed)
    runs: list[Run] = []
    for case in cases:
        runs.append(run(answer, case))
        if runs[-1].error == TooSlow.__name__:  # the next case would not end either
            return Finding("wrong", runs[-1].story, details(exercise, case, runs[-1], expected[len(runs) - 1].value))
    failing = [i for i, case in enumerate(cases) if not is_right(runs[i], expected[i], case)]
    if not failing:
        return Finding("right")
    i = failing[0]
    text = known_mistake(exercise, runs, seed)
    if not text and any(runs[j].error for j in failing):
        i = next(j for j in failing if runs[j].error)
        text = runs[i].story
    if not text and is_random(answer, cases[i]):
        text = "Two runs on the same input differ: is something random (dropout left on), or kept from an earlier run?"
    if not text and not close(runs[i].value, expected[i].value):
        text = unforeseen_mistake(exercise, runs, seed)
    if not text:
        text = generic(exercise, [(cases[j], runs[j], expected[j].value) for j in failing])
    return Finding("wrong", text, details(exercise, cases[i], runs[i], expected[i].value))


# An answer that is not there, or cannot be called


def is_stub(function: Function) -> bool:
    """Whether nothing is written yet, or a hole (`name = ...`, `return ...`) is still open: the cell's source tells.

    A function whose source cannot be read, such as a lambda in the middle of a line, is none.
    """
    try:
        written = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    except (OSError, TypeError, SyntaxError):
        return False
    if not isinstance(written, ast.FunctionDef):
        return False
    return all(map(_does_nothing, written.body)) or any(map(_is_hole, ast.walk(written)))


def _does_nothing(statement: ast.stmt) -> bool:
    """Whether a statement is one of those that stand where an answer is to come: text, `...`, `pass` and the like."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Return(value=None | ast.Constant(value=None)):
            return True
        case ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name))):
            return name == "NotImplementedError"
    return False


def _is_hole(node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name()], value=ast.Constant(value=value)) | ast.Return(ast.Constant(value=value)):
            return value is ...
    return False


def wrong_signature(exercise: Exercise, answer: Function) -> str:
    """What is wrong with the answer's parameters, or nothing."""
    try:
        for case in exercise.cases():  # some leave out what has a default
            inspect.signature(answer).bind(*case)
    except TypeError:
        return f"Your function takes {inspect.signature(answer)}, expected {inspect.signature(exercise.reference)}."
    except ValueError:  # built-in functions have no signature to compare
        return ""
    return ""


# Running


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Whatever an answer does to torch's settings, the notebook's are as before: random state and default dtype."""
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def run(function: Function, case: Arguments, seed: int = 0, limit: float | None = None) -> Run:
    """Call a function on a copy of a case; its prints are caught, and the notebook's settings are untouched.

    limit: seconds of computing, `TIME_LIMIT` if none is given.
    """
    arguments, printed = copy.deepcopy(case), io.StringIO()
    try:
        with left_as_it_was(), redirect_stdout(printed), time_limit(limit or TIME_LIMIT, run):
            torch.manual_seed(seed)
            value = function(*arguments)
    except TooSlow as error:
        story = f"No answer after {TIME_LIMIT:g} s of computing: is there a loop that never ends?"
        return Run(None, "TooSlow", story + learner_line(function, error))
    except (Exception, SystemExit) as error:
        said = f": {str(error).rstrip('.')[:LONGEST]}" if str(error) else ""
        story = f"Your function raised {type(error).__name__}{said}.{learner_line(function, error)}"
        return Run(None, type(error).__name__, story, printed.getvalue())
    changed = tuple(i for i, (a, b) in enumerate(zip(arguments, case, strict=True)) if not unchanged(a, b))
    return Run(value, printed=printed.getvalue(), changed=changed)


def learner_line(function: Function, error: BaseException) -> str:
    """The last line of the learner's own file, or cell, on the way to the error."""
    home = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == home]
    if not frames:
        return ""
    number = frames[-1].lineno or 0
    source = linecache.getline(frames[-1].filename, number).strip()
    return f" At line {number}: {source}" if source else f" At line {number}."


@cache
def reference_runs(exercise: Exercise, seed: int) -> list[Run]:
    """What the book's answer gives on every case."""
    return [run(exercise.reference, case) for case in exercise.cases(seed)]


@cache
def mistake_runs(exercise: Exercise, seed: int) -> list[tuple[str, list[Run]]]:
    """What every known mistake, then every pair, gives on every case."""
    cases = exercise.cases(seed)
    known = [*exercise.single, *exercise.pairs]
    return [(mistake.text, [run(mistake.function, case) for case in cases]) for mistake in known]


# Comparing


def as_tensor(value: Any) -> Tensor | None:
    """A number, a list or an array as a tensor on the CPU; None for what is none of these."""
    try:
        return torch.as_tensor(value).detach().cpu().to_dense()
    except (TypeError, ValueError, RuntimeError):
        return None


def close(actual: Any, expected: Any) -> bool:
    """Whether two values are the same up to rounding, whatever their dtype; NaN equals NaN."""
    if isinstance(expected, str):
        return isinstance(actual, str) and actual == expected
    if isinstance(expected, list) and isinstance(actual, Tensor):
        actual = actual.tolist()
    if isinstance(expected, tuple | list):
        is_row = isinstance(actual, tuple | list) and len(actual) == len(expected)
        return is_row and all(close(a, b) for a, b in zip(actual, expected, strict=True))
    a, b = as_tensor(actual), as_tensor(expected)
    if a is None or b is None or a.shape != b.shape:
        return False
    is_single = torch.float64 not in (a.dtype, b.dtype) or torch.float32 in (a.dtype, b.dtype)
    rtol, atol = (1e-4, 1e-5) if is_single else (1e-9, 1e-10)
    widest = torch.complex128 if a.is_complex() else torch.float64
    return torch.allclose(a.to(widest), b.to(widest), rtol, atol, equal_nan=True)


def unchanged(after: Any, before: Any) -> bool:
    """Whether an argument is what it was."""
    if isinstance(before, dict):
        return after.keys() == before.keys() and all(unchanged(after[key], before[key]) for key in before)
    if isinstance(before, list):
        return len(after) == len(before) and all(unchanged(a, b) for a, b in zip(after, before, strict=True))
    return torch.equal(after, before) if isinstance(before, Tensor) else after == before


def same(one: Run, other: Run) -> bool:
    """Whether two runs came to the same."""
    if one.error or other.error:
        return one.error == other.error
    return close(one.value, other.value)


def is_random(answer: Function, case: Arguments) -> bool:
    """Whether two runs from different random states give different numbers."""
    one, other = (run(answer, case, seed).value for seed in (1, 2))
    return as_tensor(one) is not None and not close(one, other)


def right_type(actual: Any, expected: Any, case: Arguments) -> bool:
    """Whether a value of the right numbers is also of the right kind."""
    if not isinstance(expected, Tensor):
        return True
    if not isinstance(actual, Tensor):
        return expected.dim() == 0 and isinstance(actual, int | float | np.number)  # one number is a number
    has_float = any(isinstance(argument, Tensor) and argument.is_floating_point() for argument in case)
    both_float = actual.is_floating_point() and expected.is_floating_point()
    return actual.dtype == expected.dtype or (both_float and not has_float)


def is_right(actual: Run, expected: Run, case: Arguments) -> bool:
    """Whether a run did what the book's answer does."""
    done = not actual.error and not actual.changed
    return done and close(actual.value, expected.value) and right_type(actual.value, expected.value, case)


def known_mistake(exercise: Exercise, runs: list[Run], seed: int) -> str:
    """The text of the mistake that agrees with the answer on every case and is not just an error, or nothing."""
    expected = reference_runs(exercise, seed)
    if all(same(a, b) for a, b in zip(runs, expected, strict=True)) or all(r.error for r in runs):
        return ""
    known = mistake_runs(exercise, seed)
    return next((text for text, wrong in known if all(same(a, b) for a, b in zip(runs, wrong, strict=True))), "")


def unforeseen_mistake(exercise: Exercise, runs: list[Run], seed: int) -> str:
    """The difference between the book's answer and those variants of it that agree on every case, or nothing."""
    cases, began = exercise.cases(seed), time.process_time()

    def agrees(variant: Variant) -> bool:
        function = variant.function(exercise)
        return all(same(run(function, case, limit=0.1), mine) for case, mine in zip(cases, runs, strict=True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a variant does wrong
        if text := in_words([variant for variant in first_order(exercise) if agrees(variant)]):
            return text
        in_time = itertools.takewhile(lambda _: time.process_time() - began < PATIENCE, second_order(exercise))
        return in_words([variant for variant in in_time if agrees(variant)])


# What can be said of any wrong answer

Failure = tuple[Arguments, Run, Any]
"""a case, what the answer made of it, and what was expected"""


def generic(exercise: Exercise, failures: list[Failure]) -> str:
    """Say how the numbers are wrong where nobody foresaw why; failures begin with the smallest."""
    case, actual, expected = failures[0]
    if actual.value is None:
        hint = " It printed something: printing is not returning." if actual.printed else ""
        return f"Your function returns None: is a return missing?{hint}"
    if close(actual.value, expected):
        if not right_type(actual.value, expected, case):
            return _kind(actual.value, expected)
        names = list(inspect.signature(exercise.reference).parameters)
        changed = ", ".join(names[i] for i in actual.changed)
        return f"The result is right, but your function changes {changed} in place: the caller still needs it."
    value, target = as_tensor(actual.value), as_tensor(expected)
    if value is None or target is None:
        return _no_tensor(actual.value, expected)
    if value.shape != target.shape:
        return _shape(value, target)
    if value.is_complex():
        return "Your numbers are complex, expected real ones."
    if value.is_floating_point() and target.isfinite().all() and not value.isfinite().all():
        kind = "NaN: 0/0, ∞ − ∞ or ∞/∞ happened" if value.isnan().any() else "inf: an overflow, or a division by 0"
        return f"Your result contains {kind} on the way, where every number should be finite."
    if value.dtype in HALF and torch.allclose(value.double(), target.double(), 1e-2, 1e-2):
        return f"The numbers are right to the few digits of {value.dtype}: keep the inputs' dtype, {target.dtype}."
    if value.dtype == torch.float64 and torch.allclose(value, target.double(), 1e-4, 1e-5):
        made = "torch.tensor([…]), torch.zeros(…) and quotients of integers are float32 unless you say otherwise"
        return f"The numbers are right to the digits of float32, but the inputs are float64: {made}."
    return _relation([(as_tensor(a.value), as_tensor(e)) for _, a, e in failures])


def _no_tensor(value: Any, expected: Any) -> str:
    if isinstance(value, tuple | list) and isinstance(expected, tuple | list):
        if len(value) != len(expected):
            return f"You return {len(value)} values, expected {len(expected)}."
        wrong = next(i for i, pair in enumerate(zip(value, expected, strict=True)) if not close(*pair))
        return f"Value {wrong + 1} of {len(value)} is {shown(value[wrong])}, expected {shown(expected[wrong])}."
    kinds = {tuple: "tuple", list: "list", Tensor: "tensor"}
    wanted = next((name for kind, name in kinds.items() if isinstance(expected, kind)), "number")
    if isinstance(value, int | float | Tensor) and wanted != "tuple":  # too large a number, or a tensor without any
        return "The result is not the expected one."
    given = type(value).__name__
    return f"You return {'an' if given[0] in 'aeiou' else 'a'} {given}, expected a {wanted}."


def _shape(value: Tensor, target: Tensor) -> str:
    text = f"Your result has shape {tuple(value.shape)}, expected {tuple(target.shape)}."
    if value.dim() == target.dim() <= 4:
        for axes in permutations(range(target.dim())):
            if close(value, target.permute(axes)):
                return f"{text} The numbers are right, but axes are swapped: yours is expected.permute{axes}."
    if value.numel() == target.numel() and close(value.flatten(), target.flatten()):
        return f"{text} The numbers are right, only the shape is not."
    return text


def _kind(value: Any, target: Tensor) -> str:
    if not isinstance(value, Tensor):
        return f"The numbers are right, but you return a {type(value).__name__}, expected a tensor."
    dtypes = f"the dtype is {value.dtype}, expected {target.dtype}"
    return f"The numbers are right, but {dtypes}{': a mask is boolean' if target.dtype == torch.bool else ''}."


def _relation(pairs: list[tuple[Tensor | None, Tensor | None]]) -> str:
    """A rule that turns the expected result into the given one, in every failing case of several numbers."""
    known = [(a.double(), b.double()) for a, b in pairs if a is not None and b is not None and a.shape == b.shape]
    known = [(a, b) for a, b in known if a.numel() > 1] or known
    same_dims = all(a.dim() >= 2 and a.size(-1) == a.size(-2) for a, _ in known)
    if same_dims and all(close(a, b.mT) for a, b in known):
        return "Your result is the transpose of the expected one: rows and columns have changed places."
    if pairs[0][1] is not None and pairs[0][1].dtype == torch.bool and all(close(a, 1 - b) for a, b in known):
        return "Your mask is inverted: True means 'may be attended to'."
    for word, rule in (("times", torch.div), ("plus", torch.sub)):
        numbers = [_constant(a, b, rule) for a, b in known]
        if None in numbers:
            continue
        if len(numbers) > 1 and math.isclose(min(numbers), max(numbers), rel_tol=1e-3, abs_tol=1e-4):
            return f"Your result is the expected one {word} {numbers[0]:.4g} in every failing case."
        if all(a.numel() > 1 for a, _ in known):  # a single number always has such a rule
            different = ", ".join(dict.fromkeys(f"{number:.4g}" for number in numbers))
            return f"Your result is the expected one {word} a number that depends on the case: {different}."
    return "The numbers are not the expected ones."


def _constant(a: Tensor, b: Tensor, rule: Callable[[Tensor, Tensor], Tensor]) -> float | None:
    """The number that makes a of b by multiplication (rule: torch.div) or addition (torch.sub), if there is one."""
    largest = b.abs().argmax()
    number = float(rule(a.flatten()[largest], b.flatten()[largest]))
    made = b * number if rule is torch.div else b + number
    return number if number and math.isfinite(number) and torch.allclose(a, made, 1e-4, 1e-5) else None


# Showing a case


def shown(value: Any) -> str:
    """A value in a line or a few; the middle of large tensors is left out."""
    plain = as_tensor(value) if isinstance(value, Tensor) else None
    if plain is not None:
        plain = plain.double() if plain.is_floating_point() else plain
        text = np.array2string(plain.numpy(), precision=4, threshold=24, edgeitems=2, separator=", ")
        return "\n".join(line for line in text.splitlines() if line.strip())
    if callable(value):
        return getattr(value, "__name__", repr(value))
    if isinstance(value, list) and any(map(callable, value)):
        return f"[{', '.join(map(shown, value))}]"
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _input(value: Any) -> str:
    if isinstance(value, dict):
        return f"matrices {', '.join(value)}"
    if isinstance(value, Tensor) and value.numel() > SMALL:
        return f"numbers of shape {tuple(value.shape)}, {value.dtype}"
    return shown(value)


def _line(name: str, text: str) -> str:
    start = f"  {name} = "
    return start + text.replace("\n", "\n" + " " * len(start))


def details(exercise: Exercise, case: Arguments, actual: Run, expected: Any) -> tuple[str, ...]:
    """The case, large inputs by their shapes only; what was expected, what was given and what was printed."""
    named = zip(inspect.signature(exercise.reference).parameters, case, strict=False)
    lines = ["Smallest failing case:", *(_line(name, _input(value)) for name, value in named)]
    lines.append(_line("expected", shown(expected)))
    if not actual.error:
        lines.append(_line("yours", shown(actual.value)))
    if actual.printed:
        lines.append(f"it printed: {actual.printed.strip()[:LONGEST]}")
    return tuple(lines)
