"""The small book passes the gates: a verdict of each kind, a lesson with its laboratory, a live figure of each kind."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from tests.gates.tours import DARK, LIGHT, visit

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("small book")]  # built once, by one process

FRONT, VERDICTS, LESSON = "index.html", "book/exercises.html", "book/03_laboratory.html"


def test_each_kind_of_verdict_is_on_the_page(small_book: Path):
    page = BeautifulSoup((small_book / VERDICTS).read_text(encoding="utf-8"), "html.parser")
    kinds = [verdict["data-status"] for verdict in page.select(".verdict:has(strong)")]
    assert kinds == ["todo", "wrong", "wrong", "right"]


def test_page_loads_the_scripts_that_it_uses(small_book: Path):
    used = {page: (small_book / page).read_text(encoding="utf-8").count("/live/") for page in (FRONT, VERDICTS, LESSON)}
    # A style sheet, what all share, what asks a model, and one script for each kind: two on the front page, which has a
    # sheet more, and six in the lesson, one of which takes a sentence, with a script and a sheet.
    assert used == {FRONT: 6, VERDICTS: 0, LESSON: 11}


@pytest.mark.parametrize("page", [FRONT, VERDICTS, LESSON])
def test_page_in_light(browser: Browser, small_address: str, page: str):
    assert visit(browser, small_address, page, LIGHT).found == []


@pytest.mark.parametrize("page", [FRONT, VERDICTS, LESSON])
def test_page_in_dark_from_disk(browser: Browser, small_book: Path, page: str):
    assert visit(browser, small_book.as_uri() + "/", page, DARK).found == []
