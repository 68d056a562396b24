"""Grade an answer: run it on every case, and find out what is wrong with it."""

import ast
import inspect
import itertools
import re
import textwrap
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from transformer.tutor.exercises.description import described, details, everywhere
from transformer.tutor.exercises.exercise import Arguments, Exercise, Function, in_double, in_single
from transformer.tutor.exercises.running import Run, close, is_plain, is_right, run, same
from transformer.tutor.exercises.time_limit import TooSlow
from transformer.tutor.exercises.variation import Variant, first_order, function, in_words, second_order

LIMIT_OF_A_VARIANT = 0.1
"""seconds of computing for one case of a variant of the book's answer"""


@dataclass(frozen=True)
class Finding:
    """What grading found: "todo", "right" or "wrong", the diagnosis, and lines that show the case."""

    status: str
    """todo, right or wrong"""
    text: str = ""
    """the diagnosis, in one or two sentences"""
    details: tuple[str, ...] = ()
    """lines that show the case: input, expected, got"""


def grade(exercise: Exercise, answer: Function, seed: int = 0) -> Finding:
    """Compare an answer with the book's: the seed chooses the cases."""
    if is_stub(answer):
        return Finding("todo", still_open(answer))
    if problem := wrong_signature(exercise, answer):
        return Finding("wrong", problem)
    cases, expected = drawn_cases(exercise, seed), reference_runs(exercise, seed)
    runs: list[Run] = []
    for case in cases:
        runs.append(run(answer, case))
        if runs[-1].error == TooSlow.__name__:  # the next case would not end either
            return Finding("wrong", runs[-1].story, details(exercise, case, runs[-1], expected[len(runs) - 1].value))
    failing = [i for i, case in enumerate(cases) if not is_right(runs[i], expected[i], case)]
    if not failing:
        return Finding("right", wider(cases, runs))
    # What is wrong in float32 is told first: what fails in float64 may have another reason.
    only_double = all(in_double(cases[i]) for i in failing)
    numbers = [i for i, case in enumerate(cases) if only_double or not in_double(case)]
    failing = [i for i in failing if i in numbers]
    i = next((i for i in failing if runs[i].error), failing[0])
    text = diagnosis(exercise, answer, runs, numbers, failing, seed)
    if not text:
        i, text = failing[0], described(exercise, [(cases[j], runs[j], expected[j].value) for j in failing])
    if only_double:
        if all(is_other_dtype(runs[j], expected[j]) for j in failing):
            return Finding(
                "right",
                "One remark: it works in float32 only. With inputs in float64 it should, too: make "
                "what you create like the inputs (dtype=x.dtype, torch.zeros_like, x.new_zeros).",
            )
        text = f"In float32 your answer is right. In float64: {text}"
    share = f"{len(failing)} of {len(numbers)} cases fail." if len(failing) < len(numbers) else ""
    notes = [note for note in (runs[i].story, share) if note and note not in text]
    return Finding("wrong", text, (*details(exercise, cases[i], runs[i], expected[i].value), *notes))


def is_other_dtype(actual: Run, expected: Run) -> bool:
    """Whether nothing but dtypes that differ is wrong with a run."""
    if actual.error:
        return actual.error == "RuntimeError" and re.search("same dtype|Double|double", actual.message) is not None
    return isinstance(actual.value, Tensor) and not actual.changed and close(actual.value, expected.value)


def wider(cases: list[Arguments], runs: list[Run]) -> str:
    """A remark where an answer gives back more digits than its inputs have, in more than one number; or nothing."""
    values = [mine.value for case, mine in zip(cases, runs, strict=True) if in_single(case)]
    if not any(isinstance(value, Tensor) and value.dim() and value.dtype == torch.float64 for value in values):
        return ""
    return (
        "One remark: with inputs in float32 it gives float64, which in a model is slow and does not fit the other "
        "parts: give back the inputs' dtype, .to(x.dtype)."
    )


# An answer that is not there, or cannot be called


def is_stub(function: Function) -> bool:
    """Whether nothing is written yet, or a hole (`name = ...`, `return ...`) is still open: the cell's source tells.

    A function whose source cannot be read, such as a lambda in the middle of a line, is none.
    """
    written, _ = _written(function)
    return written is not None and (all(map(_does_nothing, written.body)) or bool(_open_holes(written)))


def still_open(function: Function) -> str:
    """Which lines of a stub are still to be written, or nothing where it is all of them."""
    written, first = _written(function)
    holes = _open_holes(written) if written else []
    lines = ", ".join(f"{ast.unparse(hole)} (line {first + hole.lineno - 1})" for hole in holes)
    return f"Still open: {lines}." if lines else ""


def _written(function: Function) -> tuple[ast.FunctionDef | None, int]:
    """The source of a function as a tree, and the number of its first line; None where it cannot be read."""
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(function))
        written = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None, 0
    return (written, first) if isinstance(written, ast.FunctionDef) else (None, 0)


def _open_holes(written: ast.FunctionDef) -> list[ast.Assign | ast.Return]:
    """The holes to fill, in the order of the text; none where nothing that is returned or read is one."""
    holes = {node: _use(written, node) for node in ast.walk(written) if _is_hole(node)}
    if "read" not in holes.values():
        return []
    return sorted((hole for hole, use in holes.items() if use != "assigned"), key=lambda hole: hole.lineno)


