"""The built book: its pages, and which of them are chapters, and which stand for all of their kind."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
FILES = [file.relative_to(HTML) for file in HTML.rglob("*.html")]
PAGES = sorted(file.as_posix() for file in FILES if "_static" not in file.parts)
CHAPTERS = [f"book/{chapter.stem}.html" for chapter in sorted((ROOT / "book").glob("*.ipynb"))]
TEXTS = {page: (HTML / page).read_text(encoding="utf-8") for page in PAGES}


def kind(page: str) -> str:
    """What sort of page it is, by what it holds."""
    if page == "index.html":
        return "front page"
    if page in CHAPTERS:
        return "chapter"
    signs = {'id="search-results"': "search", 'class="py ': "API", "<table": "tables"}
    return next((name for sign, name in signs.items() if sign in TEXTS[page]), "prose")


BY_SIZE = sorted(PAGES, key=lambda page: len(TEXTS[page]))
# Of each kind the largest page, for what pages of a kind have in common; and the smallest, for what takes long.
SAMPLE = sorted({kind(page): page for page in BY_SIZE}.values())
SMALLEST = sorted({kind(page): page for page in reversed(BY_SIZE)}.values())
