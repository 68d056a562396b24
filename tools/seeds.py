"""Run a chapter with other seeds than its own, to see whether its claims hold by luck.

    python -m tools.seeds book/03_attention.ipynb              # twenty seeds that the chapter does not use
    python -m tools.seeds book/03_attention.ipynb --seeds 100

A chapter names its seeds in one line, `SEEDS = range(5)`. Here the line is replaced, the chapter executed, and so on
until all seeds have been used; every claim is counted, and those that failed are listed with what was measured. The
copies run side by side, as many as there are processors.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import nbformat
import tyro
from nbformat import NotebookNode

from tools import chapters
from tools.claims import outcomes

SEEDS = re.compile(r"^SEEDS = range\((\d+)\)$", re.MULTILINE)


def with_seeds(chapter: NotebookNode, first: int) -> tuple[NotebookNode, int]:
    """A copy of the chapter whose seeds begin with `first`, and how many it uses.

    Raises ValueError for a chapter that does not name its seeds.
    """
    copy = nbformat.from_dict(chapter)
    for cell in copy.cells:
        if cell.cell_type == "code" and (found := SEEDS.search(cell.source)):
            n = int(found[1])
            cell.source = SEEDS.sub(f"SEEDS = range({first}, {first + n})", cell.source)
            return copy, n
    raise ValueError("the chapter has no line 'SEEDS = range(…)', expected it in the first cell")


def main(notebook: tyro.conf.Positional[Path], seeds: int = 20) -> int:
    """Run a chapter with other seeds than its own, so many of them.

    The exit status is 0 only if each copy told every claim, and none failed.
    """
    chapter = nbformat.read(notebook, as_version=4)
    _, first = with_seeds(chapter, 0)
    end, copies, tried, failed = first + seeds, {}, Counter[str](), []
    while first < end:
        copy, n = with_seeds(chapter, first)
        copy.metadata["execution"] = {"allow_errors": True}  # a claim that fails stops its cell, and no other
        copies[f"seeds {first} to {first + n - 1}.ipynb"] = copy
        first += n
    for name, copy in chapters.execute(notebook.parent, copies).items():
        for outcome in outcomes(copy):
            tried[outcome["claim"]] += 1
            if outcome["status"] == "fails":
                failed.append(f"{Path(name).stem}: {outcome['claim']} fails: {outcome['evidence']}")
    print("\n".join([f"{claim}: {times} times" for claim, times in tried.items()]))
    # A cell failed otherwise, or the kernel:
    untold = [f"{claim}: not told by every copy" for claim, times in tried.items() if times < len(copies)]
    print("\n".join([*untold, *failed, f"{len(failed)} failures with {seeds} seeds"]))
    return int(bool(failed or untold) or not tried)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
