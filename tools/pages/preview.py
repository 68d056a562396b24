"""What is shown where somebody links to a page: its title, its beginning, and a picture of the book."""

import html
import re
import tempfile
import textwrap
from pathlib import Path

import vl_convert
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont

from transformer.tutor.figures import INK

from . import translator

BOOK = "The Executable Transformer"
SAYS = ("Attention Is All You Need,", "every claim tested by running it.")
PICTURE = "_static/preview.png"
SIZE = WIDTH, HEIGHT = 1200, 630
"""pixels, the shape that those who show previews ask for"""
MUTED = "#555555"
MARGIN, DRAWING = 60, 620
"""pixels left free at the sides, and width of the drawing at the right"""


def announce(page: BeautifulSoup, place: str, site: str) -> None:
    """Say in the head of the page at `place` what a preview shows; addresses only where that of the site is known."""
    opening = page.select_one("article section > p")
    summary = textwrap.shorten(" ".join((opening or page.title).get_text().split()), 160)
    title = page.select_one("article h1")
    if title and title.select_one(".headerlink"):
        name = title.get_text().removesuffix(title.select_one(".headerlink").get_text())
    else:
        name = (title or page.title).get_text()
    said = {"og:type": "article", "og:site_name": BOOK, "og:title": name.strip(), "og:description": summary}
    if site:
        said |= {"og:url": f"{site}{place}", "og:image": f"{site}{PICTURE}"}
        said |= {"og:image:width": str(WIDTH), "og:image:height": str(HEIGHT)}
        said |= {"og:image:alt": f"{BOOK}. {' '.join(SAYS)}"}
    page.head.append(page.new_tag("meta", attrs={"name": "description", "content": summary}))
    card = "summary_large_image" if site else "summary"
    page.head.append(page.new_tag("meta", attrs={"name": "twitter:card", "content": card}))
    for key, value in said.items():
        page.head.append(page.new_tag("meta", attrs={"property": key, "content": value}))


def draw(out: Path) -> None:
    """Draw the picture: the title, and what the translator of the front page opens with, in the fonts of the book."""
    front = (out / "index.html").read_text(encoding="utf-8")
    drawing = translator.picture() if 'data-live="translator"' in front else ""
    with tempfile.TemporaryDirectory() as fonts:
        for file in (out / "_static" / "fonts").glob("text-*.woff2"):
            font = TTFont(file)
            font.flavor = None
            font.save(Path(fonts) / f"{file.stem}.ttf")
        vl_convert.register_font_directory(fonts)
        png = vl_convert.svg_to_png(composed(drawing))
    (out / PICTURE).write_bytes(png)


def composed(drawing: str) -> str:
    """The picture as SVG."""
    if drawing:
        width, height = map(float, re.search(r'viewbox="0 0 ([\d.]+) ([\d.]+)"', drawing, re.IGNORECASE).groups())
        high = min(HEIGHT - 2 * MARGIN, DRAWING * height / width)
        at = f'x="{WIDTH - MARGIN / 2 - DRAWING}" y="{(HEIGHT - high) / 2:.0f}" width="{DRAWING}" height="{high:.0f}"'
        drawing = re.sub(r"<svg [^>]*", f'<svg {at} viewBox="0 0 {width} {height}" color="{INK}"', drawing, count=1)
    first, *others = textwrap.wrap(BOOK, 12)
    lines = [(f'font-weight="600" font-size="66" fill="{INK}"', line) for line in (first, *others)]
    lines += [(f'font-size="25" fill="{MUTED}"', line) for line in SAYS]
    top = (HEIGHT - 76 * (len(lines) - len(SAYS)) - 38 * len(SAYS)) / 2 + 50
    texts = []
    for style, line in lines:
        texts.append(f'<text x="{MARGIN}" y="{top:.0f}" {style}>{html.escape(line)}</text>')
        top += 76 if "600" in style else 38
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="Book Text, serif"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(texts)}{drawing}</svg>"
    )
