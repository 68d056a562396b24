"""The built book: its pages, and which of them are chapters or hold charts."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
FILES = [file.relative_to(HTML) for file in HTML.rglob("*.html")]
PAGES = sorted(file.as_posix() for file in FILES if "_static" not in file.parts)
CHAPTERS = [f"book/{chapter.stem}.html" for chapter in sorted((ROOT / "book").glob("*.ipynb"))]
WITH_CHARTS = [page for page in PAGES if 'class="chart"' in (HTML / page).read_text(encoding="utf-8")]
