"""Describe how an answer is wrong where nobody knows why, and show the case."""

import inspect
import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transformer.tutor.exercises.exercise import Arguments, Exercise
from transformer.tutor.exercises.running import LONGEST, Run, as_tensor, close, right_type

SMALL = 12
"""numbers; an input of no more is shown"""
HALF = (torch.float16, torch.bfloat16)
"""formats with too few digits to tell a right answer from a nearly right one"""

Failure = tuple[Arguments, Run, Any]
"""a case, what the answer made of it, and what was expected"""


def described(exercise: Exercise, failures: list[Failure]) -> str:
    """Say how the numbers are wrong where nobody foresaw why; failures begin with the smallest."""
    case, actual, expected = failures[0]
    if actual.value is None:
        hint = " It printed something: printing is not returning." if actual.printed else ""
        return f"Your function returns None: is a return missing?{hint}"
    if close(actual.value, expected, actual.is_exact):
        if not right_type(actual.value, expected, case):
            return _kind(actual.value, expected)
        names = list(inspect.signature(exercise.reference).parameters)
        changed = ", ".join(names[i] for i in actual.changed)
        return f"The result is right, but your function changes {changed} in place: the caller still needs it."
    if text := _stacked(failures):
        return text
    value, target = as_tensor(actual.value), as_tensor(expected)
    if value is None or target is None or _is_other_row(actual.value, expected):
        return _no_tensor(actual.value, expected)
    if value.shape != target.shape:
        return _shape(value, target)
    if value.is_complex():
        return "Your numbers are complex, expected real ones."
    if value.is_floating_point() and target.isfinite().all() and not value.isfinite().all():
        kind = "NaN, from 0/0, ∞ − ∞ or ∞/∞" if value.isnan().any() else "inf, from an overflow or a division by 0"
        return f"Your result contains {kind} on the way. Every number should be finite."
    if value.dtype in HALF and torch.allclose(value.double(), target.double(), 1e-2, 1e-2):
        return f"The numbers are right to the few digits of {value.dtype}: keep the inputs' dtype, {target.dtype}."
    pairs = [(as_tensor(a.value), as_tensor(e)) for _, a, e in failures]
    return _low(pairs) or _rounded(pairs) or _relation(pairs)


def everywhere(exercise: Exercise, failures: list[Failure]) -> str:
    """What is the same in every failing case: nothing was done, nothing was found, or the same number came out.

    Many mistakes come to such a result, so it says more than the name of one of them.
    """
    if len(failures) < 2:
        return ""
    shortest = min(len(case) for case, *_ in failures)  # some leave out what has a default
    for i, name in enumerate(list(inspect.signature(exercise.reference).parameters)[:shortest]):
        if all(not callable(case[i]) and close(actual.value, case[i]) for case, actual, _ in failures):
            return f"Your function returns {name} as it was given."
    values = [as_tensor(actual.value) for _, actual, _ in failures]
    if None in values or any(as_tensor(expected) is None for _, _, expected in failures):
        return ""
    if all(value.numel() == 0 for value in values):
        return "Your result is empty in every failing case."
    numbers = {number for value in values for number in value.flatten().tolist()}
    if len(numbers) == 1:
        plural = "Every entry of your result is" if any(value.numel() > 1 for value in values) else "Your result is"
        return f"{plural} {shown(numbers.pop())} in every failing case."
    return ""


def _is_other_row(value: Any, expected: Any) -> bool:
    """Whether a list or tuple is best described as such: where another number is expected, or several tensors."""
    if not isinstance(value, tuple | list) or not isinstance(expected, tuple | list):
        return False
    return len(value) != len(expected) or any(isinstance(part, Tensor) for part in expected)


def _no_tensor(value: Any, expected: Any) -> str:
    if isinstance(value, tuple | list) and isinstance(expected, tuple | list):
        what = "value" if isinstance(expected, tuple) else "entry"
        if len(value) != len(expected):
            plural = what if len(value) == 1 else {"value": "values", "entry": "entries"}[what]
            return f"You return {len(value)} {plural}, expected {len(expected)}."
        wrong = next(i for i, pair in enumerate(zip(value, expected, strict=True)) if not close(*pair))
        which = f"{what.capitalize()} {wrong + 1} of {len(value)}"
        return f"{which} is {shown(value[wrong])}, expected {shown(expected[wrong])}."
    kinds = {tuple: "tuple", list: "list", Tensor: "tensor"}
    wanted = next((name for kind, name in kinds.items() if isinstance(expected, kind)), "number")
    if isinstance(value, int | float | Tensor) and wanted != "tuple":  # too large a number, or a tensor without any
        return "The result is not the expected one."
    given = type(value).__name__
    return f"You return {'an' if given[0] in 'aeiou' else 'a'} {given}, expected a {wanted}."


