"""Count what CONTRIBUTING.md asks of a chapter's lesson: for authors; nothing is judged by the number.

    python -m tools.anatomy                             # every chapter
    python -m tools.anatomy book/03_attention.ipynb     # these only

The lesson is all before `## Laboratory`, or, where there is none yet, before `## Exercises`. Its core is the cell
tagged `core`. Screens are counted where `make book` has built the page and Chromium or Chrome is there.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import tyro
from nbformat import NotebookNode

from tools.chapters import ROOT, sources

END = re.compile(r"^## (Laboratory|Exercises)$", re.MULTILINE)
UNSEEN = {"set-up", "apparatus", "predict", "remove-cell", "remove-input"}
"""tags of cells whose code a reader does not see"""
PICTURE = re.compile(r"plt\.show\(|charts\.show\(|show_attention\(|\blive\.\w+\(|<img|!\[")
ASKED = re.compile(r"\bpredict\.(choice|slider|curve)\(")
WORD = re.compile(r"[\w√$][\w'’$\\{}^·√-]*")
SCREENS = {"desktop": (1280, 900), "phone": (375, 812)}


@dataclass
class Anatomy:
    """What a chapter's lesson consists of."""

    words: int = 0
    before_picture: int | None = None
    before_core: int | None = None
    core_lines: int = 0
    code_lines: int = 0
    pictures: int = 0
    predictions: int = 0
    curves: int = 0
    has_laboratory: bool = False

    def __str__(self) -> str:
        def early(words: int | None) -> str:
            return "–" if words is None else str(words)

        first = early(self.before_picture), early(self.before_core)
        counted = self.words, *first, self.core_lines, self.code_lines, self.pictures, self.predictions, self.curves
        return "".join(f"{number:>{width}}" for number, width in zip(counted, WIDTHS, strict=True))


COUNTED = ("words", "→picture", "→core", "core", "code", "pictures", "predictions", "curves")
WIDTHS = (6, 9, 7, 6, 6, 10, 13, 8)
HEAD = f"{'chapter':<28}" + "".join(f"{name:>{width}}" for name, width in zip(COUNTED, WIDTHS, strict=True))


def lesson(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """The cells of the lesson; the one in which the laboratory begins is cut there."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (end := END.search(cell.source)):
            yield nbformat.v4.new_markdown_cell(cell.source[: end.start()])
            return
        yield cell


def anatomy(notebook: NotebookNode) -> Anatomy:
    """Count a chapter's lesson."""
    found = Anatomy(has_laboratory=any("## Laboratory\n" in f"{cell.source}\n" for cell in notebook.cells))
    for cell in lesson(notebook):
        tags = set(cell.metadata.get("tags", []))
        if drawn := len(PICTURE.findall(cell.source)):
            found.pictures += drawn
            found.before_picture = found.words if found.before_picture is None else found.before_picture
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```|^:::[^\n]*$|\(http[^)]*\)", " ", cell.source, flags=re.DOTALL | re.MULTILINE)
            found.words += len(WORD.findall(prose))
        elif "core" in tags and found.before_core is None:
            found.before_core, found.core_lines = found.words, lines_of_definitions(cell.source)
        if cell.cell_type == "code":
            asked = ASKED.findall(cell.source)
            found.predictions += len(asked)
            found.curves += asked.count("curve")
            if not UNSEEN & tags:
                found.code_lines += len([line for line in cell.source.splitlines() if line.strip()])
    return found


def lines_of_definitions(source: str) -> int:
    """How many lines of code the functions and classes of a cell have; what tries them out does not count."""
    lines = source.splitlines()
    defined = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return sum(bool(line.strip()) for node in defined for line in lines[node.lineno - 1 : node.end_lineno])


def screens(pages: Sequence[Path]) -> dict[Path, dict[str, float]]:
    """How many screens long built pages are as they open; empty without a browser."""
    from playwright.sync_api import sync_playwright

    from tools.print_book import find_browser

    if not pages or (browser := find_browser()) is None:
        return {}
    lengths: dict[Path, dict[str, float]] = {page: {} for page in pages}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for name, (width, height) in SCREENS.items():
            tab = chromium.new_page(viewport={"width": width, "height": height})
            for page in pages:
                tab.goto(page.as_uri(), wait_until="load")
                lengths[page][name] = tab.evaluate("document.documentElement.scrollHeight / innerHeight")
        chromium.close()
    return lengths


def main(notebooks: tyro.conf.Positional[tuple[Path, ...]] = ()) -> None:
    """Count what the lesson of each chapter consists of: of these notebooks, or of all."""
    notebooks = notebooks or sources()
    pages = {path: ROOT / "_build" / "html" / "book" / f"{path.stem}.html" for path in notebooks}
    long = screens([page for page in pages.values() if page.exists()])
    print(f"{HEAD}  screens")
    for path in notebooks:
        counted = anatomy(nbformat.read(path, as_version=4))
        length = " ".join(f"{name} {number:.1f}" for name, number in long.get(pages[path], {}).items())
        print(f"{path.stem:<28}{counted}  {length or '–'}{'' if counted.has_laboratory else '  (no laboratory yet)'}")


if __name__ == "__main__":
    tyro.cli(main)
