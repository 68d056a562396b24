"""The browser that the gates use, and the report they end with."""

import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.gates import gates
from tests.gates.book import HTML
from tools.print_book import find_browser

QUIET = ("gpu", "background-networking", "component-update", "sync")


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
    arguments = ["--no-sandbox", *(f"--disable-{feature}" for feature in QUIET)]
    arguments.append(f"--remote-debugging-port={debugging_port}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The book, served on this machine."""
    with gates.served(HTML) as address:
        yield address


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as "measured": it is reported, not judged."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [line for report in reports for name, line in report.user_properties if name == "measured"]
    if lines:
        terminalreporter.section("measured, not judged")
        terminalreporter.write_line("\n".join(sorted(lines)))
