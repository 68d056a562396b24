"""A small book, built with the configuration of the real one: a chart with a slider, and a verdict of each kind."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from tests.gates import gates
from tools import build_book, chapters

pytestmark = pytest.mark.gates

SOURCE = Path(__file__).with_name("fixture_book")
SHARED = ("_config.yml", "book/assets", "book/references.bib", "tools/pages")
PAGE = "book/chart.html"
VERDICTS = "book/exercises.html"


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
    with gates.served(html) as address:
        yield address


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", [PAGE, VERDICTS])
def test_visit(browser: Browser, address: str, page: str, theme: gates.Theme):
    notes = gates.visit(browser, address + page, address, theme)
    found: dict[Callable, list[str]] = {gate: gate(notes) for gate in gates.NOTED}
    assert {gate.__name__: findings for gate, findings in found.items() if findings} == {}


def test_each_kind_of_verdict_is_on_the_page(html: Path):
    page = BeautifulSoup((html / VERDICTS).read_text(encoding="utf-8"), "html.parser")
    kinds = [verdict["data-status"] for verdict in page.select(".verdict:has(strong)")]
    assert kinds == ["todo", "wrong", "wrong", "right"]


def test_chart(browser: Browser, address: str):
    assert gates.charts(browser, address + PAGE, address) == []


def test_opened_from_disk(browser: Browser, html: Path):
    assert gates.from_disk(browser, html, PAGE) == []
