"""The book opens elsewhere: in Colab and Binder, from whatever repository it lives in."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from tools import repository

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
COPIED = (*repository.BEARERS, "book")
OF_COLAB = {"torch", "filelock", "numpy", "ipython"}  # what the set-up cell leaves as Colab has it


def identity(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that may hold the repository's address."""
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    return tmp_path


# One address


def test_repository_address_stands_in_one_place():
    """Elsewhere only where `tools/repository.py` keeps it in step."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: its files cannot be told from what was built")
    files = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    address = repository.full_name(ROOT).encode()
    holders = {identity(file) for file in files if file.is_file() and address in file.read_bytes()}
    assert repository.CONFIG in holders
    assert holders <= {*repository.BEARERS, *map(identity, NOTEBOOKS)}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_set_up_cell_is_this_repository_s(notebook: Path):
    content = nbformat.read(notebook, as_version=4)
    cell = repository.set_up_cell(content)
    assert cell is not None, "no set-up cell: run `python -m tools.repository`"
    assert cell.source == repository.set_up_source(repository.full_name(ROOT)), "run `python -m tools.repository`"
    assert cell.metadata == repository.METADATA
    assert cell.id == next(other.id for other in content.cells if other.cell_type == "code"), "must be the first to run"


def test_readme_leads_nowhere_until_the_book_is_published(copy: Path):
    services = r"(?:colab\.research\.google\.com/github|mybinder\.org/v2/gh)/([\w.-]+/[\w.-]+)/\S*?(book/\w+\.ipynb)"
    readme = copy / "README.md"
    repository.move(copy, f"{repository.NOBODY}the.book")
    assert not re.search(rf"{services}|OWNER|owner\.github", readme.read_text(encoding="utf-8"))
    repository.move(copy, "Reader/the.fork")
    [colab, binder] = re.findall(services, readme.read_text(encoding="utf-8"))
    assert colab == binder and colab[0] == "Reader/the.fork" and (copy / colab[1]).exists()


def test_readme_shows_rows_of_its_own_measurements():
    short, _, everything = (ROOT / "README.md").read_text(encoding="utf-8").partition("<details>")
    rows = [line for line in short.splitlines() if line.startswith("|")]
    assert len(rows) > 2
    assert [row for row in rows if row not in everything] == [], "copy these rows from the table that bench has written"


def test_files_that_the_readme_links_to_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(linked) > 5 and [name for name in linked if not (ROOT / name).exists()] == []


def test_one_command_moves_everything(copy: Path):
    old, new = repository.full_name(copy), "Reader/the.fork"
    repository.move(copy, new)
    assert repository.full_name(copy) == new
    texts = [file for file in copy.rglob("*") if file.suffix in {".yml", ".md", ".cff", ".ipynb"}]
    assert [file.name for file in texts if old in file.read_text(encoding="utf-8")] == []
    assert "https://reader.github.io/the.fork/" in (copy / "README.md").read_text(encoding="utf-8")
    for notebook in (copy / "book").glob("*.ipynb"):
        cell = repository.set_up_cell(nbformat.read(notebook, as_version=4))
        assert cell is not None and f"https://github.com/{new}" in cell.source
    repository.move(copy, old)
    for name in repository.BEARERS:
        assert (copy / name).read_bytes() == (ROOT / name).read_bytes()


def test_set_up_cell_is_put_before_the_first_code_and_only_once(copy: Path):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("print('first')")]
    )
    path = copy / "book" / "new.ipynb"
    nbformat.write(notebook, path)
    repository.renew(copy)
    once = path.read_bytes()
    assert [cell.get("id") == "set-up" for cell in nbformat.read(path, as_version=4).cells] == [False, True, False]
    repository.renew(copy)
    assert path.read_bytes() == once


@pytest.mark.parametrize("name", ["reader", "https://github.com/reader/fork", "reader/fork/x", ""])
def test_what_is_no_full_name_is_refused(copy: Path, name: str):
    with pytest.raises(ValueError, match="owner/name"):
        repository.move(copy, name)


# What the services install


def test_set_up_cell_knows_all_needs_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = {re.match(r"[\w-]+", need)[0] for need in project["dependencies"]}
    constants = [node for node in ast.parse(repository.set_up_source("a/b")).body if isinstance(node, ast.Assign)]
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in constants}
    assert set(values["NEEDS"].split()) == needs - OF_COLAB
    assert values["REPOSITORY"] == "https://github.com/a/b"


def test_set_up_cell_does_nothing_outside_colab(tmp_path: Path):
    notes = tmp_path / "calls.json"
    watch = "import json, pathlib, subprocess\n"
    watch += f"subprocess.run = lambda given, **_: pathlib.Path({str(notes)!r}).write_text(json.dumps(given))\n"
    code = watch + repository.set_up_source("a/b")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert not notes.exists()
    (tmp_path / "google" / "colab").mkdir(parents=True)  # and inside, it does something
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert "--no-deps" in json.loads(notes.read_text())


def test_binder_installs_this_package_on_a_python_that_it_supports():
    folder = ROOT / ".binder"
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    constraints = [line.removeprefix("--constraint ") for line in lines if line.startswith("--constraint ")]
    assert [(folder / name).resolve() for name in constraints] == [ROOT / "requirements.txt"]
    assert "." in lines
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    minor = int((folder / "runtime.txt").read_text().strip().removeprefix("python-3."))
    assert minor in range(int(project["requires-python"].removeprefix(">=3.")), 14)


def test_pages_offer_both_services():
    buttons = yaml.safe_load((ROOT / repository.CONFIG).read_text(encoding="utf-8"))["launch_buttons"]
    assert buttons["colab_url"] == "https://colab.research.google.com"
    assert buttons["binderhub_url"] == "https://mybinder.org"
