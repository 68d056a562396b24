"""Fold the cells of the notebooks in JupyterLab and Colab as their tags say.

    python -m tools.chapter_cells             # set it in every notebook
    python -m tools.chapter_cells --check     # only say what differs; the exit status is 1 if anything does
    python -m tools.chapter_cells book/03_attention.ipynb    # in these notebooks only

The pages read the tags themselves, see `tools/pages`; CONTRIBUTING.md says which tag is for what.
"""

import argparse
import sys
from pathlib import Path

import nbformat
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
            cell.metadata.update({"cellView": "form", "jupyter": {"source_hidden": True}})
        if cell.metadata != before:
            changed.append(cell.id)
    return changed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fold cells in JupyterLab and Colab as their tags say.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="book/NN_name.ipynb; without any, all of them")
    parser.add_argument("--check", action="store_true", help="change nothing, say what differs")
    arguments = parser.parse_args()
    differing = 0
    for path in arguments.notebooks or sources():
        notebook = nbformat.read(path, as_version=4)
        changed = renew(notebook)
        differing += len(changed)
        if changed and not arguments.check:
            nbformat.write(notebook, path)
        for cell in changed:
            print(f"{path.name}: cell {cell}")
    return 1 if arguments.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
