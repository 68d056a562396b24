"""Grade an answer: run it on every case, and find out what is wrong with it."""

import ast
import inspect
import itertools
import textwrap
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from transformer.tutor.exercises.description import described, details, everywhere
from transformer.tutor.exercises.exercise import Arguments, Exercise, Function
from transformer.tutor.exercises.running import Run, as_tensor, close, is_right, run, same
from transformer.tutor.exercises.time_limit import TooSlow
from transformer.tutor.exercises.variation import INSTEAD, Variant, first_order, in_words, second_order

PATIENCE = 1.5
"""seconds of computing in which a mistake that nobody foresaw is looked for"""
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
    failures = [(cases[j], runs[j], expected[j].value) for j in failing]
    if not text and runs[i].value is not None and not close(runs[i].value, expected[i].value):
        text = everywhere(exercise, failures)
        found = unforeseen_mistake(exercise, runs, seed)
        if not (text and INSTEAD in found):  # of a result that is the same everywhere, another number explains little
            text = " ".join(filter(None, (text, found)))
    text = text or described(exercise, failures)
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
        inspect.signature(answer).bind(*exercise.cases()[0])
    except TypeError:
        return f"Your function takes {inspect.signature(answer)}, expected {inspect.signature(exercise.reference)}."
    except ValueError:  # built-in functions have no signature to compare
        return ""
    return ""


# Mistakes


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


def is_random(answer: Function, case: Arguments) -> bool:
    """Whether two runs from different random states give different numbers."""
    one, other = (run(answer, case, seed).value for seed in (1, 2))
    return as_tensor(one) is not None and not close(one, other)


def known_mistake(exercise: Exercise, runs: list[Run], seed: int) -> str:
    """The text of the mistake that agrees with the answer on every case and is not just an error, or nothing."""
    expected = reference_runs(exercise, seed)
    if all(same(a, b) for a, b in zip(runs, expected, strict=True)) or all(r.error for r in runs):
        return ""
    known = mistake_runs(exercise, seed)
    return next((text for text, wrong in known if all(same(a, b) for a, b in zip(runs, wrong, strict=True))), "")


@cache
def variant_run(exercise: Exercise, variant: Variant, seed: int, i: int) -> Run:
    """What a variant of the book's answer gives on case number i."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a variant does wrong
        return run(variant.function(exercise), exercise.cases(seed)[i], limit=LIMIT_OF_A_VARIANT)


def unforeseen_mistake(exercise: Exercise, runs: list[Run], seed: int) -> str:
    """The difference between the book's answer and those variants of it that agree on every case, or nothing."""
    began = time.process_time()

    def agreeing(variants: Iterable[Variant]) -> list[Variant]:
        return [v for v in variants if all(same(variant_run(exercise, v, seed, i), r) for i, r in enumerate(runs))]

    in_time = itertools.takewhile(lambda _: time.process_time() - began < PATIENCE, second_order(exercise))
    return in_words(agreeing(first_order(exercise)) or agreeing(in_time))
