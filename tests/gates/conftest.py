"""The browser that the gates use, and the report they end with."""

import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.gates.book import HTML
from tests.gates.costs import SPENT
from tests.gates.visits import ANSWER, served
from tools import build_book, chapters, front_page
from tools.print_book import find_browser

SMALL_BOOK = Path(__file__).with_name("fixture_book")
SHARED = ("_config.yml", "book/assets", "book/references.bib", "tools/pages")  # with the real book
QUIET = ("gpu", "background-networking", "component-update", "sync")
THIS_MACHINE_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # so that every machine sees the same


expect.set_options(timeout=ANSWER)  # not five seconds, which a busy machine may need


@pytest.fixture(scope="session")
def debugging_port() -> int:
    """A free port, at which Lighthouse finds the browser."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def browser(debugging_port: int) -> Iterator[Browser]:
    """Headless Chromium: the one that $CHROMIUM names, or the first that is installed."""
    found = find_browser()
    if found is None:
        pytest.exit(
            "The gates need Chromium or Chrome, and none was found. Install one (on Debian: "
            "sudo apt install chromium) or name its program: CHROMIUM=/path/to/chrome make gates",
            returncode=2,
        )
    arguments = ["--no-sandbox", THIS_MACHINE_ONLY, *(f"--disable-{feature}" for feature in QUIET)]
    arguments.append(f"--remote-debugging-port={debugging_port}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments, timeout=0)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The book, served on this machine."""
    with served(HTML) as address:
        yield address


@pytest.fixture(scope="session")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small book's pages, built with the configuration of the real one."""
    root = shutil.copytree(SMALL_BOOK, tmp_path_factory.mktemp("small") / "root")
    for name in SHARED:
        (root / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (chapters.ROOT / name).is_dir() else shutil.copy
        copy(chapters.ROOT / name, root / name)
    sources = {path.name: nbformat.read(path, as_version=4) for path in chapters.sources(root)}
    executed = {root / "book" / name: done for name, done in chapters.execute(root / "book", sources).items()}
    assert all(map(chapters.finished, executed.values())), "a cell failed"
    staged = build_book.stage(root, executed)
    front_page.write(staged, executed)
    assert build_book.build_html(root, staged), "the pages have warnings"
    return root / "_build" / "html"


@pytest.fixture(scope="session")
def small_address(small_book: Path) -> Iterator[str]:
    """The small book, served on this machine."""
    with served(small_book) as address:
        yield address


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to go on where pytest-xdist does not keep groups: each process would build what is to be built once."""
    grouped = [item for item in items if item.get_closest_marker("xdist_group")]
    if config.getoption("loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist keeps no groups with this pytest; requirements.txt names another")


@pytest.fixture(autouse=True)
def note_costs(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Let each test's report carry what its gates cost."""
    SPENT.clear()
    yield
    record_property("spent", dict(SPENT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as "measured", and what each gate cost: it is reported, not judged."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports if ended(report)]
    measured = [value for report in reports for name, value in report.user_properties if name == "measured"]
    if reports:
        terminalreporter.section("measured, not judged")
        terminalreporter.write_line("\n".join([*sorted(measured), "", f"{'seconds':>9}  gate", *costs(reports)]))


def ended(report: object) -> bool:
    """Whether it is the last report of a test, which holds all that was recorded."""
    return isinstance(report, pytest.TestReport) and report.when == "teardown"


def costs(reports: list[pytest.TestReport]) -> list[str]:
    """A line for each gate, the dearest first; what a file's tests took besides is one more, and so are the faults."""
    costs: Counter[str] = Counter()
    for report in reports:
        properties, file = dict(report.user_properties), Path(report.location[0]).name
        spent = {} if file == "test_faults.py" else properties.get("spent", {})
        costs.update({**spent, f"all else in {file}": properties["took"]["wall"] - sum(spent.values())})
    return [f"{seconds:>9.1f}  {name}" for name, seconds in costs.most_common()]
