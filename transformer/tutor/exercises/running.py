"""Run an answer on a case, and compare what came of it."""

import copy
import inspect
import io
import linecache
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transformer.tutor.exercises.exercise import Arguments, Function, has_tensors
from transformer.tutor.exercises.time_limit import TooSlow, time_limit

TIME_LIMIT = 5.0
"""seconds of computing for one case: time in which others have the processor, or in which the answer waits, does not
count. Kept by a signal, so on Linux and macOS, in a notebook's main thread; elsewhere (Windows) a loop that never ends
must be interrupted by hand: the stop button, or Kernel → Interrupt"""
LONGEST = 300
"""letters of what a function printed or raised, or of another long value, that are shown"""


@dataclass(frozen=True)
class Run:
    """What came of one call: a value, or the kind of error and what to say of it."""

    value: Any = None
    """what was returned"""
    error: str = ""
    """the kind of failure, if it did not return"""
    message: str = ""
    """what Python says of it"""
    story: str = ""
    """what to say of the failure"""
    printed: str = ""
    """what the answer printed"""
    changed: tuple[int, ...] = ()
    """which arguments are no longer what they were"""
    is_exact: bool = False
    """whether all that was given are plain numbers: then no rounding of tensors excuses small ones that are wrong"""


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
    arguments, printed, limit = copy.deepcopy(case), io.StringIO(), limit or TIME_LIMIT
    try:
        with left_as_it_was(), redirect_stdout(printed), time_limit(limit, run):
            torch.default_generator.manual_seed(seed)  # of the CPU, where all cases are; torch.manual_seed is slow
            value = _copied(function(*arguments))
    except TooSlow as error:
        story = f"No answer after {limit:g} s of computing: is there a loop that never ends?"
        return Run(error="TooSlow", story=story + learner_line(function, error))
    except (Exception, SystemExit) as error:
        kind, message = type(error).__name__, str(error)
        said = f": {message.rstrip('.')[:LONGEST]}" if message else ""
        story = f"Your function raised {kind}{said}.{learner_line(function, error)}"
        return Run(error=kind, message=message, story=story, printed=printed.getvalue())
    changed = tuple(i for i, (a, b) in enumerate(zip(arguments, case, strict=True)) if not unchanged(a, b))
    return Run(value, printed=printed.getvalue(), changed=changed, is_exact=not has_tensors(case))


def _copied(value: Any) -> Any:
    """A list or tuple made anew: the one that was returned may be kept by the answer, and changed by its next run."""
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value


def learner_line(function: Function, error: BaseException) -> str:
    """The last line of the learner's own file, or cell, on the way to the error."""
    home = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == home]
    if not frames:
        return ""
    number = frames[-1].lineno or 0
    source = linecache.getline(frames[-1].filename, number).strip()
    return f" At line {number}: {source}" if source else f" At line {number}."


# Comparing


def as_tensor(value: Any) -> Tensor | None:
    """A number, a list or an array as a tensor on the CPU; None for what is none of these."""
    try:
        value = float(value) if isinstance(value, Fraction) else _stacked(value)
        return torch.as_tensor(value).detach().cpu().to_dense()
    except (TypeError, ValueError, RuntimeError):
        return None


def _stacked(value: Any) -> Any:
    """Tensors in a list, or in lists in a list, as one tensor: then only torch.stack may be missing."""
    if not isinstance(value, list | tuple) or not value:
        return value
    parts = [_stacked(part) for part in value]
    return torch.stack(parts) if all(isinstance(part, Tensor) for part in parts) else value


def is_plain(value: Any) -> bool:
    """Whether a value is a text, numbers, or a list of such: what can be compared with another one."""
    if isinstance(value, str) or as_tensor(value) is not None:
        return True
    return isinstance(value, list | tuple) and all(map(is_plain, value))


def close(actual: Any, expected: Any, is_exact: bool = False) -> bool:
    """Whether two values are the same up to rounding, whatever their dtype; NaN equals NaN.

    is_exact: a plain number is compared by its ratio alone, however small it is, such as a learning rate.
    """
    if isinstance(expected, str):
        return isinstance(actual, str) and actual == expected
    if isinstance(expected, list) and isinstance(actual, Tensor):
        actual = actual.tolist()
    if isinstance(expected, dict):
        is_dict = isinstance(actual, dict) and actual.keys() == expected.keys()
        return is_dict and all(close(actual[key], expected[key], is_exact) for key in expected)
    if type(actual) is type(expected) is int:  # which may be larger than a tensor's numbers
        return actual == expected
    if isinstance(expected, tuple | list):
        is_row = isinstance(actual, tuple | list) and len(actual) == len(expected)
        if is_row and isinstance(expected, tuple) and set(map(type, expected)) == {int}:
            is_row = float not in map(type, actual)  # sizes are whole
        return is_row and all(close(a, b, is_exact) for a, b in zip(actual, expected, strict=True))
    a, b = as_tensor(actual), as_tensor(expected)
    if a is None or b is None or a.shape != b.shape:
        return False
    is_single = torch.float64 not in (a.dtype, b.dtype) or torch.float32 in (a.dtype, b.dtype)
    rtol, atol = (1e-4, 1e-5) if is_single else (1e-6, 1e-7)  # a root, say, may have been taken in float32
    if is_exact and isinstance(expected, float):
        atol = 1e-12  # for what should be 0
    widest = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    return torch.allclose(a.to(widest), b.to(widest), rtol, atol, equal_nan=True)


def unchanged(after: Any, before: Any) -> bool:
    """Whether an argument is what it was."""
    if isinstance(before, dict):
        return after.keys() == before.keys() and all(unchanged(after[key], before[key]) for key in before)
    if isinstance(before, list):
        return len(after) == len(before) and all(unchanged(a, b) for a, b in zip(after, before, strict=True))
    if isinstance(before, Tensor):
        is_same_kind = after.shape == before.shape and after.dtype == before.dtype
        return is_same_kind and bool(((after == before) | ((after != after) & (before != before))).all())  # NaN is NaN
    return after is before or after == before


def same(one: Sequence[Run], other: Sequence[Run]) -> bool:
    """Whether two answers came to the same on every case; the same message, where they only raise errors."""
    only_errors = all(run.error for run in one)
    return all(_same(a, b) and not (only_errors and a.message != b.message) for a, b in zip(one, other, strict=True))


def _same(one: Run, other: Run) -> bool:
    if one.error or other.error:
        return one.error == other.error
    return close(one.value, other.value, one.is_exact)


def right_type(actual: Any, expected: Any, case: Arguments) -> bool:
    """Whether a value of the right numbers is also of the right kind; more digits than asked for are right, too."""
    if not isinstance(expected, Tensor):
        return True
    if not isinstance(actual, Tensor):
        return expected.dim() == 0 and isinstance(actual, int | float | np.number)  # one number is a number
    has_float = any(isinstance(argument, Tensor) and argument.is_floating_point() for argument in case)
    both_float = actual.is_floating_point() and expected.is_floating_point()
    is_free = not has_float or expected.dim() == 0 or actual.dtype == torch.float64
    return actual.dtype == expected.dtype or (both_float and is_free)


def is_right(actual: Run, expected: Run, case: Arguments) -> bool:
    """Whether a run did what the book's answer does."""
    done = not actual.error and not actual.changed
    return (
        done and close(actual.value, expected.value, actual.is_exact) and right_type(actual.value, expected.value, case)
    )
