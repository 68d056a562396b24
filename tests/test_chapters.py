"""Chapters are executed once, side by side, and kept while they hold; their cells can be run again."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tools import chapters, clock

ROOT = Path(__file__).parents[1]


class Executor:
    """Stands in for nbmake: numbers the cells, writes an output into the first and counts its calls."""

    def __init__(self) -> None:
        self.calls, self.works, self.names = 0, True, list[str]()
        self.dies = 0  # calls in which no kernel starts

    def __call__(self, paths: Sequence[Path]) -> bool:
        self.calls += 1
        if self.calls <= self.dies:
            return False
        self.names += [path.name for path in paths]
        for path in paths:
            notebook = nbformat.read(path, as_version=4)
            code = chapters.code_cells(notebook)
            for number, cell in enumerate(code, 1):
                cell.execution_count = number
            code[0].outputs = [nbformat.v4.new_output("stream", text=f"run {self.calls}")]
            if not self.works:
                code[0].outputs.append(nbformat.v4.new_output("error", ename="Fault", evalue="", traceback=[]))
            measured = json.dumps({"cpu_seconds": 1.5, "peak_megabytes": 64.0})
            code[-1].outputs = [*code[-1].outputs, nbformat.v4.new_output("stream", text=measured)][-1:]
            nbformat.write(notebook, path)
        return self.works


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """A book of one notebook, with a package of one file; returns the notebook's path."""
    for folder in ("book", "transformer"):
        (tmp_path / folder).mkdir()
    (tmp_path / "transformer" / "layers.py").write_text("WIDTH = 1\n")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    cells = [nbformat.v4.new_markdown_cell("Some prose."), nbformat.v4.new_code_cell("print('run')")]
    source = tmp_path / "book" / "chapter.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    return source


def chapter(source: Path, executor: Executor, **options: bool) -> NotebookNode | None:
    return chapters.executed(source.parents[1], [source], run=executor, **options)[source]


def build(source: Path, executor: Executor, **options: bool) -> str | None:
    done = chapter(source, executor, **options)
    return done and done.cells[1].outputs[0].text


def edit(source: Path, cell: int, text: str) -> None:
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[cell].source = text
    nbformat.write(notebook, source)


# What is executed


def test_unchanged_chapter_is_not_executed_again_unless_asked(small_book: Path):
    before, executor = small_book.read_bytes(), Executor()
    assert build(small_book, executor) == build(small_book, executor) == "run 1"
    assert build(small_book, executor, fresh=True) == build(small_book, executor) == "run 2"
    assert small_book.read_bytes() == before


def test_only_what_is_stale_is_executed(small_book: Path):
    other, executor = small_book.with_name("other.ipynb"), Executor()
    shutil.copy(small_book, other)
    both = [small_book, other]
    chapters.executed(small_book.parents[1], both, run=executor)
    edit(other, 1, "print('walk')")
    chapters.executed(small_book.parents[1], both, run=executor)
    assert executor.names == ["chapter.ipynb", "other.ipynb", "other.ipynb"]


def test_prose_is_renewed_without_execution(small_book: Path):
    executor = Executor()
    build(small_book, executor)
    edit(small_book, 0, "Better prose.")
    done = chapter(small_book, executor)
    assert done is not None and executor.calls == 1
    assert done.cells[0].source == "Better prose." and done.cells[1].outputs[0].text == "run 1"


@pytest.mark.parametrize("changed", ["code", "package", "new weights", "pins", "setting"])
def test_what_a_chapter_depends_on_makes_it_run_again(small_book: Path, changed: str, monkeypatch: pytest.MonkeyPatch):
    root, executor = small_book.parents[1], Executor()
    build(small_book, executor)
    match changed:
        case "code":
            edit(small_book, 1, "print('walk')")
        case "package":
            (root / "transformer" / "layers.py").write_text("WIDTH = 2\n")
        case "new weights":
            (root / "transformer" / "model.safetensors").write_bytes(b"\0")
        case "pins":
            (root / "requirements.txt").write_text("torch==2.12.0\n")
        case "setting":
            monkeypatch.setenv("TRANSFORMER_DATA", "elsewhere")
    assert build(small_book, executor) == "run 2"


