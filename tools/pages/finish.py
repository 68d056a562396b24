"""The finished pages: lesson and laboratory, and names for search engines and assistive technology."""

import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import vl_convert
from bs4 import BeautifulSoup, NavigableString, Tag
from sphinx.application import Sphinx

from . import lighter, preview, search
from .notebooks import VEGA_LITE, chart_files

UNCOLOURED = re.compile(r'<span class="(?:n|nn|p|w)">([^<]*)</span>')
"""names, punctuation and blanks of code, which have its colour in both themes: a quarter of a chapter's markup"""
TOGETHER = re.compile(r"(?<=\d) (?=%)|(?<=[\d%²³]) [:×±≈] (?=\d)|(?<=\b\w) = (?=\d)")
"""blanks at which no line breaks: those of 88 %, e² : 1, 16 × 16 and d = 512"""
COLUMNS = re.compile(r"\S {2,}\S")
"""what stands between two columns of a table that is printed"""


def finish(app: Sphinx, error: Exception | None) -> None:
    """Mend in the finished pages what neither configuration nor templates reach."""
    if error or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = [page for page in sorted(out.rglob("*.html")) if "_static" not in page.relative_to(out).parts]
    # Each page by itself, and as many at once as there are cores: markup is slow to read and to write.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        done = list(pool.map(finish_page, pages, repeat(out), repeat(app.config.html_baseurl)))
    if chart_files(app).exists():
        shutil.copytree(chart_files(app), out / "_static" / "charts", dirs_exist_ok=True)
        vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
        # Wrapped, so that the hundreds of names inside stay there.
        (out / "_static" / "vega.js").write_text(f"(() => {{{vega}}})();", encoding="utf-8")
    search.write_index(out, [section for page in done for section in page.sections])
    if app.config.html_baseurl:
        preview.draw(out)
    lighter.lighten(out, [page.letters for page in done])


class Finished(NamedTuple):
    """What the whole book must know of a page."""

    letters: dict[str, set[str]]
    """letters that stand in its formulas, by the font"""
    sections: list[dict[str, str]]
    """its sections, for the search"""


def finish_page(path: Path, out: Path, site: str) -> Finished:
    """Mend, arrange and announce one page of the folder `out`."""
    page = BeautifulSoup(UNCOLOURED.sub(r"\1", path.read_text(encoding="utf-8")), "html.parser")
    place = path.relative_to(out)
    mend(page)
    arrange(page)
    tell_weights(page, out / "_static" / "live" / "weights")
    preview.announce(page, place.as_posix(), site)
    letters = {
        font: {letter for part in page.select(parts) for letter in part.get_text()}
        for font, parts in lighter.OF_FORMULAS.items()
    }
    path.write_text(str(page), encoding="utf-8")
    return Finished(letters, list(search.sections(page, place)))  # last, for it takes the page apart


def tell_weights(page: BeautifulSoup, weights: Path) -> None:
    """Let live figures know how many bytes their model has, so that a bar can tell how much of it is there."""
    for figure in page.select(".live[data-model]"):
        figure["data-bytes"] = str((weights / f"{figure['data-model']}.js").stat().st_size)


