"""Fold the cells of the notebooks in JupyterLab and Colab as their tags say.

    python -m tools.chapter_cells             # set it in every notebook
    python -m tools.chapter_cells --check     # only say what differs; the exit status is 1 if anything does
    python -m tools.chapter_cells book/03_attention.ipynb    # in these notebooks only

The pages read the tags themselves, see `tools/pages`; CONTRIBUTING.md says which tag is for what.
"""

import sys
from pathlib import Path

import nbformat
import tyro
from nbformat import NotebookNode

from tools import repository
from tools.chapters import code_cells, sources

FOLDED = {"set-up", "apparatus"}
"""the tags of cells whose code is not the lesson"""


def renew(notebook: NotebookNode) -> list[str]:
    """Set the metadata of every code cell by its tags; gives the ids of the cells that were not so."""
    changed = []
    for cell in code_cells(notebook):
        if cell.id == repository.CELL_ID:
            continue
        before = nbformat.from_dict(cell.metadata)
        cell.metadata.pop("cellView", None)  # Colab's
        cell.metadata.pop("jupyter", None)
        if FOLDED & set(cell.metadata.get("tags", [])):
            cell.metadata.update(repository.FOLDED)
        if cell.metadata != before:
            changed.append(cell.id)
    return changed


def main(notebooks: tyro.conf.Positional[tuple[Path, ...]] = (), check: bool = False) -> int:
    """Fold cells in JupyterLab and Colab as their tags say, in these notebooks or in all.

    With `check`, nothing is changed, and the exit status is 1 where something differs.
    """
    differing = 0
    for path in notebooks or sources():
        notebook = nbformat.read(path, as_version=4)
        changed = renew(notebook)
        differing += len(changed)
        if changed and not check:
            nbformat.write(notebook, path)
        for cell in changed:
            print(f"{path.name}: cell {cell}")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
