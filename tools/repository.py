"""Where the repository lives: one address, in `_config.yml`, and everything that repeats it.

    python -m tools.repository               # put the set-up cell of this repository into every notebook
    python -m tools.repository owner/name    # move: let everything lead to github.com/owner/name

`tools/set_up_cell.py` is the cell's text. The build does the same to its copy of the sources, so that the pages of a
fork lead to the fork.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import tyro
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "_config.yml"
BEARERS = (CONFIG, "README.md", "CITATION.cff")  # what may hold the address, besides the notebooks
FULL_NAME = re.compile(r"[\w-]+/[\w.-]+")
GITHUB = "https://github.com/"
REMOTE = re.compile(r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:]([\w-]+/[\w.-]+?)(?:\.git)?/?")
TEMPLATE = Path(__file__).with_name("set_up_cell.py")
PLACEHOLDER = "OWNER/NAME"
NOBODY = "OWNER/"
"""how the full name begins while nobody has published the repository"""
BADGES = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{name}/blob/main/{chapter})
[![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/{chapter})

**[Read the book]({site})**"""
NO_BADGES = "<!-- Badges, and where to read the book: `python -m tools.repository owner/name` puts them here. -->"
CELL_ID = "set-up"
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # in Colab and in JupyterLab
METADATA = {**FOLDED, "tags": ["remove-cell"]}  # and left out of the pages


def full_name(root: Path) -> str:
    """The repository's full name, "owner/name", as `_config.yml` has it."""
    url: str = yaml.safe_load((root / CONFIG).read_text(encoding="utf-8"))["repository"]["url"]
    name = url.removeprefix(GITHUB)
    if not url.startswith(GITHUB) or not FULL_NAME.fullmatch(name):
        raise ValueError(f"{CONFIG}: repository.url is {url!r}, expected {GITHUB}owner/name")
    return name


def public_name(root: Path) -> str | None:
    """The full name under which GitHub has this repository; None where it is on no public host.

    That of the running workflow ($GITHUB_REPOSITORY), of the clone's remote "origin", or what `_config.yml` has.
    """
    if running := os.environ.get("GITHUB_REPOSITORY"):
        return running
    remote = REMOTE.fullmatch(origin(root))
    name = remote[1] if remote else full_name(root)
    return None if name.startswith(NOBODY) else name


def origin(root: Path) -> str:
    """The address that the clone in `root` came from; empty where git does not know or is not there."""
    if shutil.which("git") is None or not (root / ".git").exists():
        return ""
    asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=root, capture_output=True, text=True)
    return asked.stdout.strip()


def set_up_source(name: str) -> str:
    """The text of the set-up cell for the repository `name`."""
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACEHOLDER, name).rstrip("\n")


def set_up_cell(notebook: NotebookNode) -> NotebookNode | None:
    """A notebook's set-up cell, if it has one."""
    return next((cell for cell in notebook.cells if cell.get("id") == CELL_ID), None)


def put_set_up_cell(notebook: NotebookNode, name: str) -> None:
    """Give a notebook the set-up cell: where it was, or else before the first code."""
    cell = set_up_cell(notebook)
    if cell is None:
        cell = nbformat.v4.new_code_cell(id=CELL_ID)
        code = [number for number, other in enumerate(notebook.cells) if other.cell_type == "code"]
        notebook.cells.insert(code[0] if code else len(notebook.cells), cell)
    cell.source, cell.metadata = set_up_source(name), nbformat.from_dict(METADATA)


def site(name: str) -> str:
    """The address of the GitHub Pages site of the repository `name`."""
    owner, _, repository = name.partition("/")
    return f"https://{owner.lower()}.github.io/{repository}/"


def badges(name: str) -> str:
    """What the README leads to elsewhere: nothing while nobody has published the repository."""
    chapter = "book/00_one_sitting.ipynb"
    return NO_BADGES if name.startswith(NOBODY) else BADGES.format(name=name, chapter=chapter, site=site(name))


def renew(root: Path) -> None:
    """Put the set-up cell into every notebook under `book/` that has another one or none."""
    for path in sorted((root / "book").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        before = nbformat.writes(notebook)
        put_set_up_cell(notebook, full_name(root))
        if nbformat.writes(notebook) != before:
            nbformat.write(notebook, path)


def move(root: Path, name: str) -> None:
    """Let everything that leads to the repository lead to `name` ("owner/name")."""
    if not FULL_NAME.fullmatch(name):
        raise ValueError(f"got {name!r}, expected a repository's full name: owner/name")
    old = full_name(root)
    for bearer in (root / bearer for bearer in BEARERS):
        if bearer.exists():
            text = bearer.read_text(encoding="utf-8")
            bearer.write_text(text.replace(badges(old), badges(name)).replace(old, name), encoding="utf-8")
    renew(root)


def main(name: tyro.conf.Positional[str | None] = None) -> int:
    """Let everything lead to the repository's address, owner/name; without one, renew the set-up cells."""
    try:
        move(ROOT, name or full_name(ROOT))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Everything leads to {GITHUB}{full_name(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