def mend(page: BeautifulSoup) -> None:
    """Leave out what a page does not need, and add the names that search engines and assistive technology expect."""
    # The book has its own search, and marks no words on the pages that it finds.
    scripts = ["fontawesome", "searchtools", "language_data", "searchindex", "sphinx_highlight"]
    scripts += [] if page.find(id="search-results") else ["/search.js", "/sections.js"]
    scripts += [] if page.select_one(".prediction") else ["predictions"]
    scripts += [] if page.select_one("#to-keep, .verdict, .so-far") else ["/progress.js"]
    unused = ["#ethical-ad-placement", *(f'script[src*="{name}"]' for name in scripts)]
    for element in [*page.select(", ".join(unused)), *unused_of_live(page)]:
        element.decompose()
    for root in page.select("html[data-theme]"):
        root["data-theme"] = "light"  # or pages would have no colours without a script, which chooses for all others
    for repeated in page.select('meta[name="viewport"]')[1:]:
        repeated.decompose()
    for words in page.select("article :is(h1, h2, h3)"):
        keep_words_whole(page, words)
    for article in page.select("article"):
        hold_together(article)
    tell_text_from_tables(page)
    for table in page.select("article table:has(.claim-link)"):
        label_cells(table)
    for logo in page.select(".dropdown-menu img"):
        logo["loading"] = "lazy"  # it is seen when the menu opens
    for drawing in page.select("img.thumbnail"):
        drawing["loading"] = "lazy"  # the list stands below what the front page begins with

    for picture in page.select(".chart-picture"):
        picture["src"] = f"{page.html['data-content_root']}_static/charts/{picture['src']}"

    if sidebar := page.find(id="pst-primary-sidebar"):
        sidebar.attrs.update({"role": "region", "aria-label": "The book"})
    for button in page.select("button.search-button-field"):
        del button["aria-label"]  # its visible text, "Search", says it
    for icon in page.select('i[class*="fa-"]'):
        del icon["title"]  # what it stands in has a name
        icon["aria-hidden"] = "true"  # or the letter of the icon font would be part of that name
    for drawn in page.select('.picture svg[role="img"] > g'):
        drawn["aria-hidden"] = "true"  # its letters, one after the other, say less than its description
    for part in page.select("header.bd-header, footer.bd-footer"):
        if not part.get_text(strip=True):
            part["role"] = "none"  # an empty part is no place to go to
    for name, says in TOGGLES.items():
        for button in page.select(f"button.{name}-toggle"):
            button["title"] = says
    for element in page.select('div.citation-list[role], [role="doc-biblioentry"]'):
        del element["role"]  # deprecated by ARIA 1.3


TOGGLES = {"primary": "Chapters", "secondary": "On this page"}
"""the theme's names of what a button opens at the side, and ours"""
PARTS = {
    "heads_by_hand": {"sentence"},
    "inside": {"sentence", "heat", "places", "by_numbers", "stream"},
    "switches": {"sentence"},
}
"""scripts that a live figure needs besides its own"""


def unused_of_live(page: BeautifulSoup) -> list[Tag]:
    """The style sheet and the scripts of live figures that the page does not have."""
    kinds = {str(figure["data-live"]) for figure in page.select(".live")}
    used = {"live", *kinds} if kinds else set()
    used = used.union(*(PARTS.get(kind, set()) for kind in kinds))
    used |= {"ask"} if page.select(".live[data-model]") else set()
    loaded = page.select('script[src*="/live/"], link[href*="/live/"]')
    return [part for part in loaded if Path(urlsplit(part.get("src") or part["href"]).path).stem not in used]


def label_cells(table: Tag) -> None:
    """Let each cell say what its column is, for phones, on which the cells of a row stand one below the other."""
    heads = [head.get_text(strip=True) for head in table.select("thead th")]
    for row in table.select("tbody tr"):
        for head, cell in zip(heads, row.select("td"), strict=True):
            cell["data-head"] = head


def hold_together(article: Tag) -> None:
    """Let no line break within a percentage, a ratio or a letter's value; code and drawings stay as they are."""
    for text in article.find_all(string=TOGETHER):
        drawn = text.find_parent(["code", "pre", "svg", "math"]) or text.find_parent(class_="live")
        if type(text) is NavigableString and not drawn:
            text.replace_with(TOGETHER.sub(lambda blanks: blanks[0].replace(" ", "\xa0"), text))


def tell_text_from_tables(page: BeautifulSoup) -> None:
    """Let lines that a cell printed break on a narrow screen, unless they have columns: two blanks within a line."""
    for output in page.select(".cell_output .output.stream pre"):
        if not COLUMNS.search(output.get_text()):
            output["class"] = [*output.get("class", []), "sentences"]


def keep_words_whole(page: BeautifulSoup, heading: Tag) -> None:
    """Let a heading break at no hyphen, as in scaled dot-product attention, a dotted name after its dots, no number."""
    for text in [text for text in heading.find_all(string=True) if not text.find_parent(class_="katex")]:
        parts = re.split(r"(\w+(?:-\w+)+|\w+(?:\.[^\W\d]\w*)+)", text)
        if len(parts) == 1:
            continue
        for number, part in enumerate(parts):
            if number % 2 and "-" in part:
                text.insert_before(page.new_tag("span", attrs={"class": "whole"}, string=part))
            elif number % 2:
                first, *others = part.split(".")
                text.insert_before(first)
                for name in others:
                    text.insert_before(".", page.new_tag("wbr"), name)
            else:
                text.insert_before(part)
        text.extract()


