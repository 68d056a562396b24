"""Break the package on purpose, one small change at a time, and see whether the tests notice.

    python tests/mutation.py                      every target
    python tests/mutation.py decoding --sample 40

A mutant is the package with one operator, comparison, constant or condition changed, or one call or negation taken
out. It lives in a copy of the tree, against which the quick tests of its module run. A mutant that passes them all is
a survivor: either it computes the same, or a test is missing. Texts of errors, annotations and decorators stay as
they are.
"""

import argparse
import ast
import importlib
import importlib.metadata
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TIME_LIMIT = 300  # seconds for one mutant
TARGETS: dict[str, tuple[list[str], list[str]]] = {  # module: the functions to mutate (none: all), the tests to run
    "attention": ([], ["test_attention.py", "test_model.py"]),
    "batches": ([], ["test_data.py"]),
    "decoding": ([], ["test_decoding.py"]),
    "training": (["noam", "learning_rate", "summed_loss"], ["test_training.py"]),
}
OPERATORS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mod],
    ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or], ast.Or: [ast.And], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
}  # fmt: skip
MODULES = {"torch", "F", "math", "nn", "random", "itertools", "warnings"}  # torch.cat(x) without its call is x
UNTOUCHED = (ast.Raise, ast.JoinedStr)
UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True)
class Mutant:
    """The source text of a module with one thing changed, and where."""

    module: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}.py:{self.line}: {self.before}  →  {self.after}"


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in the place of a node."""
    match node:
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp():
            for operator in OPERATORS.get(type(node.op), []):
                yield type(node)(**{**vars(node), "op": operator()})
        case ast.Compare(ops=[operator]):
            for other in OPERATORS[type(operator)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.Compare(left=left, ops=[first, second], comparators=[middle, right]):
            for other in OPERATORS[type(first)]:
                yield ast.Compare(left, [other(), second], [middle, right])
            for other in OPERATORS[type(second)]:
                yield ast.Compare(left, [first, other()], [middle, right])
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.IfExp(test=ast.Name() | ast.Attribute()):
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.If(test=ast.Name() | ast.Attribute() | ast.Call()):
            yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Call(func=ast.Attribute(value=owner)) if ast.unparse(owner).split(".")[0] not in MODULES:
            yield owner
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.Starred):
            yield first


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int, ast.AST]]:
    """Every child below a node, with the parent, the field and the index that hold it."""
    for field, value in ast.iter_fields(node):
        if field not in UNTOUCHED_FIELDS:
            for i, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST) and not isinstance(child, UNTOUCHED):
                    yield node, field, i, child
                    yield from places(child)


def mutants(module: str, functions: list[str]) -> Iterator[Mutant]:
    """All mutants of a module, or of some of its functions."""
    tree = ast.parse((ROOT / "transformer" / f"{module}.py").read_text(encoding="utf-8"))
    scopes = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in functions] if functions else [tree]
    for parent, field, i, node in [place for scope in scopes for place in places(scope)]:

        def put(new: ast.AST, parent: ast.AST = parent, field: str = field, i: int = i) -> None:
            held = getattr(parent, field)
            setattr(parent, field, [*held[:i], new, *held[i + 1 :]] if isinstance(held, list) else new)

        if isinstance(parent, ast.Expr):
            continue  # a call that is a statement has gone with its statement
        for changed in alternatives(node):
            put(changed)
            before, after = (ast.unparse(version).splitlines()[0] for version in (node, changed))
            yield Mutant(module, node.lineno, before, after, ast.unparse(tree))
            put(node)


def load_libraries() -> None:
    """Import what the tests need beside the package, once: every mutant runs in a fork of this process."""
    for entry in importlib.metadata.entry_points(group="pytest11"):
        entry.load()
    sys.path.insert(0, str(ROOT))
    for module in ("conftest", *(f"transformer.{target}" for target in TARGETS)):
        importlib.import_module(module)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("conftest", "transformer")]:
        del sys.modules[name]


def run_tests(copy: str, tests: list[str]) -> None:
    """In a process of its own: run the tests of a copied tree and exit with pytest's code."""
    os.chdir(copy)
    sys.path.insert(0, copy)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", *(f"tests/{test}" for test in tests)]
        )
    is_copy = Path(importlib.import_module("transformer").__file__).is_relative_to(copy)
    sys.exit(code if is_copy else "the tests did not run on the copy")


def passes(mutant: Mutant | None, tests: list[str]) -> bool:
    """Whether the tests pass on a copy of the tree with the mutant in it; one that never ends does not."""
    with tempfile.TemporaryDirectory() as copy:
        for folder in ("transformer", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "gates")
            shutil.copytree(ROOT / folder, Path(copy, folder), ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            Path(copy, "transformer", f"{mutant.module}.py").write_text(mutant.source, encoding="utf-8")
        process = multiprocessing.get_context("fork").Process(target=run_tests, args=(copy, tests))
        process.start()
        process.join(TIME_LIMIT)
        if process.is_alive():
            process.kill()
            process.join()
    if process.exitcode not in (0, 1, 2, -signal.SIGKILL):  # passed, failed, not importable, not ending
        raise RuntimeError(f"pytest exited with {process.exitcode} for {mutant}")
    return process.exitcode == 0


def main() -> None:
    """Run the mutants asked for and list the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="modules; none: all of them")
    parser.add_argument("--sample", type=int, help="try so many mutants of each module only, drawn at random")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    load_libraries()
    for module in arguments.targets or TARGETS:
        functions, tests = TARGETS[module]
        if not passes(None, tests):
            sys.exit(f"the tests of {module} fail as they are; mend that first")
        tried = list(mutants(module, functions))
        if arguments.sample is not None and arguments.sample < len(tried):
            tried = random.Random(0).sample(tried, arguments.sample)
        with ThreadPoolExecutor(arguments.processes) as pool:
            verdicts = pool.map(lambda mutant, tests=tests: passes(mutant, tests), tried)
            survivors = [mutant for mutant, survived in zip(tried, verdicts, strict=True) if survived]
        for mutant in survivors:
            print(f"  survived  {mutant}")
        print(
            f"{module}: {len(tried)} mutants, {len(tried) - len(survivors)} killed, {len(survivors)} survived",
            flush=True,
        )


if __name__ == "__main__":
    main()
