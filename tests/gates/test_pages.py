"""Every page of the book passes every gate: `make gates`. No network is needed."""

import functools
import os
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.gates import gates
from tests.gates.book import CHAPTERS, HTML, PAGES, ROOT, WITH_CHARTS
from tools import repository

pytestmark = pytest.mark.gates


@pytest.fixture(scope="session")
def visit(browser: Browser, address: str) -> Callable[[str, gates.Theme], gates.Visit]:
    """Visits a page once in each theme, however many gates ask."""
    return functools.cache(lambda page, theme: gates.visit(browser, address + page, address, theme))


def test_the_book_is_built():
    assert "index.html" in PAGES, f"no pages in {HTML}: run `make book` first"


# The page varies slowest, so that a page's visits are made together.
@pytest.mark.parametrize("gate", gates.NOTED, ids=lambda gate: gate.__name__)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_visit(visit: Callable[[str, str], gates.Visit], page: str, theme: str, gate: Callable):
    notes = visit(page, theme)
    assert notes.theme == theme, "the page does not follow the system's choice of colours"
    assert gate(notes) == []


@pytest.mark.parametrize("page", PAGES)
def test_weight_is_noted(
    visit: Callable[[str, str], gates.Visit], page: str, record_property: Callable[[str, str], None]
):
    size = gates.size_without_charts(visit(page, "light"))
    assert size > 0
    record_property("measured", f"{page:<40} {size / 1000:>6.0f} kB compressed, before charts")


@pytest.mark.parametrize("page", PAGES)
def test_page_opened_from_disk(browser: Browser, page: str):
    assert gates.from_disk(browser, HTML, page) == []


@pytest.mark.parametrize("page", WITH_CHARTS)
def test_charts(browser: Browser, address: str, page: str):
    assert gates.charts(browser, address + page, address) == []


@pytest.mark.parametrize("own", ["served", "disk"])
def test_search(browser: Browser, address: str, own: str):
    own = address if own == "served" else HTML.as_uri() + "/"
    assert gates.search(browser, own + "search.html", own, "attention") == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_launch_links(page: str):
    running = os.environ.get("GITHUB_REPOSITORY", repository.full_name(ROOT))
    assert gates.launch_links(page, (HTML / page).read_text(encoding="utf-8"), running) == []


def test_links():
    assert gates.links(HTML, PAGES) == []


def test_html_is_valid():
    assert gates.valid_html(HTML, PAGES) == []
