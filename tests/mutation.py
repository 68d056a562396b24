"""Break the package on purpose, one small change at a time, and see whether the tests notice.

    python tests/mutation.py                        every target; takes hours
    python tests/mutation.py decoding --sample 40

A mutant is the package with one thing changed, by the engine that varies the answers of exercises
(`transformer/tutor/exercises/variation.py`): an operator, a comparison, a number, a call, the order of two steps. It
lives in a copy of the tree, where the quick tests of its module run. A mutant that passes them all is a survivor:
either it computes the same, or a test is missing. Texts of errors, annotations and decorators stay as they are. Needs
a system with fork (Linux, macOS).
"""

import argparse
import ast
import importlib
import multiprocessing
import os
import random
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

from transformer.tutor.exercises.variation import changes, parameters

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
TIME_LIMIT = 90  # seconds of computing, several times what the tests take; a mutant may never end
SURVIVED, KILLED, STRAY = 0, 1, 9  # stray: the tests ran on another copy of the package


@dataclass(frozen=True)
class Mutant:
    """The source text of a module with one thing changed, and where."""

    module: str
    change: str
    source: str


def path_of(root: Path, module: str) -> Path:
    """Where a module of the package lies in a copy of the tree."""
    return root / "transformer" / f"{module.replace('.', '/')}.py"


def mutants(module: str, functions: list[str]) -> Iterator[Mutant]:
    """All mutants of a module, or of some of its functions."""
    tree = ast.parse(path_of(ROOT, module).read_text(encoding="utf-8"))
    homes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for scope in [node for home in homes for node in home.body if isinstance(node, ast.FunctionDef)]:
        if not functions or scope.name in functions:
            for _, line, change, _ in changes(scope, parameters(scope)):
                yield Mutant(module, f"{module}.py:{line}: {change}", ast.unparse(ast.fix_missing_locations(tree)))


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
    import resource  # not on Windows, where this module is still imported by a test

    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    os.chdir(copy)
    sys.path.insert(0, copy)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "-m", "not slow and not gates"]
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
