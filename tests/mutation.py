"""Break the package on purpose, one small change at a time, and see whether the tests notice.

    python tests/mutation.py                        every target; takes an hour
    python tests/mutation.py decoding --sample 40

A mutant is the package with one operator, comparison, constant or condition changed, or one call or negation taken
out. It lives in a copy of the tree, where the quick tests of its module run. A mutant that passes them all is a
survivor: either it computes the same, or a test is missing. Texts of errors, annotations and decorators stay as they
are. Needs a system with fork (Linux, macOS).
"""

import argparse
import ast
import importlib
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS: dict[str, tuple[list[str], list[str]]] = {  # module: the functions to mutate (none: all), the tests to run
    "attention": ([], ["test_attention.py", "test_model.py"]),
    "text.batches": ([], ["test_data.py"]),
    "decoding": ([], ["test_decoding.py"]),
    "layers": ([], ["test_layers.py", "test_model.py"]),
    "loss": ([], ["test_loss.py"]),
    "training": (
        ["noam", "learning_rate", "summed_loss", "training_step", "batches_of_updates"],
        ["test_training.py"],
    ),
}
SWAPS = [
    *[(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.Pow, ast.Mult), (ast.FloorDiv, ast.Mod), (ast.BitAnd, ast.BitOr)],
    (ast.MatMult, ast.Mult),
    *[(ast.And, ast.Or), (ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.Eq, ast.NotEq)],
    *[(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Lt, ast.GtE), (ast.Gt, ast.LtE)],
]
MODULES = {"F", "math", "nn", "random", "torch", "warnings"}  # torch.cat(x) without its call is x, x.cat() too
TIME_LIMIT = 90  # seconds of computing, several times what the tests take; a mutant may never end
SURVIVED, KILLED, STRAY = 0, 1, 9  # stray: the tests ran on another copy of the package


@dataclass(frozen=True)
class Mutant:
    """The source text of a module with one thing changed, and where."""

    module: str
    change: str
    source: str


def swapped(operator: ast.AST) -> Iterator[ast.AST]:
    """The operators that could stand in the place of one."""
    for a, b in SWAPS:
        if isinstance(operator, a | b):
            yield b() if isinstance(operator, a) else a()


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in the place of a node."""
    match node:
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp():
            yield from (type(node)(**{**vars(node), "op": operator}) for operator in swapped(node.op))
        case ast.Compare(ops=operators):
            for i, operator in enumerate(operators):
                for other in swapped(operator):
                    yield ast.Compare(node.left, [*operators[:i], other, *operators[i + 1 :]], node.comparators)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Attribute(value=value, attr="mT"):
            yield value
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
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for i, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                if not isinstance(node, ast.Expr):  # a call that is a statement goes with its statement
                    yield node, field, i, child
                yield from places(child)


def changes(tree: ast.AST, scopes: list[ast.AST]) -> Iterator[tuple[int, str, str]]:
    """Every change in some parts of a syntax tree: the line, what was changed, and the whole source after it."""
    for parent, field, i, node in [place for scope in scopes for place in places(scope)]:
        original = getattr(parent, field)
        for changed in alternatives(node):
            several = isinstance(original, list)
            setattr(parent, field, [*original[:i], changed, *original[i + 1 :]] if several else changed)
            before, after = (ast.unparse(version).splitlines()[0] for version in (node, changed))
            yield node.lineno, f"{before}  →  {after}", ast.unparse(tree)
        setattr(parent, field, original)


def path_of(root: Path, module: str) -> Path:
    """Where a module of the package lies in a copy of the tree."""
    return root / "transformer" / f"{module.replace('.', '/')}.py"


def mutants(module: str, functions: list[str]) -> Iterator[Mutant]:
    """All mutants of a module, or of some of its functions."""
    tree = ast.parse(path_of(ROOT, module).read_text(encoding="utf-8"))
    scopes = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in functions] if functions else [tree]
    for line, change, source in changes(tree, scopes):
        yield Mutant(module, f"{module}.py:{line}: {change}", source)


def load_libraries() -> None:
    """Import what the tests need beside the package, once: every mutant runs in a fork of this process."""
    for entry in entry_points(group="pytest11"):
        entry.load()
    sys.path.insert(0, str(ROOT))
    for module in ("conftest", *(f"transformer.{target}" for target in TARGETS)):
        importlib.import_module(module)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("conftest", "transformer")]:
        del sys.modules[name]


def run_tests(copy: str, tests: list[str]) -> None:
    """In a process of its own: run the tests of a copied tree and exit with what came of it."""
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    os.chdir(copy)
    sys.path.insert(0, copy)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain"]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = pytest.main([*options, *(f"tests/{test}" for test in tests)])
    package = sys.modules.get("transformer")
    is_stray = package is not None and not Path(package.__file__).is_relative_to(copy)
    sys.exit(STRAY if is_stray else SURVIVED if code == pytest.ExitCode.OK else KILLED)


def survives(mutant: Mutant | None, tests: list[str]) -> bool:
    """Whether the tests pass on a copy of the tree with the mutant in it."""
    with tempfile.TemporaryDirectory() as copy:
        for folder in ("transformer", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "gates")
            shutil.copytree(ROOT / folder, Path(copy, folder), ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            path_of(Path(copy), mutant.module).write_text(mutant.source, encoding="utf-8")
        process = multiprocessing.get_context("fork").Process(target=run_tests, args=(copy, tests))
        process.start()
        process.join()
    if process.exitcode == STRAY:
        raise RuntimeError("the tests ran on another copy of the package than the one with the mutant in it")
    return process.exitcode == SURVIVED


def main() -> None:
    """Run the mutants asked for, list the survivors and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"modules, of {', '.join(TARGETS)}; none: all of them")
    parser.add_argument("--sample", type=int, help="try so many mutants of each module only, drawn at random")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(unknown)}, expected {', '.join(TARGETS)}")
    load_libraries()
    for module in arguments.targets or TARGETS:
        functions, tests = TARGETS[module]
        if not survives(None, tests):
            sys.exit(f"{', '.join(tests)} fail on the package as it is; mend that first")
        tried = list(mutants(module, functions))
        if arguments.sample is not None:
            tried = random.Random(0).sample(tried, min(arguments.sample, len(tried)))
        n_survivors = 0
        with ThreadPoolExecutor(max_workers=2) as pool:
            for mutant, survived in zip(tried, pool.map(lambda m, t=tests: survives(m, t), tried), strict=True):
                if survived:
                    n_survivors += 1
                    print(f"survived: {mutant.change}", flush=True)
        print(f"{module}: {len(tried)} mutants, {len(tried) - n_survivors} killed, {n_survivors} survived", flush=True)


if __name__ == "__main__":
    main()
