"""The search's index: one entry for each section of the book, as text that can be read.

Sphinx's own index leads to the tops of pages, and quotes formulas in TeX. This one is a script, so that it works for
pages opened from disk too; `search.js` searches it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString, Tag

SUB, SUP, CODE, END = "\u2398", "\u2397", "\u2399", "\u2396"
"""around an index, an exponent and code in the text of a section; they stand nowhere else"""
SILENT = (
    "script, noscript, style, .headerlink, .claim-evidence, .claim-source, svg, .katex-html, annotation, "
    ".layer > summary, .apparatus, .code, .bars, .cell_output pre"
)
"""what no reader searches for, and no snippet shows: apparatus, code and print-outs among it"""
LONGEST = 600  # letters of a section that can be shown; of the rest only words are kept, or it would weigh too much
LONGEST_BEHIND = 330  # behind a lesson
LONGEST_OF_SIGNATURES = 200  # the package's pages are mostly names, which are found by their words as well
COMMON = 20  # sections: a word that stands in more of them is not kept for the rest of a text
INLINE = re.compile("a|abbr|b|cite|code|em|i|kbd|mark|q|s|small|span|strong|su[bp]|var|wbr")
"""elements within a line: no space stands around them unless it is written"""
BEHIND = "#laboratory, #exercises, #check-yourself, #to-keep"
"""what stands behind a lesson, and is found after it"""


def write_index(out: Path, found: Sequence[dict[str, str]]) -> None:
    """Write `_static/sections.js`: the title, the place, the text and further words of every section."""
    stands = Counter(word for entry in found for word in {*words_of(entry["text"]), *entry.get("more", "").split()})
    for entry in found:
        if "more" in entry:
            entry["more"] = " ".join(word for word in entry["more"].split() if stands[word] <= COMMON)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found)
    (out / "_static" / "sections.js").write_text(f"window.BOOK_SECTIONS = [\n{lines}\n];\n", encoding="utf-8")


def sections(page: BeautifulSoup, place: Path) -> Iterator[dict[str, str]]:
    """The sections of a page: page's title, own title, address from the root, text without that of sections inside.

    Of a long text the beginning is `text`, and each word that stands only in the rest is in `more`. What stands behind
    a lesson says in `behind` what it is part of. The page is taken apart.
    """
    chapter = page.select_one("article h1")
    if chapter is None:
        return
    for element in page.select(f"article :is({SILENT})"):
        element.decompose()
    for formula in page.select("article math"):
        formula.replace_with(plain_formula(formula))
    for index in page.select("article :is(sub, sup)"):
        index.replace_with(f"{SUB if index.name == 'sub' else SUP}{index.get_text()}{END}")
    for code in page.select("article :is(code, pre, dt.sig):not(:is(code, pre, dt.sig) *)"):
        code.insert(0, CODE)
        code.append(END)
    for block in page.article.find_all(lambda element: not INLINE.fullmatch(element.name)):
        block.insert_before(" ")  # two paragraphs are two words, while a word that is stressed in part stays one
        block.insert_after(" ")
    are_signatures = page.select_one("article dl.py") is not None
    title = clean(chapter)
    for section in page.select("article section[id]"):
        heading = section.find(re.compile(r"^h\d$"))
        if heading is None:
            continue
        text = " ".join(part for part in map(clean, own_parts(section, heading)) if part)
        entry = {"page": title, "title": clean(heading), "at": f"{place.as_posix()}#{section['id']}"}
        layer = section.css.closest(BEHIND)
        behind = {"behind": str(layer["id"])} if layer else {}
        longest = LONGEST_OF_SIGNATURES if are_signatures else LONGEST_BEHIND if layer else LONGEST
        yield {**entry, **behind, "text": text[:longest], **more_words(text, longest)}


def more_words(text: str, longest: int) -> dict[str, str]:
    """The words of a text that stand only after its first letters, once each, under "more", if there are any."""
    more = words_of(text[longest:]) - words_of(text[:longest])
    return {"more": " ".join(sorted(more))} if more else {}


def words_of(text: str) -> set[str]:
    """The words of a text, in small letters, without those of one or two letters."""
    return set(re.findall(r"[^\W\d_]{3,}", text.lower()))


def own_parts(section: Tag, heading: Tag) -> Iterator[Tag | NavigableString]:
    """What a section holds, without its heading and without the sections inside it."""
    for child in section.children:
        if child is heading or (isinstance(child, Tag) and child.name == "section"):
            continue
        if isinstance(child, Tag) and child.find("section"):
            yield from own_parts(child, heading)
        else:
            yield child


def clean(element: Tag | NavigableString) -> str:
    """The text of an element, in one line."""
    return " ".join(element.get_text().split())


def plain_formula(formula: Tag) -> str:
    """A formula of MathML as a line of text: √d with the index k marked, fractions with a stroke."""
    parts = [plain_formula(child) if isinstance(child, Tag) else str(child) for child in formula.children]
    parts = [part for part in parts if part.strip()]
    match formula.name, parts:
        case "msub", [base, index]:
            return f"{base}{SUB}{index}{END}"
        case "msup", [base, power]:
            return f"{base}{SUP}{power}{END}"
        case "msubsup", [base, index, power]:
            return f"{base}{SUB}{index}{END}{SUP}{power}{END}"
        case "msqrt", _:
            inside = "".join(parts)
            return f"√{inside}" if len(parts) == 1 else f"√({inside})"
        case "mfrac", [above, below]:
            return f"{above}/{below}" if len(above) + len(below) < 6 else f"({above})/({below})"
        case _:
            return "".join(parts)
