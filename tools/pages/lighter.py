"""Lighter pages: of the theme's style sheet, of the icons and of the fonts, what the pages do not use is left out."""

import re
from collections.abc import Iterator
from pathlib import Path

from fontTools import subset

THEME = "_static/styles/pydata-sphinx-theme.css"
TOOLTIPS = "bs-"
"""how names begin that a script of the theme puts together, so that they stand in none"""


def lighten(out: Path, formulas: set[str]) -> None:
    """Make the finished pages in `out` lighter; `formulas` are the letters that stand in them."""
    for unused in {*out.glob("_static/scripts/fontawesome*"), *out.glob("_static/**/*.map")}:
        unused.unlink()
    keep_used_icons(out)
    keep_used_rules(out)
    letters = {ord(letter) for page in out.rglob("*.html") for letter in set(page.read_text(encoding="utf-8"))}
    for file in out.glob("_static/fonts/*.woff2"):
        keep_letters(file, letters)
    for file in out.glob("_static/katex/fonts/*.woff2"):
        keep_letters(file, set(map(ord, formulas)))


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
    """Reduce the theme's style sheet to the rules that can apply: those whose classes and names stand somewhere."""
    named: set[str] = set()
    for page in out.rglob("*.html"):
        for names in re.findall(r'\b(?:class|id)="([^"]+)"', page.read_text(encoding="utf-8")):
            named.update(names.split())
    for script in {*out.glob("_static/*.js"), *out.glob("_static/scripts/*.js")} - {out / "_static" / "vega.js"}:
        named.update(re.findall(r"[\w-]+", script.read_text(encoding="utf-8")))
    sheet = out / THEME
    text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
    sheet.write_text(used_rules(text, named), encoding="utf-8")


def used_rules(sheet: str, named: set[str]) -> str:
    """Those rules of a style sheet without comments that can match, where these are all the classes and ids."""
    kept = []
    for head, body in rules(sheet):
        if body is None:
            kept.append(head)
        elif head.startswith(("@media", "@supports")):
            if inside := used_rules(body, named):
                kept.append(f"{head}{{{inside}}}")
        elif head.startswith("@"):
            kept.append(f"{head}{{{body}}}")
        elif selectors := [one for one in re.split(r",(?![^(]*\))", head) if can_match(one, named)]:
            kept.append(f"{','.join(selectors)}{{{body}}}")
    return "".join(kept)


def rules(sheet: str) -> Iterator[tuple[str, str | None]]:
    """The rules of a style sheet, or of a block in one: what stands before the braces, and within them if there are."""
    begin = 0
    while found := re.compile(r"[^{};]*([;{])").match(sheet, begin):
        if found[1] == ";":
            yield found[0].strip(), None
            begin = found.end()
            continue
        depth, end = 1, found.end()
        while depth:
            brace = re.compile(r"\"[^\"]*\"|[{}]").search(sheet, end)
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            end = brace.end()
        yield found[0][:-1].strip(), sheet[found.end() : end - 1]
        begin = end


def can_match(selector: str, named: set[str]) -> bool:
    """Whether all classes and ids that a selector asks for stand somewhere; what is in brackets may be anything."""
    while (plain := re.sub(r"\([^()]*\)|\[[^\]]*\]", "", selector)) != selector:
        selector = plain
    asked = re.findall(r"[.#]((?:[\w-]|\\.)+)", selector)
    return all(name in named or name.startswith(TOOLTIPS) for name in asked)
