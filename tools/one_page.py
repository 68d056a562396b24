"""The model on one page as a file: the code that chapter 0 shows, cell after cell, to be run as it is.

`tools/build_book.py` writes it beside the pages.
"""

from pathlib import Path

from nbformat import NotebookNode

from tools.anatomy import UNSEEN

CHAPTER = "00_one_sitting"
NAME = "transformer_on_one_page.py"
HEAD = '''"""The Transformer on one page: the code of chapter 0 of The Executable Transformer, cell after cell.

It trains in half a minute, and translates a sentence on the way. It needs PyTorch, and for the corpus the book's
package, `transformer`. MIT licence.
"""
'''


def shown(chapter: NotebookNode) -> list[str]:
    """The cells of code that a chapter's page shows."""
    code = (cell for cell in chapter.cells if cell.cell_type == "code")
    return [cell.source for cell in code if not UNSEEN & {*cell.metadata.get("tags", [])}]


def write(folder: Path, chapter: NotebookNode) -> None:
    """Write the file for chapter 0 into a folder."""
    code = "\n\n\n".join(shown(chapter))
    (folder / NAME).write_text(f"{HEAD}\n{code}\n", encoding="utf-8")