def _use(written: ast.FunctionDef, hole: ast.Assign | ast.Return) -> str:
    """What is next done with the name of a hole, in the order of the text: "read", "assigned" again, or nothing."""
    if isinstance(hole, ast.Return):
        return "read"
    name = hole.targets[0].id
    uses = [node for node in ast.walk(written) if isinstance(node, ast.Name) and node.id == name]
    end = (hole.end_lineno, hole.end_col_offset)
    later = [node for node in uses if (node.lineno, node.col_offset) > end]
    if not later:
        return ""
    line = min(node.lineno for node in later)
    is_read = any(isinstance(node.ctx, ast.Load) for node in later if node.lineno == line)
    is_changed = any(isinstance(node, ast.AugAssign) and node.lineno == line for node in ast.walk(written))
    return "read" if is_read or is_changed else "assigned"


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
        for case in drawn_cases(exercise, 0):  # some leave out what has a default
            inspect.signature(answer).bind(*case)
    except TypeError:
        return f"Your function takes {inspect.signature(answer)}, expected {inspect.signature(exercise.reference)}."
    except ValueError:  # built-in functions have no signature to compare
        return ""
    return ""


# Mistakes


@cache
def drawn_cases(exercise: Exercise, seed: int) -> list[Arguments]:
    """The exercise's cases, drawn once: whatever is run gets copies of them."""
    return exercise.cases(seed)


@cache
def reference_runs(exercise: Exercise, seed: int) -> list[Run]:
    """What the book's answer gives on every case."""
    return [run(exercise.reference, case) for case in drawn_cases(exercise, seed)]


@cache
def mistake_runs(exercise: Exercise, seed: int) -> list[tuple[str, list[Run]]]:
    """What every known mistake, then every pair, gives on every case."""
    cases = drawn_cases(exercise, seed)
    known = [*exercise.single, *exercise.pairs]
    return [(mistake.text, [run(mistake.function, case) for case in cases]) for mistake in known]


def is_random(answer: Function, case: Arguments) -> bool:
    """Whether two runs from different random states give different numbers, or lists of them or of text."""
    one, other = (run(answer, case, seed).value for seed in (1, 2))
    return is_plain(one) and not close(one, other)


def diagnosis(
    exercise: Exercise, answer: Function, runs: list[Run], numbers: list[int], failing: list[int], seed: int
) -> str:
    """What is wrong with an answer, from what it gave on every case, or nothing.

    numbers: the cases to look at. failing: those of them that are wrong.
    """
    cases, expected = drawn_cases(exercise, seed), reference_runs(exercise, seed)
    mine = [runs[i] for i in numbers]
    is_numbers = not all(same([runs[i]], [expected[i]]) for i in failing)  # not just a dtype, or an input changed
    if is_numbers and (text := known_mistake(exercise, mine, numbers, seed)):
        return text
    if error := next((runs[i] for i in failing if runs[i].error), None):
        clause = unforeseen_mistake(exercise, mine, numbers, seed) if all(run.error for run in mine) else ""
        return f"{error.story} This comes out if {clause}." if clause else error.story
    if is_random(answer, cases[failing[0]]):
        return "Two runs on the same input differ: is something random (dropout left on), or kept from an earlier run?"
    if not is_numbers or runs[failing[0]].value is None:
        return ""
    text = everywhere(exercise, [(cases[i], runs[i], expected[i].value) for i in failing])
    clause = unforeseen_mistake(exercise, mine, numbers, seed, only_simple=bool(text))
    named = f"You get exactly what comes out if {clause}." if clause else ""
    return " ".join(filter(None, (text, named)))


def known_mistake(exercise: Exercise, runs: list[Run], numbers: list[int], seed: int) -> str:
    """The text of the first known mistake that agrees with the answer on every case, or nothing."""
    known = mistake_runs(exercise, seed)
    return next((text for text, wrong in known if same(runs, [wrong[i] for i in numbers])), "")


def variant_run(exercise: Exercise, variant: Variant, case: Arguments) -> Run:
    """What a variant of the book's answer gives on a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a variant does wrong
        return run(function(exercise, variant), case, limit=LIMIT_OF_A_VARIANT)


@cache
def first_run(exercise: Exercise, variant: Variant, seed: int, i: int) -> Run:
    """What a variant with one change gives on case number i."""
    return variant_run(exercise, variant, drawn_cases(exercise, seed)[i])


def unforeseen_mistake(
    exercise: Exercise, runs: list[Run], numbers: list[int], seed: int, only_simple: bool = False
) -> str:
    """The difference between the book's answer and a variant of it that agrees on every case, as a clause, or nothing.

    Two changes are named only where no other two come to the same. only_simple: one change that is plain, or nothing.
    """
    cases, only_errors = drawn_cases(exercise, seed), all(mine.error for mine in runs)

    def agrees(made: Iterable[Run]) -> bool:
        return all(same([other], [mine]) for other, mine in zip(made, runs, strict=False))

    simple = [one for one in first_order(exercise) if agrees(first_run(exercise, one, seed, i) for i in numbers)]
    if simple or only_simple or only_errors:
        return in_words([one for one in simple if one.is_plain or not (only_simple or only_errors)])
    pairs = second_order(exercise)
    double = (two for two in pairs if agrees(variant_run(exercise, two, cases[i]) for i in numbers))
    found = list(itertools.islice(double, 2))
    return in_words(found) if len(found) == 1 else ""
