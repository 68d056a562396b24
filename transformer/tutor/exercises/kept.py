"""The source of a right answer, as a file that runs on its own, and back.

An answer is a function of a notebook. What it calls by name comes with it: the learner's own functions, as source, and
whatever can be imported, as an import. Of anything else is said by name why it cannot be kept.
"""

import ast
import builtins
import dis
import inspect
import itertools
import linecache
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from transformer.tutor.exercises.exercise import Exercise, Function

PLAIN = (bool, int, float, complex, str, bytes, type(None))
"""kinds of values that are written as they are"""


class CannotKeep(ValueError):
    """An answer that cannot be written down; says why."""


class DamagedAnswer(ValueError):
    """A kept answer that cannot be read, or run; says why."""


def source_of(answer: Function) -> str:
    """A file that defines the answer, and all that it uses by name.

    Raises CannotKeep for an answer without a source, or with a part that can be neither written nor imported.
    """
    blocks: dict[str, str] = {}
    _collect(answer, blocks)
    imports = sorted(block for block in blocks.values() if block.startswith(("import ", "from ")))
    others = [block for block in blocks.values() if block not in imports]
    return "\n\n".join(["\n".join(imports), *others] if imports else others) + "\n"


def _collect(function: Function, blocks: dict[str, str]) -> None:
    """Write down a function, and before it what it needs; `blocks` goes from names to source."""
    name = getattr(function, "__name__", repr(function))
    source = _written(function)
    blocks[name] = ""  # so that functions which call each other end
    # of the whole definition, since annotations and defaults are looked up too when the file is read
    for needed in dict.fromkeys(_names(compile(source, name, "exec"))):
        if needed in blocks or needed not in function.__globals__:
            continue  # a builtin, or an error of the learner's that grading has seen
        value = function.__globals__[needed]
        if isinstance(value, FunctionType) and _is_own(value, function):
            if value.__name__ != needed:
                raise CannotKeep(f"{name} uses {needed}, another name of {value.__name__}; call it by that")
            _collect(value, blocks)
        else:
            blocks[needed] = _imported(name, needed, value)
    del blocks[name]  # it comes behind what it needs
    blocks[name] = source


def _written(function: Function) -> str:
    name = getattr(function, "__name__", repr(function))
    if not isinstance(function, FunctionType) or name == "<lambda>":
        raise CannotKeep(f"{name} is no function that was written with def")
    if function.__closure__:
        raise CannotKeep(f"{name} was made inside another function; write it at the left edge of its cell")
    try:
        text = textwrap.dedent(inspect.getsource(function))
        definition = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise CannotKeep(f"the source of {name} cannot be read ({type(error).__name__}); run its cell again") from error
    others = [decorator for decorator in definition.decorator_list if not _is_check(decorator)]
    if others:
        raise CannotKeep(f"{name} has a decorator of its own, {ast.unparse(others[0])}")
    return "\n".join(text.splitlines()[definition.lineno - 1 : definition.end_lineno])


def _is_check(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == "check"


def _names(code: CodeType) -> Iterator[str]:
    """The names that a definition looks up outside itself."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_own(value: FunctionType, function: Function) -> bool:
    return value.__globals__ is function.__globals__ and value.__module__ == function.__module__


def _imported(answer: str, name: str, value: Any) -> str:
    """The line that makes a name of the notebook anew."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" if value.__name__ == name else f"import {value.__name__} as {name}"
    if isinstance(value, PLAIN):
        return f"{name} = {value!r}"
    home, its_name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if home not in (None, "__main__") and getattr(sys.modules.get(home), str(its_name), None) is value:
        return f"from {home} import {its_name}" if its_name == name else f"from {home} import {its_name} as {name}"
    raise CannotKeep(
        f"{answer} uses {name}, a {type(value).__name__} of your notebook; make it an argument, or compute it inside"
    )


_loads = itertools.count()


def load(exercise: Exercise, source: str) -> Function:
    """The function that a kept source defines, among the names of the book's answer.

    Raises DamagedAnswer for a text that is no Python, does not run, or does not define the answer.
    """
    file = f"<your {exercise.name}, {next(_loads)}>"
    space = {**exercise.reference.__globals__, "__builtins__": builtins, "__name__": f"kept.{exercise.name}"}
    try:
        exec(compile(source, file, "exec"), space)
    except Exception as error:  # whatever the file does
        raise DamagedAnswer(f"{type(error).__name__}: {error}") from error
    answer = space.get(exercise.name)
    if not isinstance(answer, FunctionType) or answer is exercise.reference:
        raise DamagedAnswer(f"it does not define {exercise.name}")
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for messages that show lines
    return answer
