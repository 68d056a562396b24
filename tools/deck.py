"""The questions of "Check yourself" with their answers, as cards for spaced repetition: a file that Anki imports.

`tools/build_book.py` writes it beside the pages. A line is a card: question, answer and chapter, between tabs; the
lines above them tell Anki how to read it. A card imported again takes the place of the one with the same question.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

from tools.exercises import chapter_of

NAME = "executable-transformer.txt"
HEAD = ("#separator:tab", "#html:true", "#deck:The Executable Transformer", "#tags column:3")
SECTION = re.compile(r"^## Check yourself$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FOLD = re.compile(r"<details><summary>(?:\d+\. )?(.+?)</summary>\n(.+?)\n</details>", re.DOTALL)
LEFT = re.compile(r"\{\w+(:\w+)*\}|:::|<a |\$")
"""what only the pages of the book understand: roles, boxes, links from page to page"""


def write(folder: Path, chapters: Mapping[Path, NotebookNode]) -> None:
    """Write the deck of these chapters, by the paths of their sources, into a folder."""
    decks = (cards(chapter, f"chapter-{chapter_of(source):02}") for source, chapter in chapters.items())
    (folder / NAME).write_text("\n".join((*HEAD, *chain(*decks), "")), encoding="utf-8")


def cards(chapter: NotebookNode, tag: str) -> Iterator[str]:
    """A line for each question of a chapter.

    Raises ValueError where a question or an answer holds markup that a card cannot show.
    """
    for cell in chapter.cells:
        if cell.cell_type == "markdown" and (section := SECTION.search(cell.source)):
            for sides in FOLD.findall(section[1]):
                fields = [as_html(side) for side in sides]
                if left := LEFT.search(re.sub(r"<code>.*?</code>", "", "".join(fields))):
                    raise ValueError(f"the question {sides[0]!r} holds {left[0]!r}, which a card cannot show")
                yield "\t".join((*fields, tag))


def as_html(text: str) -> str:
    """Markdown as one line of HTML, with formulas as Anki takes them: \\( … \\), or \\[ … \\] for those set apart."""
    rendered = MarkdownIt("commonmark").use(dollarmath_plugin, double_inline=True)
    rendered.add_render_rule("math_inline", formula("(", ")"))
    for kind in ("math_inline_double", "math_block"):
        rendered.add_render_rule(kind, formula("[", "]"))
    return " ".join(rendered.render(text.strip()).split()).removeprefix("<p>").removesuffix("</p>")


def formula(begin: str, end: str) -> Callable[..., str]:
    """The rule, as markdown-it takes it, that writes a formula between such brackets."""

    def rule(self: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
        return f"\\{begin}{html.escape(tokens[index].content.strip(), quote=False)}\\{end}"

    return rule
