"""The browser that the gates use, and the report they end with."""

import os
import shutil
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("gpu", "background-networking", "component-update", "sync")
REPORT = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def debugging_port() -> int:
    """A free port, at which Lighthouse finds the browser."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def browser(debugging_port: int) -> Iterator[Browser]:
    """Headless Chromium: the one that $CHROMIUM names, or the first that is installed."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
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
def report(pytestconfig: pytest.Config) -> dict[str, str]:
    """Lines to print at the end, one for each page."""
    return pytestconfig.stash.setdefault(REPORT, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what is measured but not judged."""
    if lines := config.stash.get(REPORT, {}):
        terminalreporter.section("Lighthouse performance on a phone, and compressed weight with charts")
        for page, line in sorted(lines.items()):
            terminalreporter.write_line(f"{line}  {page}")
