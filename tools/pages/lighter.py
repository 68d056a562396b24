"""Lighter pages: of others' style sheets and scripts, of icons and fonts, what the pages do not use is left out."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import tinycss2
from fontTools import subset
from tinycss2.ast import Node, QualifiedRule

THEME = "_static/styles/pydata-sphinx-theme.css"
SHEETS = ("_static/*.css", "_static/styles/*.css", "_static/katex/*.css")
OURS = {"book.css", "reading.css"}
"""style sheets without needless rules; some of them are for what only vega.js, which draws the charts, adds"""
OUR_SCRIPTS = ("book.js", "predictions.js", "progress.js", "reading.js", "search.js")
SCRIPTS = ("_static/*.js", "_static/scripts/*.js", "_static/live/*.js")
THEME_SCRIPT = "_static/scripts/pydata-sphinx-theme.js"
MEASURED = (
    '"pre",".nboutput > .output_area",".cell_output > .output",'
    '".jp-RenderedHTMLCommon",".pst-scrollable-table-container"'
)
"""what the theme measures as a page opens and after each change of it, in folds too, which the browser must lay out for
that: an eighth to a fifth of the work of opening a chapter. `book.js` measures what is seen"""
OF_FORMULAS = {"": ".katex-html", "KaTeX_Math-Italic": ".mathnormal", "KaTeX_Main-Italic": ".textit, .mathit"}
"""which parts of the pages a font of formulas writes; one without a name here may write any of their letters"""
TOOLTIPS = "bs-"
"""how names begin that a script of the theme puts together, so that they stand in none"""


def lighten(out: Path, formulas: Sequence[Mapping[str, set[str]]]) -> None:
    """Make the finished pages in `out` lighter; `formulas` are the letters of each page's formulas, by the font."""
    for unused in {*out.glob("_static/scripts/fontawesome*"), *out.glob("_static/**/*.map")}:
        unused.unlink()
    measure_nothing(out / THEME_SCRIPT)
    leave_out_comments(out)
    keep_used_icons(out)
    keep_used_rules(out)
    letters = {ord(letter) for page in out.rglob("*.html") for letter in set(page.read_text(encoding="utf-8"))}
    for file in out.glob("_static/fonts/*.woff2"):
        keep_letters(file, letters)
    for file in out.glob("_static/katex/fonts/*.woff2"):
        font = file.stem if file.stem in OF_FORMULAS else ""
        keep_letters(file, {ord(letter) for page in formulas for letter in page[font]})


def leave_out_comments(out: Path) -> None:
    """Leave out of our own scripts and style sheets the comments that have lines to themselves."""
    for file in (*out.glob("_static/live/*.js"), *(out / "_static" / name for name in (*OURS, *OUR_SCRIPTS))):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"^[ \t]*/\*.*?\*/\n", "", text, flags=re.DOTALL | re.MULTILINE), encoding="utf-8")


def measure_nothing(script: Path) -> None:
    """Let the theme's script find no boxes to measure.

    Raises ValueError where it does not name them as expected, as after an update of the theme.
    """
    text = script.read_text(encoding="utf-8")
    if text.count(MEASURED) != 1:
        raise ValueError(f"{script.name} has {text.count(MEASURED)} times {MEASURED}, expected once: see MEASURED")
    script.write_text(text.replace(MEASURED, '":not(*)"'), encoding="utf-8")


# Icons and letters


def keep_used_icons(out: Path) -> None:
    """Reduce the icon fonts and their style sheet to the icons that the pages and the theme's scripts name."""
    files = [*out.rglob("*.html"), *out.glob("_static/scripts/*.js")]
    used = {name for file in files for name in re.findall(r"\bfa-[a-z-]+", file.read_text(encoding="utf-8"))}
    codes: set[int] = set()

    def keep(rule: re.Match[str]) -> str:
        if not used & set(re.findall(r"fa-[a-z0-9-]+", rule[1])):
            return ""
        codes.add(int(rule[2], 16))
        return rule[0]

    sheet = out / THEME
    icon = r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}'
    sheet.write_text(re.sub(icon, keep, sheet.read_text(encoding="utf-8")), encoding="utf-8")
    for file in out.glob("_static/styles/*.css"):  # the theme draws some icons without naming them
        rules = file.read_text(encoding="utf-8")
        codes.update(int(code, 16) for code in re.findall(r'"\\([ef][0-9a-f]{3})"', rules))
        codes.update(ord(letter) for letter in re.findall("[\ue000-\uf8ff]", rules))
    for file in (out / "_static" / "vendor" / "fontawesome" / "webfonts").glob("*.woff2"):
        keep_letters(file, codes)


def keep_letters(file: Path, codes: set[int]) -> None:
    """Take all other letters out of a font."""
    options = subset.Options(flavor="woff2", notdef_outline=True)
    font = subset.load_font(str(file), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    subset.save_font(font, str(file), options)


# Rules of style


def keep_used_rules(out: Path) -> None:
    """Reduce others' style sheets to the rules that can apply: those whose classes and names stand somewhere."""
    named: set[str] = set()
    for page in out.rglob("*.html"):
        for names in re.findall(r'\b(?:class|id)="([^"]+)"', page.read_text(encoding="utf-8")):
            named.update(names.split())
    scripts = {script for pattern in SCRIPTS for script in out.glob(pattern)} - {out / "_static" / "vega.js"}
    for script in scripts:
        named.update(re.findall(r"[\w-]+", script.read_text(encoding="utf-8")))
    for sheet in [sheet for pattern in SHEETS for sheet in out.glob(pattern) if sheet.name not in OURS]:
        sheet.write_text(used_rules(sheet.read_text(encoding="utf-8"), named), encoding="utf-8")


def used_rules(sheet: str, named: set[str]) -> str:
    """Those rules of a style sheet that can match, where these are all the classes and ids."""
    kept = []
    for rule in tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True):
        if rule.type == "qualified-rule":
            if selectors := [one for one in selectors_of(rule) if can_match(one, named)]:
                kept.append(f"{','.join(map(tinycss2.serialize, selectors))}{{{tinycss2.serialize(rule.content)}}}")
        elif rule.at_keyword in ("media", "supports"):
            if inside := used_rules(tinycss2.serialize(rule.content), named):
                kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inside}}}")
        else:
            kept.append(rule.serialize())
    return "".join(kept)


def selectors_of(rule: QualifiedRule) -> list[list[Node]]:
    """What stands between the commas before a rule's braces; a comma in brackets is inside its bracket's node."""
    selectors: list[list[Node]] = [[]]
    for node in rule.prelude:
        if node == ",":
            selectors.append([])
        else:
            selectors[-1].append(node)
    return selectors


def can_match(selector: list[Node], named: set[str]) -> bool:
    """Whether all classes and ids that a selector asks for stand somewhere; what is in brackets may be anything."""
    asked = [node.value for node in selector if node.type == "hash"]
    asked += [name.value for dot, name in pairwise(selector) if dot == "." and name.type == "ident"]
    return all(name in named or name.startswith(TOOLTIPS) for name in asked)
