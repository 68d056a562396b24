"""Every page of the book passes every gate: `make gates`. No network is needed."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.gates import reading
from tests.gates.book import HTML, PAGES, SAMPLE
from tests.gates.tours import DARK, LIGHT, SEARCH, WITHOUT_JAVASCRIPT, visit

pytestmark = pytest.mark.gates

DISK = HTML.as_uri() + "/"


def test_the_book_is_built():
    assert "index.html" in PAGES, f"no pages in {HTML}: run `make book` first"


@pytest.mark.parametrize("page", PAGES)
def test_page_in_light(browser: Browser, address: str, page: str, record_property: Callable[[str, str], None]):
    seen = visit(browser, address, page, LIGHT)
    for measured in seen.measured:
        record_property("measured", f"{page:<40} {measured}")
    assert seen.found == []


@pytest.mark.parametrize("page", PAGES)
def test_page_in_dark_from_disk(browser: Browser, page: str):
    assert visit(browser, DISK, page, DARK).found == []


@pytest.mark.parametrize("page", SAMPLE)
def test_page_without_javascript(browser: Browser, address: str, page: str):
    assert visit(browser, address, page, WITHOUT_JAVASCRIPT).found == []


def test_search(browser: Browser, address: str):
    assert visit(browser, address, "search.html", SEARCH).found == []


def test_search_from_disk(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    """It is the same search, so that a few questions show whether its index has come."""
    monkeypatch.setattr(reading, "LEADS_TO", {})
    assert visit(browser, DISK, "search.html", SEARCH).found == []
