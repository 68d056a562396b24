"""The chapters on the front page: with a picture and minutes each, and with a place for what its reader has done."""

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nbformat import NotebookNode

from tools.anatomy import anatomy
from tools.claims import plain
from tools.exercises import exercise_cells
from transformer.tutor import predictions
from transformer.tutor.figures import INK, inked

ROW = r"\| (?P<number>\d+) \| \[(?P<title>.+)\]\((?P<path>book/(?P<name>\w+)\.ipynb)\) \| (?P<question>.+) \|\n"
TABLE = re.compile(rf"\| No\. \|.+\n\|[-|]+\n((?:{re.sub('P<[a-z]+>', ':', ROW)})+)")
WORDS_A_MINUTE = 120
"""of a text that is read with pencil in hand, with its formulas, pictures and predictions"""


def write(staged: Path, chapters: Mapping[Path, NotebookNode]) -> None:
    """Make of the table of chapters in `index.md` a list of what they hold, and draw its pictures.

    `staged` is a copy of the book's sources; a chapter that is not among the executed ones stays out.
    """
    page = staged / "index.md"
    by_name = {source.stem: chapter for source, chapter in chapters.items()}

    def listed(table: re.Match[str]) -> str:
        rows = [row for row in re.finditer(ROW, table[1]) if row["name"] in by_name]
        return "\n".join(("{.chapters}", *(entry(row, by_name[row["name"]], staged) for row in rows), ""))

    page.write_text(TABLE.sub(listed, page.read_text(encoding="utf-8")), encoding="utf-8")


def entry(row: re.Match[str], chapter: NotebookNode, staged: Path) -> str:
    """The line for a chapter, in MyST's Markdown."""
    shown = ""
    if drawn := first_figure(chapter):
        place = f"book/thumbnails/{row['name']}.svg"
        (staged / place).parent.mkdir(exist_ok=True)
        (staged / place).write_text(thumbnail(drawn[0]), encoding="utf-8")
        shown = f"![{plain(drawn[1])}]({place}){{.thumbnail .dark-light}} "
    tasks = " ".join(exercise.number for _, exercise in exercise_cells(chapter))
    progress = (
        f'<span class="so-far" data-chapter="{row["name"]}" data-exercises="{tasks}" '
        f'data-predictions="{html.escape(" ".join(questions(chapter)))}"></span>'
    )
    return (
        f"- {shown}[{row['number']}. {row['title']}]({row['path']}) [{row['question']}]{{.question}} "
        f"[{minutes(chapter)} minutes]{{.minutes}}{progress}"
    )


def minutes(chapter: NotebookNode) -> int:
    """How long a chapter takes to read: as the box at its beginning says, or reckoned from its words."""
    stated = re.search(
        r"(\d+)\s+minutes", "".join(cell.source for cell in chapter.cells if "You will be able to" in cell.source)
    )
    return int(stated[1]) if stated else max(1, round(anatomy(chapter).words / WORDS_A_MINUTE))


def questions(chapter: NotebookNode) -> Iterator[str]:
    """The names of the predictions that an executed chapter asks for."""
    for cell in chapter.cells:
        for output in cell.get("outputs", []):
            record = output.get("metadata", {}).get(predictions.TRACE, {})
            if "question" in record:
                yield record["name"]


def first_figure(chapter: NotebookNode) -> tuple[str, str] | None:
    """The first figure of an executed chapter that is no chart, as SVG, and what it says; None if there is none."""
    for cell in chapter.cells:
        for output in cell.get("outputs", []):
            if drawing := output.get("data", {}).get("image/svg+xml"):
                return "".join(drawing), cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    return None


def thumbnail(drawing: str) -> str:
    """A figure as a file of its own, which no style of the page reaches."""
    from tools.pages.notebooks import rounded  # with Sphinx, which only the book needs

    svg = re.search(r"<svg .*</svg>", rounded(inked(drawing, "")), re.DOTALL)[0]
    box = re.search(r'viewBox="[^"]+"', svg)[0]
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return re.sub(r"<svg [^>]*>", f'<svg {names} {box} color="{INK}" font-family="serif">', svg, count=1)
