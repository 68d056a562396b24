"""The built pages in a browser: `make gates`. No page needs another host for what is checked here."""

import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

pytestmark = pytest.mark.gates

HTML = Path(__file__).parents[2] / "_build" / "html"
FILES = [file.relative_to(HTML) for file in HTML.rglob("*.html")]
PAGES = sorted(file.as_posix() for file in FILES if "_static" not in file.parts)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("gpu", "background-networking", "component-update", "sync")
PATH = re.compile(r"\S*(/\S*|\.\w{3,4})")
PHONE = {"width": 375, "height": 812}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the one that $CHROMIUM names, or the first that is installed."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.exit(
            "The gates need Chromium or Chrome, and none was found. Install one (on Debian: "
            "sudo apt install chromium) or name its program: CHROMIUM=/path/to/chrome make gates",
            returncode=2,
        )
    arguments = ["--no-sandbox", *(f"--disable-{feature}" for feature in QUIET)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The book, served on this machine."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing about requests."""

    handler = functools.partial(Silent, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def only_from(address: str, route: Route) -> None:
    """Refuse what other hosts would send, so that a gate gives the same answer with and without a network."""
    if route.request.url.startswith((address, "data:", "blob:")):
        route.continue_()
    else:
        route.abort()


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Page]:
    """A new tab as wide as a phone."""
    tab = browser.new_page(viewport=PHONE)
    tab.route("**/*", functools.partial(only_from, address))
    yield tab
    tab.close()


def test_the_book_is_built():
    assert "index.html" in PAGES, f"no pages in {HTML}: run `make book` first"


@pytest.mark.parametrize("page", PAGES)
def test_page(tab: Page, address: str, page: str):
    script_errors: list[str] = []
    tab.on("pageerror", lambda error: script_errors.append(str(error)))
    tab.goto(address + page, wait_until="load")

    assert script_errors == []

    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], f"the page is {width} px wide on a screen of {PHONE['width']} px"

    images = tab.eval_on_selector_all("img", "images => images.map(i => [i.getAttribute('src'), i.alt])")
    unnamed = [source for source, alt in images if not alt.strip() or PATH.fullmatch(alt)]
    assert unnamed == [], "images without a description, or described by their own path"
