"""What the executed chapters proved: the pages `claims.md` and `myths.md`, and the claims that lack a proof."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from tools.exercises import chapter_of
from transformer.tutor.claims import MARKS, TRACE, Claim, claims
from transformer.tutor.show import readable, typeset

Chapters = Mapping[Path, NotebookNode]
"""the executed notebooks by the paths of their sources, such as `book/03_attention.ipynb`"""


def outcomes(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What an executed notebook's claims came to, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.metadata[TRACE] for output in outputs if TRACE in output.get("metadata", {})]


def proofs(chapters: Chapters) -> dict[str, dict[str, Any]]:
    """The outcome of each claim that the chapters verify."""
    return {outcome["claim"]: outcome for chapter in chapters.values() for outcome in outcomes(chapter)}


def unproved(chapters: Chapters) -> list[str]:
    """The claims that belong to one of these chapters and that it does not verify, though they need a proof."""
    proved, written = proofs(chapters), {chapter_of(source) for source in chapters}
    needed = [claim.id for claim in claims().values() if claim.chapter in written and not claim.said]
    return [identity for identity in needed if identity not in proved]


def write_pages(book: Path, chapters: Chapters) -> None:
    """Put what was measured into the two pages of the folder `book` that tell it, where comments stand for it."""
    page = book / "claims.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<!-- claims -->", "\n".join(by_chapter(chapters))), encoding="utf-8")
    page = book / "myths.md"
    page.write_text(with_measurements(page.read_text(encoding="utf-8"), chapters), encoding="utf-8")


MYTH = re.compile(
    r"<!-- myth (?P<claim>\S+?)(?: (?P<cell>\S+))?: (?P<what>.+) -->\n"
    r"(?P<told>\*\*.+?\*\* (?:(?!Heard: ).+\n)+)(?:Heard: (?P<heard>(?:.+\n)+))?"
)
"""the claim that refutes a saying, a cell whose figure shows it (or its bars are drawn), and what its number is; below
it a verdict with what is told, and where the saying is heard"""


def with_measurements(text: str, chapters: Chapters) -> str:
    """The page of myths, with the saying above what is told of it, and a picture and the measurement below.

    Raises ValueError for a claim that refutes nothing, for a cell that shows no figure, and where nothing can be drawn.
    """
    places = {outcome["claim"]: (chapter, outcome) for chapter in chapters.values() for outcome in outcomes(chapter)}

    def section(found: re.Match[str]) -> str:
        if found["claim"] not in places:
            return ""  # its chapter is not among these
        chapter, outcome = places[found["claim"]]
        if not (myth := claims()[found["claim"]].myth):
            raise ValueError(f"myths.md has a section for {found['claim']}, which has no `myth` in claims.toml")
        holds = outcome["status"] == "holds"
        number = f"**{indexed(plain(readable(outcome['shown'])))}**" if holds else evidence(outcome)
        what = found["what"][0].upper() + found["what"][1:]
        measured = f"{{.measured}}\n{link(outcome)} {what}: {number}. More in {{section}}`{found['claim']}`."
        heard = ("{.heard}", f"Heard: {found['heard'].rstrip()}", "") if found["heard"] else ()
        drawn = picture(chapter, found["cell"]) if found["cell"] else drawn_bars(outcome) if holds else ""
        shown = ("```{raw} html", drawn, "```") if drawn else ()
        return "\n".join((f"### “{indexed(plain(myth))}”", "", *heard, found["told"], *shown, "", measured, ""))

    return MYTH.sub(section, text)


def picture(chapter: NotebookNode, cell: str) -> str:
    """The figure that a cell has drawn, for a page that is no notebook."""
    from tools.pages import notebooks  # with Sphinx, which only the book needs

    shows = next((one for one in chapter.cells if one.id == cell), {})
    bundles = [output.get("data", {}) for output in shows.get("outputs", [])]
    drawings = [bundle[notebooks.SVG] for bundle in bundles if notebooks.SVG in bundle]
    if len(drawings) != 1:
        raise ValueError(f"the cell {cell} shows {len(drawings)} figures, expected one")
    return notebooks.picture("book/myths", shows, drawings[0])


def drawn_bars(outcome: dict[str, Any]) -> str:
    """The numbers of a claim as bars, each beside its name and before its number; raises ValueError without any."""
    if not (bars := dict(outcome.get("bars", ()))):
        raise ValueError(
            f"{outcome['claim']} has no picture in myths.md: name a cell with a figure, or `verify` its bars"
        )
    most = max(bars.values()) or 1
    numbers = {name: written(number) for name, number in bars.items()}
    rows = (
        f"<span>{typeset(name)}</span>"
        f'<span style="--share: {bars[name] / most:.4f}"><i></i><b>{typeset(number)}</b></span>'
        for name, number in numbers.items()
    )
    told = "; ".join(f"{name}: {number}" for name, number in numbers.items())
    return f'<div class="bars" role="img" aria-label="{escape(readable(told))}">{"".join(rows)}</div>'


def written(number: float) -> str:
    """A number as a bar is labelled with it: whole and large ones in full, others to three digits, tiny ones to one."""
    if isinstance(number, int) or number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number >= 0.01 else f"{number:.1g}"


def by_chapter(chapters: Chapters) -> Iterator[str]:
    """A table of claims for each chapter, in the order in which it proves them."""
    for source, chapter in chapters.items():
        title = re.search(r"^# (.+)$", chapter.cells[0].source, re.MULTILINE)[1]
        yield from (f"## [{chapter_of(source)}. {title}]({source.name})", "")
        yield from ("| claim | what it says | from | measured in this build |", "|---|---|---|---|")
        for outcome in outcomes(chapter):
            claim = claims()[outcome["claim"]]
            yield row(link(outcome), statement(claim), plain(claim.source), evidence(outcome))
        yield ""


def row(*cells: str) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def link(outcome: dict[str, str]) -> str:
    """A sign for what came of a claim, and its name, which leads to the cell that verifies it."""
    return f"{MARKS[outcome['status']]}\N{NO-BREAK SPACE}{{claim}}`{outcome['claim']}`"


def evidence(outcome: dict[str, str]) -> str:
    """What was measured, or that nothing was."""
    text = outcome["evidence"] if outcome["status"] == "holds" else f"{outcome['status']}: {outcome['evidence']}"
    # The signature of a score may break at its strokes.
    return indexed(plain(readable(text))).replace("|", "|\N{ZERO WIDTH SPACE}")


def statement(claim: Claim) -> str:
    """The text of a claim; its code and its emphasis are marked as in Markdown."""
    parts = re.split(r"(`[^`]+`)", claim.text)
    parts[::2] = [indexed(re.sub(r"([_|$<\[\]{}])", r"\\\1", part)) for part in parts[::2]]
    parts[1::2] = [part.replace("|", r"\|") for part in parts[1::2]]
    return "".join(parts)


def indexed(text: str) -> str:
    """Escaped text in which a letter's index or exponent, as d_k or M_{a+b}, is raised or lowered."""

    def place(found: re.Match[str]) -> str:
        role = {"\\_": "sub", "^": "sup"}[found[2]]
        return f"{found[1]}{{{role}}}`{found[3] or found[4]}`"

    return re.sub(r"(?<![^\W\d_])([^\W\d_]|10(?=\^))(\\_|\^)(?:\\\{(.*?)\\\}|([-−]?[^\W_]+))", place, text)


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\`*_|$<\[\]{}~])", r"\\\1", text)