# Lesson and laboratory

LAYERS = {  # what is folded: what the fold says, and what it counts
    "laboratory": ("How we know: {}", "experiment", "section > h3"),
    "exercises": ("{} that answer back", "exercise", ".verdict > strong"),
}
DEFINED = re.compile(r"^(?:def|class) (\w+)", re.MULTILINE)
DRAWN = ".picture, .chart, figure"
SWITCH = (("lesson", "Lesson", "Lesson"), ("code", "Lesson and code", "+ code"), ("everything", "Everything", "All"))


def arrange(page: BeautifulSoup) -> None:
    """Fold what is not the lesson; without a script, and in print, all of it is open."""
    fold_apparatus(page)
    fold_code(page)
    for name, fold in LAYERS.items():
        for section in page.select(f"article section#{name}"):
            fold_layer(page, section, *fold)
    bar = page.select_one(".header-article-items__start")
    if bar and page.select_one(".layer, .cell_input"):
        bar.append(switch(page))


def fold_apparatus(page: BeautifulSoup) -> None:
    """Put the code of apparatus behind a line below what it shows; cells that show nothing share the next one's."""
    waiting: list[Tag] = []
    for cell in page.select("div.cell"):
        code = cell.select_one(".cell_input")
        if "tag_apparatus" not in cell["class"]:
            if code is None and cell.select_one(".cell_output") is None:
                cell.decompose()  # nothing of it is for the page
            continue
        output, following = cell.select_one(".cell_output"), cell.find_next_sibling()
        waiting += [code.extract()] if code else []
        shared = following is not None and "tag_apparatus" in following.get("class", [])
        if output is None and shared:
            cell.decompose()
        elif waiting:
            drawn = output is not None and output.select_one(DRAWN) and not output.select_one(".claim")
            fold = page.new_tag("details", attrs={"class": "apparatus"})
            fold.append(page.new_tag("summary", string=f"How this was {'drawn' if drawn else 'measured'}"))
            fold.extend(waiting)
            cell.append(fold)
            waiting = []


def fold_code(page: BeautifulSoup) -> None:
    """Put code, but not that of exercises, behind a line that is there for those who read without code."""
    for code in page.select("div.cell:not(#exercises *) > .cell_input"):
        fold = page.new_tag("details", attrs={"class": "code", "open": ""})
        defined = DEFINED.findall(code.get_text())
        fold.append(page.new_tag("summary", string=f"The code{': ' if defined else ''}{', '.join(defined)}"))
        code.wrap(fold)


def fold_layer(page: BeautifulSoup, section: Tag, says: str, thing: str, counted: str) -> None:
    """Fold all of a section but its heading behind a line that says how many things it holds."""
    heading, *rest = [child for child in section.children if isinstance(child, Tag)]
    if not (number := len(section.select(counted))):
        return  # a section of another page that is called so
    layer = page.new_tag("details", attrs={"class": "layer", "open": ""})
    layer.append(page.new_tag("summary", string=says.format(f"{number} {thing}{'' if number == 1 else 's'}")))
    body = page.new_tag("div", attrs={"class": "layer-body"})
    body.extend([part.extract() for part in rest])
    layer.append(body)
    heading.insert_after(layer)


def switch(page: BeautifulSoup) -> Tag:
    """The switch between lesson, lesson and code, and everything."""
    group = page.new_tag("div", attrs={"class": "reading-switch", "role": "group", "aria-label": "How much to show"})
    for choice, text, short in SWITCH:
        attributes = {"type": "button", "data-choice": choice, "aria-pressed": "false"}
        button = page.new_tag("button", attrs=attributes)
        button.append(page.new_tag("span", attrs={"class": "wide"}, string=text))
        button.append(page.new_tag("span", attrs={"class": "narrow"}, string=short))
        group.append(button)
    return group
