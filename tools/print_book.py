"""Print the whole book, as `make book` built it, to one PDF: `_build/executable-transformer.pdf`.

    python -m tools.print_book

Chromium or Chrome prints it, the same program that the gates use.
"""

import os
import shutil
import sys
from pathlib import Path

import pikepdf
from playwright.sync_api import sync_playwright

from tools.build_book import build_html
from tools.chapters import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOOTER = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'
MEGABYTES = 20  # no larger, so that it can be sent by mail


def find_browser() -> str | None:
    """The browser that $CHROMIUM names, or the first that is installed; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def print_pages(browser: str, page: Path, pdf: Path) -> None:
    """Print one HTML page to a PDF with bookmarks and numbered pages."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        tab = chromium.new_page(color_scheme="light")
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("document.querySelectorAll('details').forEach(details => (details.open = true))")
        tab.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        margins = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
        tab.pdf(
            path=pdf, format="A4", margin=margins, print_background=True, outline=True, tagged=True,
            display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
        )  # fmt: skip
        chromium.close()
    # Chromium writes the structure for screen readers, tens of thousands of small objects, uncompressed.
    with pikepdf.open(pdf, allow_overwriting_input=True) as document:
        document.save(object_stream_mode=pikepdf.ObjectStreamMode.generate)


def main() -> int:
    """Print the book; the exit status is 0 only if the PDF is there and small enough."""
    staged, pdf = ROOT / "_build" / "book-source", ROOT / "_build" / "executable-transformer.pdf"
    browser = find_browser()
    if browser is None:
        print("Printing needs Chromium or Chrome, and none was found. Install one, or name it:", file=sys.stderr)
        print("  CHROMIUM=/path/to/chrome make pdf", file=sys.stderr)
        return 2
    if not staged.exists() or not build_html(ROOT, staged, builder="singlehtml"):
        print("The book could not be put on one page (see above); `make book` must succeed first.", file=sys.stderr)
        return 1
    print_pages(browser, ROOT / "_build" / "singlehtml" / "index.html", pdf)
    size = pdf.stat().st_size / 1e6
    print(f"{pdf} ({size:.1f} MB)")
    if size > MEGABYTES:
        print(f"The PDF has {size:.1f} MB, more than {MEGABYTES}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