def test_folder_of_data_is_one_whatever_way_leads_there(
    small_book: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    executor, way = Executor(), tmp_path / "way"
    way.symlink_to(tmp_path, target_is_directory=True)
    for data in (tmp_path, way):
        monkeypatch.setenv("TRANSFORMER_DATA", str(data))
        assert build(small_book, executor) == "run 1"


@pytest.mark.parametrize("fault", ["cell not run", "error", "other code", "not a notebook", "no stamp"])
def test_kept_chapter_that_is_not_whole_does_not_hold(small_book: Path, fault: str):
    executor = Executor()
    build(small_book, executor)
    path = chapters.kept(small_book.parents[1], small_book)
    kept = nbformat.read(path, as_version=4)
    match fault:
        case "cell not run":
            kept.cells[1].execution_count = None
        case "error":
            kept.cells[1].outputs = [nbformat.v4.new_output("error", ename="Fault", evalue="", traceback=[])]
        case "other code":
            kept.cells[1].source = "print('walk')"
        case "no stamp":
            del kept.metadata[chapters.STAMP]
    nbformat.write(kept, path)
    if fault == "not a notebook":
        path.write_text("{")
    assert build(small_book, executor) == "run 2"


def test_progress_of_whoever_builds_does_not_count(small_book: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    executor = Executor()
    build(small_book, executor)
    monkeypatch.setenv("TRANSFORMER_PROGRESS", str(tmp_path / "mine"))
    assert build(small_book, executor) == "run 1"


def test_failed_chapter_leaves_nothing_that_looks_executed(small_book: Path):
    executor = Executor()
    build(small_book, executor)
    edit(small_book, 1, "1 / 0")
    executor.works = False
    assert build(small_book, executor) is None
    assert not list((small_book.parents[1] / "_build").rglob("*.ipynb"))
    executor.works = True
    assert build(small_book, executor) == "run 3"


@pytest.mark.parametrize(("dies", "calls"), [(1, 2), (2, 2)])
def test_chapter_whose_kernel_did_not_start_is_begun_once_more(small_book: Path, dies: int, calls: int):
    executor = Executor()
    executor.dies = dies
    assert build(small_book, executor) == ("run 2" if dies == 1 else None)
    assert executor.calls == calls


@pytest.mark.parametrize(("processors", "memory", "expected"), [(8, 64e9, 8), (8, 5e9, 2), (2, 0, 1)])
def test_chapters_run_side_by_side_as_far_as_memory_goes(
    processors: int, memory: float, expected: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chapters.os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(chapters.psutil, "virtual_memory", lambda: type("Memory", (), {"available": memory}))
    assert chapters.side_by_side() == expected


# What nbmake makes of it. The notebooks are executed together, for starting it takes longer than they do.

BAR = r"import os, sys; n = sys.stderr.write('\r 50%'); sys.stderr.flush(); n = sys.stderr.write('\r100%\n')"
SETTINGS = "print(os.environ['TRANSFORMER_PROGRESS'], os.environ['OMP_NUM_THREADS'])"
# What becomes of cells that are run again after the last one. The loop takes far more than the time it gets.
AGAIN = {  # the cells, and which of them fail how
    "sound": (["n = 3", "[0] * n", ""], []),
    "a name that comes to mean something else": (
        ["def f(x, y): return x", "f(1, 2)", "def f(x): return x"],
        ["cell 2, run again on its own: TypeError"],
    ),
    "a variable of another kind": (["n = 3", "[0] * n", "n = '3'"], ["cell 2, run again on its own: TypeError"]),
    "a list that is emptied": (
        ["a = globals().get('a', [1])", "b = a[0]", "a.clear()"],
        ["cell 2, run again on its own: IndexError", "cell 2, run again in order: IndexError"],
    ),
    "a long cell, after which claims are not judged": (
        ["i = 0\nwhile 'end' in globals(): i += 1", "assert i == 0 and 'end' not in globals()", "end = 1"],
        [],
    ),
    "a cell that fails in the middle after a long one": (
        [
            "i = 0\nwhile 'end' in globals(): i += 1",
            "a = {}\nassert 'end' not in globals()\na[0] = 1",
            "a[0]",
            "end = 1",
        ],
        [],
    ),
    "a long cell that changes how PyTorch saves tensors": (
        [
            "import torch\nfrom torch.autograd.graph import saved_tensors_hooks as hooks",
            *[  # stopped at any moment, each of them fails one time in three
                "while 'end' in globals():\n    with hooks(lambda _: 1, lambda _: None): torch.ones(2).square_()",
                "torch.ones(2, requires_grad=True).square().sum().backward()",
            ]
            * 6,
            "end = 1",
        ],
        [],
    ),
    "an exception that a cell catches": (["try:\n    1 / 0\nexcept Exception:\n    pass"], []),
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookNode]:
    """What nbmake makes of all these notebooks, each with the cell that closes a chapter."""
    folder = tmp_path_factory.mktemp("nbmake") / "book"
    folder.mkdir()
    every = {"outputs": [BAR, SETTINGS, ""], **{name: cells for name, (cells, _) in AGAIN.items()}}
    notebooks = {
        f"{name}.ipynb": chapters.with_closing(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        )
        for name, cells in every.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_PROGRESS", str(folder / "mine"))
        return chapters.execute(folder, notebooks)


@pytest.mark.slow
def test_execution_leaves_outputs_and_measurements_and_no_progress(executed: dict[str, NotebookNode]):
    assert chapters.finished(executed["outputs.ipynb"])
    done = chapters.without_closing(executed["outputs.ipynb"])
    assert [output.text for output in done.cells[0].outputs] == ["100%\n"]
    progress, threads = done.cells[1].outputs[0].text.split()
    assert Path(progress).name == "solved" and threads == "1"
    assert len(done.cells) == 3 and done.metadata[chapters.STAMP]["peak_megabytes"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", AGAIN)
def test_cells_are_run_again(executed: dict[str, NotebookNode], name: str):
    errors = [output for output in executed[f"{name}.ipynb"].cells[-1].outputs if output.output_type == "error"]
    found = [line for error in errors for line in error.evalue.splitlines() if line.startswith("cell ")]
    assert [line.rpartition(":")[0] for line in found] == AGAIN[name][1]


# Where the time goes


def test_report_shows_phases_and_the_slowest_items(tmp_path: Path):
    lines = [
        {"began": 1000},
        {"phase": "test", "wall": 60},
        {"item": "a", "wall": 2.0, "processor": 1.0},
        {"item": "b", "wall": 4.0, "processor": 3.0},
    ]
    path = tmp_path / "times.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = [line.split() for line in clock.report(path, now=1100).splitlines()]
    assert rows[1:4] == [["60", "test"], ["40", "gates"], ["100", "all", "of", "it"]]
    assert rows[-2:] == [["3.0", "4.0", "b"], ["1.0", "2.0", "a"]]
