"""A small book, built with the configuration of the real one: a verdict of each kind, a lesson with its laboratory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from tests.gates.tours import DARK, LIGHT, visit
from tests.gates.visits import served
from tools import build_book, chapters

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("small book")]  # built once, by one process

SOURCE = Path(__file__).with_name("fixture_book")
SHARED = ("_config.yml", "book/assets", "book/references.bib", "tools/pages")
VERDICTS, LESSON = "book/exercises.html", "book/03_laboratory.html"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small book's pages."""
    root = shutil.copytree(SOURCE, tmp_path_factory.mktemp("small") / "root")
    for name in SHARED:
        (root / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (chapters.ROOT / name).is_dir() else shutil.copy
        copy(chapters.ROOT / name, root / name)
    sources = {path.name: nbformat.read(path, as_version=4) for path in chapters.sources(root)}
    executed = {root / "book" / name: done for name, done in chapters.execute(root / "book", sources).items()}
    assert all(map(chapters.finished, executed.values())), "a cell failed"
    assert build_book.build_html(root, build_book.stage(root, executed)), "the pages have warnings"
    return root / "_build" / "html"


@pytest.fixture(scope="module", name="address")
def small_address(html: Path) -> Iterator[str]:
    """The small book, served on this machine."""
    with served(html) as address:
        yield address


def test_each_kind_of_verdict_is_on_the_page(html: Path):
    page = BeautifulSoup((html / VERDICTS).read_text(encoding="utf-8"), "html.parser")
    kinds = [verdict["data-status"] for verdict in page.select(".verdict:has(strong)")]
    assert kinds == ["todo", "wrong", "wrong", "right"]


@pytest.mark.parametrize("page", [VERDICTS, LESSON])
def test_page_in_light(browser: Browser, address: str, page: str):
    assert visit(browser, address, page, LIGHT).found == []


@pytest.mark.parametrize("page", [VERDICTS, LESSON])
def test_page_in_dark_from_disk(browser: Browser, html: Path, page: str):
    assert visit(browser, html.as_uri() + "/", page, DARK).found == []
