"""Every gate can fail: a small page passes them all, and with one fault put in, the gate for that fault finds it."""

import base64
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.gates import gates

pytestmark = pytest.mark.gates

# In the place of a chart, a few lines that behave like one.
POINT = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0%200%209%209'/%3E"
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
@media (prefers-color-scheme: dark) {{ html {{ color: #eee; background: #111 }} }}
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
<svg width="99" height="9" aria-hidden="true"><rect width="50" height="9"/></svg>
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

FAULTS: dict[str, tuple[Callable, str, str, str]] = {
    # what is wrong: the gate, what it says, and the fault: what is put in the place of what
    "contrast in light": (gates.accessibility, "color-contrast", "color: #111;", "color: #ccc;"),
    "contrast in dark": (gates.accessibility, "color-contrast", "color: #eee;", "color: #333;"),
    "contrast in a fold": (gates.accessibility, "#answer", '<p id="answer">', '<p id="answer" style="color: #999">'),
    "control without a name": (gates.accessibility, "label", ' aria-label="its length"', ""),
    "error of a script": (gates.console, "nowhere is not defined", "const slider", "nowhere(); const slider"),
    "missing file": (gates.console, "404", 'href="data:,"', 'href="missing.ico"'),
    "request to another host": (gates.other_hosts, "https://example.org/", f'src="{POINT}"', 'src="https://example.org/"'),
    "connection to another host": (
        gates.other_hosts, "https://example.org/", "<style>", '<link rel="preconnect" href="https://example.org/"><style>'
    ),
    "cut off at the left": (gates.overflow, "cut off at the left", "<main>", '<main><p style="margin-left: -40px">'),
    "too wide for a phone": (gates.overflow, "screen of 375 px", 'width="9" height="9">', 'width="400" height="9">'),
    "no description": (gates.descriptions, "''", "a picture of one point", ""),
    "file name as description": (gates.descriptions, "plot.png", "a picture of one point", "_images/plot.png"),
    "heavy page": (gates.weight, "250,000", "<details>", "<!--FILLER--><details>"),
}  # fmt: skip
CHART_FAULTS = {  # what it says, and the fault: what is put in the place of what
    "not drawn": ("not drawn", '<svg width="99" height="9" aria-hidden="true"><rect width="50" height="9"/></svg>', ""),
    "not described": ("not described", "a bar of a certain length", "chart"),
    "slider without effect": ("changes nothing", "slider.value)", "50)"),
    "slider deaf to keys": ("does not move", "slider.oninput", "slider.onkeydown = () => false; slider.oninput"),
    "slider reset by the theme": (
        "after a change of theme", "slider.oninput", "matchMedia('(prefers-color-scheme: dark)').onchange"
        " = () => { slider.value = 50 }; slider.oninput"
    ),
    "nothing in print": ("in print", "</style>", "@media print { .chart { display: none } }</style>"),
    "nothing without JavaScript": (
        "without JavaScript", "</style>", "@media (scripting: none) { .chart * { display: none } }</style>"
    ),
}  # fmt: skip
LINKS = {  # an address that leads nowhere, and what the gate says
    "missing.html": "no such file",
    "#missing": "no such anchor",
    "page.html#missing": "no such anchor",
}


def planted(old: str, new: str) -> str:
    """The sound page with `new` in the place of `old`."""
    assert SOUND.count(old) >= 1, f"the sound page holds no {old!r}"
    return SOUND.replace(old, new)


@contextmanager
def site(folder: Path, text: str) -> Iterator[str]:
    """A site of one page, served."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    with gates.served(folder) as address:
        yield address


def found_in(findings: list[str], expected: str) -> bool:
    return any(expected in finding for finding in findings)


def test_sound_page_passes(browser: Browser, debugging_port: int, tmp_path: Path):
    with site(tmp_path, SOUND) as own:
        for theme in ("light", "dark"):
            notes = gates.visit(browser, own + "page.html", own, theme)
            assert {gate.__name__: gate(notes) for gate in gates.NOTED} == {gate.__name__: [] for gate in gates.NOTED}
        assert gates.charts(browser, own + "page.html", own) == []
        scores, findings = gates.lighthouse(own + "page.html", debugging_port)
        assert findings == [] and scores["accessibility"] == 100
    assert gates.from_disk(browser, tmp_path, "page.html") == []
    assert gates.valid_html(tmp_path, ["page.html"]) == []
    assert gates.links(tmp_path, ["page.html"]) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(browser: Browser, tmp_path: Path, fault: str):
    gate, expected, old, new = FAULTS[fault]
    theme = "dark" if "dark" in fault else "light"
    with site(tmp_path, planted(old, new).replace("FILLER", noise(gates.HEAVIEST))) as own:
        assert found_in(gate(gates.visit(browser, own + "page.html", own, theme)), expected)


def noise(length: int) -> str:
    """Text that does not compress below `length` bytes."""
    return base64.b64encode(random.Random(0).randbytes(length)).decode()


@pytest.mark.parametrize("fault", CHART_FAULTS)
def test_fault_of_a_chart_is_found(browser: Browser, tmp_path: Path, fault: str):
    expected, old, new = CHART_FAULTS[fault]
    with site(tmp_path, planted(old, new)) as own:
        assert found_in(gates.charts(browser, own + "page.html", own), expected)


@pytest.mark.parametrize("link", LINKS)
def test_broken_link_is_found(tmp_path: Path, link: str):
    (tmp_path / "page.html").write_text(planted('href="#top"', f'href="{link}"'), encoding="utf-8")
    assert found_in(gates.links(tmp_path, ["page.html"]), LINKS[link])


def test_fault_of_a_page_opened_from_disk_is_found(browser: Browser, tmp_path: Path):
    fault = planted("<script>", "<script>fetch('page.html').catch(error => console.error(String(error)));")
    (tmp_path / "page.html").write_text(fault, encoding="utf-8")
    assert found_in(gates.from_disk(browser, tmp_path, "page.html"), "fetch")


def test_invalid_html_is_found(tmp_path: Path):
    (tmp_path / "page.html").write_text(planted("<details>", '<p id="top"><details>'), encoding="utf-8")
    assert found_in(gates.valid_html(tmp_path, ["page.html"]), "Duplicate ID")


@pytest.mark.parametrize(
    ("expected", "old", "new"),
    [
        ("accessibility", ' aria-label="its length"', ""),
        ("best-practices", "const slider", "nowhere();\nconst slider"),
        ("seo", '<meta name="description" content="A page that passes every gate.">', ""),
    ],
    ids=gates.PERFECT,
)
def test_lighthouse_finds_a_fault(
    browser: Browser, debugging_port: int, tmp_path: Path, expected: str, old: str, new: str
):
    with site(tmp_path, planted(old, new)) as own:
        assert found_in(gates.lighthouse(own + "page.html", debugging_port)[1], expected)


@pytest.mark.parametrize("service", ["colab.research.google.com/github", "mybinder.org/v2/gh"])
def test_missing_launch_link_is_found(service: str):
    links = (
        '<a href="https://colab.research.google.com/github/a/b/blob/main/book/page.ipynb">Colab</a>'
        '<a href="https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/book/page.ipynb">Binder</a>'
    )
    assert gates.launch_links("book/page.html", links, "a/b") == []
    wrong = links.replace(f"{service}/a/", f"{service}/other/")
    assert found_in(gates.launch_links("book/page.html", wrong, "a/b"), service)


def test_spelling_mistake_is_found(tmp_path: Path):
    for text, status in (("The model learns.", 0), ("T" + "eh model learns.", 65)):
        (tmp_path / "text.md").write_text(text, encoding="utf-8")
        assert subprocess.run([sys.executable, "-m", "codespell_lib", "text.md"], cwd=tmp_path).returncode == status


def test_silent_search_is_found(browser: Browser, tmp_path: Path):
    with site(tmp_path, SOUND) as own:
        assert found_in(gates.search(browser, own + "page.html", own, "attention"), "no result")
