"""A chapter runs in Colab: an environment with what Colab ships, without this repository, and a wheel made of it.

The environment is made of hard links to the packages of the project's own, so that torch is neither downloaded nor
copied, and whatever pip does to the links leaves the originals alone. The rest comes from the package index.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from packaging.requirements import Requirement

from tools import repository

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SHIPS = Path(__file__).with_name("colab_ships.txt")
CHAPTER = ROOT / "book" / "07_encoder_decoder.ipynb"  # one that costs little
UNTOUCHED = ("torch", "numpy")


def required(names: list[str]) -> dict[str, Distribution]:
    """The named packages and all that they require, as they are installed here."""
    found: dict[str, Distribution] = {}
    queue = [(Requirement(name), "") for name in names]
    while queue:
        need, extra = queue.pop()
        if need.marker and not need.marker.evaluate({"extra": extra}):
            continue
        try:
            package = distribution(need.name)
        except PackageNotFoundError:
            continue  # such as a library for GPUs, which this build of torch goes without
        if package.name not in found or need.extras:
            found[package.name] = package
            for extra in ["", *need.extras]:
                queue += [(Requirement(line), extra) for line in package.requires or []]
    return found


def link(package: Distribution, site: Path) -> None:
    """Put a package into `site` by hard links."""
    base = Path(str(package.locate_file(""))).resolve()
    for file in package.files or []:
        source = base / file
        if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                try:
                    os.link(source, target)
                except OSError:  # another file system
                    shutil.copy2(source, target)


@pytest.fixture(scope="module")
def colab() -> Iterator[Path]:
    """The Python of an environment that looks like Colab's."""
    home = Path(sys.prefix) / "colab"  # in the project's environment: links do not reach into another file system
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    ships = [line for line in SHIPS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    packages = required(ships)
    assert not {"executable-transformer", "sacrebleu", "tyro"} & set(packages)
    for package in packages.values():
        link(package, site)
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").write_text('"""Stands in for the package that only Colab has."""\n')
    yield python
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy of the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "transformer", folder / "source" / "transformer")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True)
    return next(folder.glob("*.whl"))


def execute(notebook: NotebookNode, python: Path, folder: Path, **settings: str) -> NotebookNode:
    """Run a notebook as `python` in `folder`, as if the repository were on another machine."""
    spec = folder / "kernels" / "colab"
    spec.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    manager = AsyncKernelManager(kernel_name="colab")
    manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    client = NotebookClient(notebook, km=manager, timeout=None, resources={"metadata": {"path": str(folder)}})
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    client.execute(env={**inherited, **settings})
    return notebook


def printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


QUESTIONS = """
import json, sys
from importlib.metadata import version
import numpy, sacrebleu, torch, transformer, tyro
from transformer.tutor import verify
found = {"package": transformer.__file__, "path": sys.path, "torch": torch.__version__, "numpy": numpy.__version__}
print(json.dumps(found))
"""


def test_set_up_cell_installs_what_colab_lacks(colab: Path, wheel: Path, tmp_path: Path):
    probe = "import importlib.util as u; print([u.find_spec(n) for n in ('transformer', 'sacrebleu', 'tyro')])"
    before = subprocess.check_output([colab, "-I", "-c", probe], text=True, cwd=tmp_path)
    assert before.strip() == "[None, None, None]"
    site = colab.parents[1]
    records = {file: file.stat().st_mtime_ns for name in UNTOUCHED for file in site.rglob(f"{name}-*.dist-info/RECORD")}
    assert len(records) == len(UNTOUCHED)

    set_up, questions = nbformat.v4.new_code_cell(), nbformat.v4.new_code_cell(QUESTIONS)
    set_up.source = repository.set_up_source(repository.full_name(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[set_up, questions])
    execute(notebook, colab, tmp_path, TRANSFORMER_PACKAGE=str(wheel))

    answers = json.loads(printed(notebook.cells[1]))
    assert Path(answers["package"]).is_relative_to(site)
    assert str(ROOT) not in answers["path"]
    assert {file: file.stat().st_mtime_ns for file in records} == records, "pip touched torch or numpy"
    assert {name: answers[name].split("+")[0] for name in UNTOUCHED} == {
        name: distribution(name).version.split("+")[0] for name in UNTOUCHED
    }


def test_all_that_the_chapters_import_is_there(colab: Path, wheel: Path, tmp_path: Path):
    lines = {repository.set_up_source(repository.full_name(ROOT)): None}  # a dictionary keeps the order
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        nodes = [node for source in code for node in ast.walk(ast.parse(source))]
        lines |= {ast.unparse(node): None for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line) for line in lines])
    execute(notebook, colab, tmp_path, TRANSFORMER_PACKAGE=str(wheel))


def test_chapter_runs(colab: Path, wheel: Path, tmp_path: Path):
    notebook = nbformat.read(CHAPTER, as_version=4)
    assert repository.set_up_cell(notebook) is not None, "no set-up cell: run `python -m tools.repository`"
    execute(notebook, colab, tmp_path, TRANSFORMER_PACKAGE=str(wheel))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source.strip())