def _stacked(failures: list[Failure]) -> str:
    """Whether one tensor, or array, holds what should be a tuple, in every failing case."""
    kind = type(failures[0][1].value)
    wanted = failures[0][2]
    if not issubclass(kind, Tensor | np.ndarray) or not isinstance(wanted, tuple):
        return ""
    values = [(actual.value, expected) for _, actual, expected in failures]
    if not all(isinstance(a, kind) and a.ndim and close(tuple(a), expected) for a, expected in values):
        return ""
    what = "tensor" if issubclass(kind, Tensor) else "array"
    return f"The numbers are right, but you return one {what}, expected a tuple of {len(wanted)}."


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


def _low(pairs: list[tuple[Tensor | None, Tensor | None]]) -> str:
    """Whether every result is the expected one but for a large negative number in the place of −∞."""
    if any(a is None or b is None or a.shape != b.shape or not (b == -math.inf).any() for a, b in pairs):
        return ""
    if all(bool((a[b == -math.inf] < -99).all()) and close(a[b > -math.inf], b[b > -math.inf]) for a, b in pairs):
        return "A large negative number is not −∞: write -math.inf, as the statement asks."
    return ""


def _rounded(pairs: list[tuple[Tensor | None, Tensor | None]]) -> str:
    """Whether every result is the expected one with some of its decimal places rounded off."""
    if any(a is None or b is None or a.shape != b.shape or not b.is_floating_point() for a, b in pairs):
        return ""
    known = [(a.double(), b.double()) for a, b in pairs]
    for places in range(10):
        half = 0.5001 * 10**-places  # of two numbers as near, either may be taken
        if all(_has_places(a, places) and bool(((a - b).abs() <= half).all()) for a, b in known):
            kept = {0: "whole numbers", 1: "one decimal place"}.get(places, f"{places} decimal places")
            return f"You round to {kept}, which changes small numbers most: return them as they are."
    return ""


def _has_places(numbers: Tensor, places: int) -> bool:
    """Whether numbers have no more decimal places than these, up to the digits of float32."""
    return torch.allclose(numbers, numbers.round(decimals=places), 1e-6, 1e-12)


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
        if None in numbers or (rule is torch.div and max(abs(number - 1) for number in numbers) < 1e-3):
            continue
        if len(numbers) > 1 and math.isclose(min(numbers), max(numbers), rel_tol=1e-3, abs_tol=1e-4):
            return f"Your result is the expected one {word} {numbers[0]:.4g} in every failing case."
        if all(a.numel() > 1 for a, _ in known):  # a single number always has such a rule
            different = ", ".join(dict.fromkeys(f"{number:.4g}" for number in numbers))
            return f"Your result is the expected one {word} a number that depends on the case: {different}."
    return _difference(known)


PROPERTIES: dict[str, Callable[[Tensor], bool]] = {
    "its rows sum to 1": lambda a: a.dim() > 0 and close(a.sum(-1), torch.ones(a.shape[:-1])),
    "its columns sum to 1": lambda a: a.dim() > 1 and close(a.sum(-2), torch.ones(a.sum(-2).shape)),
    "its rows sum to 0": lambda a: a.dim() > 0 and close(a.sum(-1), torch.zeros(a.shape[:-1])),
    "the numbers of a row have variance 1": lambda a: (
        a.dim() > 0 and close(a.var(-1, correction=0).float(), torch.ones(a.shape[:-1]))
    ),
    "it is symmetric": lambda a: a.dim() > 1 and a.size(-1) == a.size(-2) and close(a, a.mT),
    "it is 0 above the diagonal": lambda a: a.dim() > 1 and not a.triu(1).any(),
    "it is 0 below the diagonal": lambda a: a.dim() > 1 and not a.tril(-1).any(),
    "no number of it is negative": lambda a: bool((a >= 0).all()),
    "all its numbers are whole": lambda a: close(a, a.round()),
}
"""what may be true of a result, in words"""


def _difference(pairs: list[tuple[Tensor, Tensor]]) -> str:
    """Where a result first differs from the expected one, and what is true of the expected one only, in every case."""
    said = "The numbers are not the expected ones."
    value, target = pairs[0]
    differing = (~torch.isclose(value, target, 1e-4, 1e-5)).nonzero().tolist()
    if value.numel() > 1 and differing:
        at = ", ".join(map(str, differing[0]))
        said += f" The first that differs is entry [{at}]: "
        said += f"{value[*differing[0]]:.4g}, expected {target[*differing[0]]:.4g}."
    pairs = pairs if value.numel() > 1 else []  # what is true of single numbers may be chance
    has = [words for words, holds in PROPERTIES.items() if pairs and all(holds(b) and not holds(a) for a, b in pairs)]
    return f"{said} What is true of the expected result, and not of yours: {', and '.join(has)}." if has else said


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
