"""Every gate can fail: a small page passes them all, and with one fault put in, the gate for that fault finds it."""

import base64
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import TimeoutError as NoAnswer

from tests.gates import files, gates, reading, visits
from tests.gates.tours import DARK, LIGHT, SEARCH, WITHOUT_JAVASCRIPT, Gate, Tour, visit

pytestmark = pytest.mark.gates

# In the place of a chart, a few lines that behave like one.
POINT = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0%200%209%209'/%3E"
DRAWING = '<svg width="99" height="9" aria-hidden="true"><rect width="50" height="9"/></svg>'
SOUND = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="A page that passes every gate.">
<title>A sound page</title>
<link rel="icon" href="data:,">
<style>
html {{ color: #111; background: #fff }}
@media screen and (prefers-color-scheme: dark) {{ html {{ color: #eee; background: #111 }} }}
a {{ color: inherit }}
</style>
</head>
<body>
<main>
<h1 id="top">A sound page</h1>
<p><a href="#top">To the top</a></p>
<details><summary>Answer</summary><p id="answer">Forty-two</p></details>
<img src="{POINT}" alt="a picture of one point" width="9" height="9">
<div class="chart">
<img src="{POINT}" alt="a bar of a certain length" width="9" height="9">
<div class="chart-live">
{DRAWING}
<input type="range" aria-label="its length" min="0" max="99" value="50">
</div>
</div>
</main>
<script>
const slider = document.querySelector("input");
slider.oninput = () => document.querySelector("rect").setAttribute("width", slider.value);
</script>
</body>
</html>
"""


class Fault(NamedTuple):
    """A fault: on which tour which gate finds it and what it says, and what is put in the place of what."""

    tour: Tour
    gate: Gate
    expected: str
    old: str = ""
    new: str = ""


FAULTS = {
    "contrast in light": Fault(LIGHT, gates.accessibility, "color-contrast", "color: #111;", "color: #ccc;"),
    "contrast in dark": Fault(DARK, gates.contrast, "color-contrast", "color: #eee;", "color: #333;"),
    "contrast in a fold": Fault(
        LIGHT, gates.accessibility, "#answer", '<p id="answer">', '<p id="answer" style="color: #999">'
    ),
    "contrast in a fold in dark": Fault(
        DARK, gates.contrast, "#answer", '<p id="answer">', '<p id="answer" style="color: #555">'
    ),
    "contrast in code": Fault(
        LIGHT, gates.accessibility, "#comment", "<details>",
        '<pre><i>if</i> <i>if</i> <i>if</i> <i>if</i> <i id="comment" style="color: #999"># why</i></pre><details>',
    ),
    "control without a name": Fault(LIGHT, gates.accessibility, "label", ' aria-label="its length"', ""),
    "control without a name, on a phone": Fault(
        LIGHT, gates.accessibility_on_a_phone, "#menu", "</main>",
        '<button id="menu"></button><style>@media (width > 400px) { #menu { display: none } }</style></main>',
    ),
    "always light": Fault(DARK, gates.theme, "dark theme", "prefers-color-scheme: dark)", "width < 0)"),
    "deaf to a change of theme": Fault(
        LIGHT, gates.theme, "dark theme", "prefers-color-scheme: dark)", "width < 0)"
    ),
    "always dark": Fault(
        LIGHT, gates.theme, "light theme", "color: #111; background: #fff", "color: #eee; background: #111"
    ),
    "error of a script": Fault(
        LIGHT, gates.console, "nowhere is not defined", "const slider", "nowhere(); const slider"
    ),
    "error of a script from disk": Fault(
        DARK, gates.console, "fetch", "<script>", "<script>fetch('sound.html').catch(e => console.error(String(e)));"
    ),
    "missing file": Fault(LIGHT, gates.console, "404", "<style>", '<link rel="stylesheet" href="missing.css"><style>'),
    "request to another host": Fault(
        LIGHT, gates.other_hosts, "https://example.org/", f'src="{POINT}"', 'src="https://example.org/"'
    ),
    "request to another host from disk": Fault(
        DARK, gates.other_hosts, "https://example.org/", f'src="{POINT}"', 'src="https://example.org/"'
    ),
    "connection to another host": Fault(
        LIGHT, gates.other_hosts, "https://example.org/", "<style>",
        '<link rel="preconnect" href="https://example.org/"><style>',
    ),
    "cut off at the left": Fault(
        LIGHT, gates.overflow, "cut off at the left", "<main>", '<main><p style="margin-left: -40px">'
    ),
    "too wide for a phone": Fault(
        LIGHT, gates.overflow, "screen of 375 px", 'width="9" height="9">', 'width="400" height="9">'
    ),
    "no description": Fault(LIGHT, gates.descriptions, "''", "a picture of one point", ""),
    "file name as description": Fault(
        LIGHT, gates.descriptions, "plot.png", "a picture of one point", "_images/plot.png"
    ),
    "heavy page": Fault(LIGHT, gates.weight, "250,000", "<details>", "<!--FILLER--><details>"),
    "chart not drawn": Fault(LIGHT, gates.drawn, "chart 0", DRAWING, ""),
    "chart not drawn from disk": Fault(DARK, gates.drawn, "chart 0", DRAWING, ""),
    "chart gone after a change of theme": Fault(
        LIGHT, gates.drawn, "chart 0", "slider.oninput",
        "matchMedia('(prefers-color-scheme: dark)').onchange = () => slider.previousElementSibling.remove();"
        " slider.oninput",
    ),
    "chart not described": Fault(LIGHT, gates.chart_descriptions, "'chart", "a bar of a certain length", "chart"),
    "slider without effect": Fault(LIGHT, gates.keyboard, "changes nothing", "slider.value)", "50)"),
    "slider deaf to keys": Fault(
        LIGHT, gates.keyboard, "does not move", "slider.oninput", "slider.onkeydown = () => false; slider.oninput"
    ),
    "slider reset by the theme": Fault(
        LIGHT, gates.choices_kept, "after a change of theme", "slider.oninput",
        "matchMedia('(prefers-color-scheme: dark)').onchange = () => { slider.value = 0 }; slider.oninput",
    ),
    "nothing in print": Fault(
        LIGHT, gates.seen, "chart 0", "</style>", "@media print { .chart { display: none } }</style>"
    ),
    "dark paper": Fault(LIGHT, gates.paper, "is printed", "screen and ", ""),
    "dead button": Fault(WITHOUT_JAVASCRIPT, gates.alive, "<button", "<details>", "<button>Search</button><details>"),
    "nothing without JavaScript": Fault(
        WITHOUT_JAVASCRIPT, gates.seen, "chart 0", "</style>",
        "@media (scripting: none) { .chart * { display: none } }</style>",
    ),
    "code that goes on without JavaScript": Fault(
        WITHOUT_JAVASCRIPT, reading.shadows, "without a shadow: <pre", "<details>",
        f'<article><pre style="overflow: auto">{"x" * 90}</pre></article><details>',
    ),
    "silent search": Fault(SEARCH, reading.search, "no result for 'BERT'"),
    "search that leads elsewhere": Fault(
        SEARCH, reading.search, "'BERT' does not lead to #one-side", "<details>",
        '<ul id="search-results"><li><a href="#top">Top</a></li></ul><details>',
    ),
    "search that leads to exercises first": Fault(
        SEARCH, reading.search, "'noam' leads to", "<details>",
        '<ul id="search-results"><li><a href="#exercises">Exercises</a></li>'
        '<li><a href="#why-the-rate-rises-first">Why</a></li></ul><details>',
    ),
    "raw notation in what is found": Fault(
        SEARCH, reading.search, "raw notation: Top d_model=512", "<details>",
        '<ul id="search-results"><li><a href="#top">Top</a> d_model=512</li></ul><details>',
    ),
}  # fmt: skip
LINKS = {  # an address that leads nowhere, and what the gate says
    "missing.html": "no such file",
    "#missing": "no such anchor",
    "page.html#missing": "no such anchor",
}


def planted(old: str, new: str, page: str = SOUND) -> str:
    """The sound page with `new` in the place of `old`."""
    assert old in page, f"the sound page holds no {old!r}"
    return page.replace(old, new)


def noise(length: int) -> str:
    """Text that does not compress below `length` bytes."""
    return base64.b64encode(random.Random(0).randbytes(length)).decode()


def found_in(findings: list[str], expected: str) -> bool:
    return any(expected in finding for finding in findings)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of pages, each with one fault."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session", name="address")
def address_of_faults(folder: Path) -> Iterator[str]:
    """That site, served on this machine."""
    with visits.served(folder) as address:
        yield address


@pytest.mark.parametrize("tour", [LIGHT, WITHOUT_JAVASCRIPT, DARK], ids=["light", "without JavaScript", "dark"])
def test_sound_page_passes(browser: Browser, folder: Path, address: str, tour: Tour):
    (folder / "sound.html").write_text(SOUND, encoding="utf-8")
    own = folder.as_uri() + "/" if tour is DARK else address
    assert visit(browser, own, "sound.html", tour).found == []


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(browser: Browser, folder: Path, address: str, monkeypatch: pytest.MonkeyPatch, fault: str):
    tour, gate, expected, old, new = FAULTS[fault]
    monkeypatch.setattr(visits, "PATIENCE", 30)  # what never comes need not be waited for long
    monkeypatch.setattr(reading, "LEADS_TO", {words: reading.LEADS_TO[words] for words in ("BERT", "noam")})
    monkeypatch.setattr(reading, "LEADS_FIRST_TO", {})
    page = f"{fault.replace(' ', '-')}.html"
    (folder / page).write_text(planted(old, new).replace("FILLER", noise(gates.HEAVIEST)), encoding="utf-8")
    own = folder.as_uri() + "/" if tour is DARK else address
    assert found_in(visit(browser, own, page, tour, only=gate).found, expected)


STALLS = {  # what a browser then no longer does, and what is raised at the second time
    "fetch fonts": ("Promise.reject(new Error('the browser has stalled: fonts are still to come'))", visits.Stalled),
    "answer": ("new Promise(() => {})", NoAnswer),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("stall", STALLS)
def test_stalled_browser_gets_a_second_visit(
    browser: Browser, folder: Path, address: str, monkeypatch: pytest.MonkeyPatch, stall: str, times: int
):
    (folder / "sound.html").write_text(SOUND, encoding="utf-8")
    stalls = iter([True] * times + [False])
    real, (reading, error) = visits.Visit.go_to, STALLS[stall]

    def go_to(self: visits.Visit, to: str) -> None:
        real(self, to)
        if next(stalls):
            self.tab.evaluate(f"() => {{ gates.read = () => {reading} }}")
            self.tab.set_default_timeout(1000 if stall == "answer" else visits.ANSWER)

    monkeypatch.setattr(visits.Visit, "go_to", go_to)
    if times == 1:
        assert visit(browser, address, "sound.html", LIGHT).found == []
    else:
        with pytest.raises(error, match="read" if error is visits.Stalled else "Timeout"):
            visit(browser, address, "sound.html", LIGHT)


@pytest.mark.parametrize("link", LINKS)
def test_broken_link_is_found(tmp_path: Path, link: str):
    (tmp_path / "page.html").write_text(planted('href="#top"', f'href="{link}"'), encoding="utf-8")
    assert found_in(files.links(tmp_path, ["page.html"]), LINKS[link])


def test_sound_link_is_not_found(tmp_path: Path):
    (tmp_path / "page.html").write_text(SOUND, encoding="utf-8")
    assert files.links(tmp_path, ["page.html"]) == []


@pytest.mark.parametrize(("anchor", "findings"), [("#why", 0), ("", 1)])
def test_link_to_the_top_of_a_chapter_is_found(tmp_path: Path, anchor: str, findings: int):
    (tmp_path / "book").mkdir()
    link = f'<article><table><td><a class="internal" href="03_attention.html{anchor}">3</a></td></table></article>'
    for page, text in zip(files.LEADING_INTO_CHAPTERS, ("", link), strict=True):
        (tmp_path / page).write_text(text, encoding="utf-8")
    assert len(files.links_to_tops(tmp_path)) == findings


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('{"at": "a.html#why", "title": "Why √d", "text": "d_k in code, and \\\\n"}', None),
        ('{"at": "a.html", "title": "Why", "text": ""}', "no section"),
        ('{"at": "a.html#id3", "title": "Why", "text": ""}', "unstable anchor"),
        ('{"at": "a.html#why", "title": "Why d_k", "text": ""}', "raw notation"),
        ('{"at": "a.html#why", "title": "Why", "text": "by \\\\sqrt{d}"}', "TeX"),
    ],
)
def test_entry_of_the_search_that_cannot_be_read_is_found(tmp_path: Path, entry: str, said: str | None):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "sections.js").write_text(f"window.BOOK_SECTIONS = [\n{entry}\n];\n", encoding="utf-8")
    found = files.search_entries(tmp_path)
    assert found == [] if said is None else found_in(found, said)


def test_chart_without_a_picture_is_found(tmp_path: Path):
    (tmp_path / "sound.html").write_text(SOUND, encoding="utf-8")
    (tmp_path / "page.html").write_text(planted('alt="a bar of a certain length"', "hidden"), encoding="utf-8")
    assert files.pictures(tmp_path, ["sound.html", "page.html"]) == ["page.html: chart 0 has no picture"]


def test_invalid_html_is_found_and_valid_html_is_not(tmp_path: Path):
    (tmp_path / "sound.html").write_text(SOUND, encoding="utf-8")
    (tmp_path / "page.html").write_text(planted("<details>", '<p id="top"><details>'), encoding="utf-8")
    findings = files.valid_html(tmp_path, ["sound.html", "page.html"])
    assert found_in(findings, "page.html") and found_in(findings, "Duplicate ID")
    assert not found_in(findings, "sound.html")


@pytest.mark.parametrize("service", ["colab.research.google.com/github", "mybinder.org/v2/gh"])
def test_missing_launch_link_is_found(tmp_path: Path, service: str):
    links = (
        '<a href="https://colab.research.google.com/github/a/b/blob/main/book/page.ipynb">Colab</a>'
        '<a href="https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/book/page.ipynb">Binder</a>'
    )
    for folder, text in (("right", links), ("wrong", links.replace(f"{service}/a/", f"{service}/other/"))):
        (tmp_path / folder / "book").mkdir(parents=True)
        (tmp_path / folder / "book" / "page.html").write_text(text, encoding="utf-8")
    assert files.launch_links(tmp_path / "right", "book/page.html", "a/b") == []
    assert found_in(files.launch_links(tmp_path / "wrong", "book/page.html", "a/b"), service)
    assert len(files.launch_links(tmp_path / "right", "book/page.html", None)) == 2, "where nobody has published it"


def test_fault_of_a_script_is_found(tmp_path: Path):
    (tmp_path / "page.js").write_text("(() => {\n  const unused = 1;\n  undefinedName();\n})();\n", encoding="utf-8")
    findings = files.sound_scripts(tmp_path)
    assert [finding.rpartition(":")[0] for finding in findings] == ["page.js:2", "page.js:3"]


def test_spelling_mistake_is_found(tmp_path: Path):
    for text, status in (("The model learns.", 0), ("T" + "eh model learns.", 65)):
        (tmp_path / "text.md").write_text(text, encoding="utf-8")
        assert subprocess.run([sys.executable, "-m", "codespell_lib", "text.md"], cwd=tmp_path).returncode == status
