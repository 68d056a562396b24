"""Keep the exercises in the chapters' notebooks as `transformer/tutor/exercises` declares them.

    python -m tools.exercises             # write or renew them in every chapter that is written
    python -m tools.exercises --check     # only say what differs; the exit status is 1 if anything does
    python -m tools.exercises book/03_attention.ipynb    # in these notebooks only

An exercise is a cell that begins with `@check` and `def name`, the stub, and the folded solution in the markdown cell
right after it. Both are renewed where they stand, so they may be moved, with any text between exercises and around the
fold. One that is not there yet comes before the cell tagged `after-exercises`, or else at the end. A stub's cell is
called `exercise-3-2`: with this name the pages lead to it in Colab.
"""

import re
import sys
from pathlib import Path

import nbformat
import tyro
from nbformat import NotebookNode

from transformer.tutor.exercises.exercise import Exercise
from transformer.tutor.exercises.learner import exercises, find

BOOK = Path(__file__).resolve().parent.parent / "book"
END = "after-exercises"
STUB = re.compile(r"@check\ndef (\w+)")
FOLD = re.compile(r"<details><summary>Solution</summary>.*?</details>", re.DOTALL)


def chapter_of(path: Path) -> int:
    """The number of the chapter in a notebook's file name: 3 for `03_attention.ipynb`."""
    return int(path.name.partition("_")[0])


def exercise_cells(notebook: NotebookNode) -> list[tuple[int, Exercise]]:
    """Where a notebook has exercises, and which. Raises UnknownExercise for a stub of what is not declared."""
    names = [(i, STUB.match(cell.source)) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    return [(i, find(name[1])) for i, name in names if name]


def fold(exercise: Exercise) -> str:
    """The folded solution."""
    return f"<details><summary>Solution</summary>\n\n```python\n{exercise.solution}\n```\n\n</details>"


def renew(notebook: NotebookNode, chapter: int) -> list[str]:
    """Bring a notebook into step with its chapter's exercises; gives what was not, for example "3.2: the stub"."""
    declared = [one for one in exercises().values() if one.chapter == chapter]
    there = [one for _, one in exercise_cells(notebook)]
    changed = [f"{one.number}: it is there twice" for one in set(there) if there.count(one) > 1]
    for one in declared:
        if one not in there:
            _append(notebook, one)
            changed.append(f"{one.number}: it is not there")
    for i, one in reversed(exercise_cells(notebook)):
        stub, after = notebook.cells[i], i + 1
        if {stub.id, stub.metadata.get("id")} != {_id("exercise", one)}:
            stub.id = stub.metadata["id"] = _id("exercise", one)  # Colab's own, older place is the metadata
            changed.append(f"{one.number}: the name of its cell")
        if stub.source != one.stub:
            stub.source = one.stub
            changed.append(f"{one.number}: the stub")
        following = notebook.cells[after] if after < len(notebook.cells) else None
        if following is None or following.cell_type != "markdown" or not FOLD.search(following.source):
            following = nbformat.v4.new_markdown_cell(fold(one), id=_id("solution", one))
            notebook.cells.insert(after, following)
            changed.append(f"{one.number}: the solution is not there")
        elif fold(one) not in following.source:
            following.source = FOLD.sub(lambda _, one=one: fold(one), following.source, count=1)
            changed.append(f"{one.number}: the solution")
    return sorted(changed)


def _append(notebook: NotebookNode, exercise: Exercise) -> None:
    marked = (i for i, cell in enumerate(notebook.cells) if END in cell.metadata.get("tags", []))
    i = next(marked, len(notebook.cells))
    name = _id("exercise", exercise)
    cells = [
        nbformat.v4.new_code_cell(exercise.stub, id=name, metadata={"id": name}),
        nbformat.v4.new_markdown_cell(fold(exercise), id=_id("solution", exercise)),
    ]
    notebook.cells[i:i] = cells


def _id(kind: str, exercise: Exercise) -> str:
    return f"{kind}-{exercise.number.replace('.', '-')}"


def main(notebooks: tyro.conf.Positional[tuple[Path, ...]] = (), check: bool = False) -> int:
    """Keep the exercises as they are declared, in these notebooks or in all.

    With `check`, nothing is changed, and the exit status is 1 where something differs.
    """
    differing = 0
    for path in notebooks or sorted(BOOK.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        changed = renew(notebook, chapter_of(path))
        differing += len(changed)
        if changed and not check:
            nbformat.write(notebook, path)
        for line in changed:
            print(f"{path.name}: {line}")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
