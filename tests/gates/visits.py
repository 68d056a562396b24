"""A page as its readers see it: served or from disk, in a tab that is watched, read from the beginning to the end."""

import functools
import gzip
import http.server
import io
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from playwright.sync_api import Browser, Error, Page, Response, ViewportSize

from tests.gates.costs import timed

SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 375, "height": 812}
PATIENCE = 3600  # frames to wait for what comes on a page that is well: a minute, and more on a busy machine
ANSWER = 300_000  # milliseconds, in which a browser at work has done what it does at once, however busy the machine
TEXT = re.compile(r"\.(html|css|js|mjs|json|svg)$")

Theme = Literal["light", "dark"]


class Stalled(Exception):
    """What the browser should fetch does not come: nothing can be said of the page, which must be opened anew."""


@dataclass
class Visit:
    """A page that is open, and what happened since it was opened."""

    tab: Page
    own: str  # where the page's site begins
    theme: Theme
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    sliders: list[str] = field(default_factory=list)  # where they stood before the theme changed
    found: list[str] = field(default_factory=list)  # by the gates, whose names come first
    measured: list[str] = field(default_factory=list)

    def go_to(self, address: str) -> None:
        """Open a page in the tab."""
        self.tab.goto(address, wait_until="load")
        self.tab.evaluate(SCRIPT, PATIENCE)

    def ask(self, question: str, *about: Any) -> Any:
        """What a function of `page.js` answers."""
        return self.evaluate(f"about => gates.{question}(...about)", list(about))

    def comes_true(self, condition: str, argument: Any = None) -> bool:
        """Wait until a condition, in JavaScript, is met; False if it never is."""
        return self.evaluate(f"argument => gates.eventually(() => {condition})", argument)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What a function of JavaScript gives; a browser that has stalled meanwhile is named.

        Asked as a condition that is met at once, as Playwright limits the time of conditions only, also where the page
        itself can no longer count it.
        """
        condition = f"async (argument) => ({{ answer: await ({script})(argument) }})"
        try:
            return self.tab.wait_for_function(condition, arg=argument).json_value().get("answer")
        except Error as error:
            if "the browser has stalled" in error.message:
                raise Stalled(f"while asked: {script[:80]}") from error
            raise


class Host(http.server.SimpleHTTPRequestHandler):
    """Serves files as static hosts do: text is compressed, and connections are kept."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing about requests."""

    def send_head(self) -> BinaryIO | None:
        """Send the headers, and return the body."""
        file = Path(self.translate_path(self.path))
        if not file.is_file() or not TEXT.search(file.name):
            return super().send_head()
        body = compressed(file, file.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(file))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)


@functools.cache
def compressed(file: Path, _changed: int) -> bytes:
    """A file as it is sent; most pages ask for the same ones."""
    return gzip.compress(file.read_bytes())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which `folder` is served while the context lasts."""
    handler = functools.partial(Host, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def opened(
    browser: Browser, own: str, page: str, theme: Theme, screen: ViewportSize = DESKTOP, javascript: bool = True
) -> Iterator[Visit]:
    """A page of the site that begins at `own`, open in a fresh tab that is watched."""
    context = browser.new_context(viewport=screen, color_scheme=theme, java_script_enabled=javascript)
    context.set_default_timeout(ANSWER)
    try:
        with watched(context.new_page(), own, page, theme) as visit:
            yield visit
    finally:
        context.close()


@contextmanager
def reopened(
    browser: Browser, own: str, page: str, theme: Theme, screen: ViewportSize = DESKTOP, javascript: bool = True
) -> Iterator[Visit]:
    """The same in a tab that has shown other pages, and remembers nothing of them; a fresh one takes twice as long.

    After an error the next visit has a fresh one.
    """
    tab = tab_to_reopen(browser, javascript)
    try:
        tab.unroute_all()
        tab.set_viewport_size(screen)
        tab.emulate_media(media="screen", color_scheme=theme)
        with watched(tab, own, page, theme) as visit:
            yield visit
            if javascript:
                tab.evaluate("[localStorage, sessionStorage].forEach((kept) => kept.clear())")
            tab.goto("about:blank")
    except Exception:
        tab.context.close()
        tab_to_reopen.cache_clear()
        raise


@functools.cache
def tab_to_reopen(browser: Browser, javascript: bool) -> Page:
    """The tab in which a browser shows one page after the other, and asks for all their files each time."""
    context = browser.new_context(java_script_enabled=javascript)
    context.set_default_timeout(ANSWER)
    tab = context.new_page()
    network = context.new_cdp_session(tab)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    return tab


@contextmanager
def watched(tab: Page, own: str, page: str, theme: Theme) -> Iterator[Visit]:
    """A page open in a tab, and a note of what happens in it."""
    visit = Visit(tab, own, theme)
    heard = {
        "pageerror": lambda error: visit.errors.append(str(error)),
        "console": lambda message: message.type == "error" and visit.errors.append(message.text),
        "request": lambda request: visit.requests.append(request.url),
        "response": lambda response: visit.responses.append(response),
    }
    for event, note in heard.items():
        tab.on(event, note)
    with timed("opening pages"):
        visit.go_to(own + page)
    yield visit
    for event, note in heard.items():
        tab.remove_listener(event, note)


# What a reader does


def arrive(visit: Visit) -> None:
    """See the page as it opens."""


def read_to_the_end(visit: Visit) -> None:
    """Unfold what is folded, scroll to the end, and wait until all charts are drawn."""
    visit.ask("read")
    visit.comes_true("gates.undrawn().length === 0")
    visit.ask("still")


def take_a_phone(visit: Visit) -> None:
    """Go on at the width of a phone."""
    resize(visit, PHONE)


def sit_down_at_a_desk(visit: Visit) -> None:
    """Go on at the width of a desktop."""
    resize(visit, DESKTOP)


def resize(visit: Visit, screen: ViewportSize) -> None:
    """Go on at another width."""
    visit.tab.set_viewport_size(screen)
    visit.ask("still")
    visit.ask("settled")


def choose_dark(visit: Visit) -> None:
    """Change the theme, and note where the sliders stood before."""
    visit.sliders = visit.ask("sliders")
    visit.theme = "dark"
    visit.tab.emulate_media(color_scheme=visit.theme)
    visit.comes_true("gates.inkIsLight()")  # it may be told a little later; `theme` says if it never is
    visit.ask("still")


def print_it(visit: Visit) -> None:
    """Lay the page out for paper, as a browser does that is told to print."""
    visit.tab.emulate_media(media="print")
    visit.tab.evaluate("dispatchEvent(new Event('beforeprint'))")


def draw_with_a_finger(tab: Page, places: Sequence[tuple[float, float]]) -> None:
    """Put a finger down at the first of some places of the screen, draw through the others, and lift it."""
    finger = tab.context.new_cdp_session(tab)
    for number, (x, y) in enumerate(places):
        kind = "touchMove" if number else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def leave(visit: Visit) -> None:
    """Wait until what the page asked for has come, so that nothing is missing from the notes."""
    visit.tab.wait_for_load_state("networkidle")
