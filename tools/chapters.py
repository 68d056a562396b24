"""The chapters with their outputs: each is executed once, and kept while what it depends on stays the same.

    python -m tools.chapters                          # execute what no longer holds
    python -m tools.chapters --fresh                  # execute every chapter
    python -m tools.chapters book/04_masking.ipynb    # these only

The notebooks in `book/` hold no outputs, and stay so: nbmake executes copies, as many side by side as there are
processors and memory for, and what holds is kept in `_build/executed/`. Whoever needs an executed notebook, the tests,
the pages, or a chapter tried with other seeds, takes it from here.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import nbformat
import psutil
import tyro
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_FILES = (".py", ".toml", ".json", ".safetensors")
CELL_SECONDS = 1200  # generous: a cell may train a model, and the machine may be slow
MEMORY = 2e9  # bytes that a chapter may take, with room to spare
STAMP = "executed"  # key in the metadata of a kept notebook
CLOSING = "__import__('tools.again').again.close({sources!r})"  # an import would take a name that the chapter may use
"""the cell that is put behind a chapter's last one while it is executed"""

Notebooks = Mapping[Path, NotebookNode]
Runner = Callable[[Sequence[Path]], bool]


def sources(root: Path = ROOT) -> list[Path]:
    """The chapters' notebooks, in the book's order."""
    return sorted((root / "book").glob("*.ipynb"))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def fingerprint(root: Path, notebook: NotebookNode) -> str:
    """A hash of what a chapter's outputs depend on: code, package, pins and settings, but not its prose."""
    package = sorted(path for path in (root / "transformer").rglob("*") if path.suffix in PACKAGE_FILES)
    settings = {name: value for name, value in os.environ.items() if name.startswith("TRANSFORMER_")}
    settings.pop("TRANSFORMER_PROGRESS", None)  # a chapter is executed as by nobody, see `nbmake`
    if data := settings.get("TRANSFORMER_DATA"):
        settings["TRANSFORMER_DATA"] = str(Path(data).resolve())  # one folder, whatever way leads there
    parts = {
        "code": [(cell.source, cell.metadata.get("tags", [])) for cell in code_cells(notebook)],
        "files": [
            (path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in [*package, root / "requirements.txt"]
        ],
        "settings": sorted(settings.items()),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def begun(notebook: NotebookNode) -> bool:
    """Whether a cell has run, or there is none to run."""
    code = code_cells(notebook)
    return not code or any(cell.execution_count for cell in code)


def finished(notebook: NotebookNode) -> bool:
    """Whether every cell with code in it has run, and none has failed."""
    code = code_cells(notebook)
    ran = all(cell.execution_count for cell in code if cell.source.strip())
    return ran and not any(output.output_type == "error" for cell in code for output in cell.outputs)


# Executing


def side_by_side() -> int:
    """How many chapters run at once: one for each processor, and for each `MEMORY` bytes that are free."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, int(psutil.virtual_memory().available // MEMORY)))


def nbmake(notebooks: Sequence[Path]) -> bool:
    """Execute notebooks of one folder in place, one thread each; shows the cell and the traceback of what fails."""
    folder = notebooks[0].parent
    # One at a time and the longest first, so that no processor waits for the other's last chapters: the chapters that
    # train are at the end of the book.
    workers = ["-n", str(min(side_by_side(), len(notebooks))), "--dist", "load", "--maxschedchunk", "1"]
    options = ["--nbmake", "--overwrite", f"--nbmake-timeout={CELL_SECONDS}", "-p", "tools.clock", *workers]
    quiet = ["-v", "--no-header", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    files = [str(notebook) for notebook in sorted(notebooks, reverse=True)]
    settings = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        # The pages are for a reader who has solved nothing yet, whoever builds them.
        "TRANSFORMER_PROGRESS": str(folder / "solved"),
    }
    command = [sys.executable, "-m", "pytest", *options, *quiet, *files]
    return subprocess.run(command, env={**os.environ, **settings}).returncode == 0


def execute(book: Path, notebooks: Mapping[str, NotebookNode], run: Runner = nbmake) -> dict[str, NotebookNode]:
    """Execute notebooks in a throw-away copy of the folder `book`, and return them by name as they then are.

    A name that the folder has not is as good as one that it has. What failed is not `finished`.
    """
    if not notebooks:
        return {}
    # The copy lies in the system's temporary folder because nbmake ignores notebooks under any `_build`.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = shutil.copytree(book, Path(scratch) / book.name)
        for name, notebook in notebooks.items():
            nbformat.write(notebook, folder / name)
        run([folder / name for name in notebooks])
        done = _read(folder, notebooks)
        # Kernels that start side by side are now and then given one port: the second one dies before its first cell.
        if never_begun := [name for name, notebook in done.items() if not begun(notebook)]:
            run([folder / name for name in never_begun])
            done |= _read(folder, never_begun)
    for notebook in done.values():
        CoalesceStreamsPreprocessor().preprocess(notebook, {})  # leaves a progress bar its last line
    return done


def _read(folder: Path, names: Iterable[str]) -> dict[str, NotebookNode]:
    return {name: nbformat.read(folder / name, as_version=4) for name in names}


def with_closing(notebook: NotebookNode) -> NotebookNode:
    """A copy of the notebook with one more cell, which measures, and runs all the others again (see `again`)."""
    copy = nbformat.from_dict(notebook)
    if os.name != "nt":  # there are no such signals on Windows
        texts = [cell.source for cell in code_cells(notebook)]
        copy.cells.append(nbformat.v4.new_code_cell(CLOSING.format(sources=texts), metadata={"tags": [STAMP]}))
    return copy


def without_closing(notebook: NotebookNode) -> NotebookNode:
    """A finished notebook without that cell, whose measurements go into the metadata."""
    copy = nbformat.from_dict(notebook)
    copy.metadata[STAMP] = {}
    if copy.cells and STAMP in copy.cells[-1].metadata.get("tags", []):
        copy.metadata[STAMP] = json.loads(copy.cells.pop().outputs[0].text)
    return copy


# Keeping


def kept(root: Path, source: Path) -> Path:
    """Where a chapter lies once it is executed."""
    return root / "_build" / "executed" / source.relative_to(root)


def held(root: Path, source: Path, chapter: NotebookNode) -> NotebookNode | None:
    """The executed chapter of an earlier run, or None where there is none that still holds."""
    try:
        done = nbformat.read(kept(root, source), as_version=4)
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError):
        return None
    holds = done.metadata.get(STAMP, {}).get("fingerprint") == fingerprint(root, chapter)
    same_code = [cell.source for cell in code_cells(done)] == [cell.source for cell in code_cells(chapter)]
    return done if holds and same_code and finished(done) else None


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    nbformat.write(notebook, unfinished)
    unfinished.replace(path)


def executed(
    root: Path, paths: Sequence[Path], fresh: bool = False, run: Runner = nbmake
) -> dict[Path, NotebookNode | None]:
    """The chapters with outputs, from an earlier run where they still hold unless `fresh`; None where a cell failed."""
    chapters = {path: nbformat.read(path, as_version=4) for path in paths}
    done = {} if fresh else {path: held(root, path, chapter) for path, chapter in chapters.items()}
    stale = {path: chapter for path, chapter in chapters.items() if done.get(path) is None}
    for path in chapters:
        print(f"{path.relative_to(root)}: {'to be executed' if path in stale else 'unchanged, not executed again'}")
    sys.stdout.flush()
    for path in stale:
        kept(root, path).unlink(missing_ok=True)
    ran = execute(root / "book", {path.name: with_closing(chapter) for path, chapter in stale.items()}, run)
    for path, chapter in stale.items():
        if finished(ran[path.name]):
            done[path] = without_closing(ran[path.name])
            done[path].metadata[STAMP]["fingerprint"] = fingerprint(root, chapter)
            write(done[path], kept(root, path))
    return {path: with_outputs(chapter, done.get(path)) for path, chapter in chapters.items()}


def with_outputs(chapter: NotebookNode, done: NotebookNode | None) -> NotebookNode | None:
    """The chapter as it is now, its prose included, with the outputs of its executed copy."""
    if done is None:
        return None
    chapter.metadata["language_info"] = done.metadata.get("language_info", {})
    chapter.metadata[STAMP] = done.metadata[STAMP]
    for cell, ran in zip(code_cells(chapter), code_cells(done), strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return chapter


def costs(chapters: Mapping[Path, NotebookNode]) -> str:
    """A line for each chapter: its processor time and the most memory that it took."""
    lines = [f"{'chapter':<28}{'CPU seconds':>12}{'peak MB':>9}"]
    for path, chapter in chapters.items():
        measured = chapter.metadata[STAMP]
        if "cpu_seconds" in measured:
            lines.append(f"{path.name:<28}{measured['cpu_seconds']:>12.1f}{measured['peak_megabytes']:>9.0f}")
    return "\n".join(lines)


def main(notebooks: tyro.conf.Positional[tuple[Path, ...]] = (), fresh: bool = False) -> int:
    """Execute the chapters that no longer hold: of these notebooks, or of all; with `fresh`, the others too.

    The exit status is 0 only if every chapter ran.
    """
    paths = [path.resolve() for path in notebooks] or sources()
    if unknown := [str(path) for path in paths if path not in sources()]:
        sys.exit(f"{', '.join(unknown)}: no such chapter, expected book/NN_name.ipynb")
    chapters = executed(ROOT, paths, fresh)
    print(costs({path: chapter for path, chapter in chapters.items() if chapter is not None}))
    failed = [path.name for path, chapter in chapters.items() if chapter is None]
    if failed:
        print(f"A cell failed in {', '.join(failed)} (see above).", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
