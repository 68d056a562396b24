"""Every gate of `reading` can fail: a small page passes them all; with one fault put in, the gate for it finds it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.gates import gates, reading

pytestmark = pytest.mark.gates

LINE = "x" * 90
SOUND = f"""<!DOCTYPE html><html lang="en"><head><title>3. Attention</title><style>
html {{ background: #111; color: #eee }} pre {{ overflow: auto }} .goes-on {{ mask-image: linear-gradient(red, red) }}
</style></head><body><article><h1>3. Attention</h1>
<div class="picture"><svg viewBox="0 0 300 100" width="300" role="img" aria-label="a line that rises">
<path d="M0 0H300V100H0z" style="fill: none"/><text x="9" y="20" font-size="12">one</text>
<text x="9" y="60" font-size="12">two</text></svg></div>
<p>Some text, and √d<sub>k</sub>.</p><pre class="goes-on">{LINE}</pre>
<details class="claim"><summary>✓ The variance is d<sub>k</sub>, as <code>d_k</code> says.</summary></details>
<section id="laboratory"><h2>Laboratory</h2></section></article></body></html>"""

FAULTS: dict[str, tuple[Callable, str, str, str]] = {
    # what is wrong: the gate, what it says, and the fault: what is put in the place of what
    "no cue": (reading.cut_off, "cut off", '<pre class="goes-on">', "<pre>"),
    "a cue that is not seen": (reading.cut_off, "cut off", "mask-image: linear-gradient(red, red)", ""),
    "cut for good": (reading.cut_off, "cut off", "pre { overflow: auto }", "pre { overflow: hidden }"),
    "small text": (reading.small_letters, "letters of 8.0 px: Some", "<p>", '<p style="font-size: 8px">'),
    "shrunk drawing": (reading.small_letters, "letters of 6.0 px: one", 'width="300"', 'width="150"'),
    "white figure": (reading.white, "white in the dark: <path", "fill: none", "fill: #ffffff"),
    "white card": (reading.white, "white in the dark: <div", 'class="picture"', 'style="background: white"'),
    "overlap": (reading.overlapping_labels, "labels overlap: one / two", 'y="60"', 'y="22"'),
    "index in a heading": (reading.raw_notation, "Why d_k", "Laboratory</h2>", "Why d_k</h2>"),
    "TeX in a title": (reading.raw_notation, r"\sqrt", "3. Attention</title>", r"\sqrt{d}</title>"),
    "index in a claim": (reading.raw_notation, "W_Q", "as <code>", "W_Q, as <code>"),
    "nothing to see": (reading.first_screen, "shows nothing", 'class="picture"', 'style="margin-top: 99rem"'),
    "a long page": (reading.length, "screens, at most 18", "<p>", '<p style="height: 16000px">'),
}  # fmt: skip
GATES = (*reading.ON_A_PHONE, *reading.IN_THE_DARK, *reading.AS_IT_OPENS, *reading.ANYWHERE)


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """A tab of a phone's size, in the dark."""
    page = browser.new_page(viewport=gates.PHONE, color_scheme="dark")
    yield page
    page.close()


def test_sound_page_passes(tab: Page):
    tab.set_content(SOUND)
    assert [finding for gate in GATES for finding in gate(tab)] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(tab: Page, fault: str):
    gate, said, sound, faulty = FAULTS[fault]
    assert SOUND.count(sound) >= 1
    tab.set_content(SOUND.replace(sound, faulty, 1))
    assert any(said in finding for finding in gate(tab))


def test_chapter_that_is_not_rewritten_may_be_as_it_was(tab: Page):
    tab.set_content(SOUND.replace("laboratory", "anything").replace('class="picture"', "").replace("<p>", "<p>" * 2000))
    assert reading.first_screen(tab) == reading.length(tab) == []


def test_link_to_the_top_of_a_chapter_is_found(tmp_path: Path):
    (tmp_path / "book").mkdir()
    page = tmp_path / "book" / "paper_map.html"
    link = '<article><table><td><a class="internal" href="03_attention.html{}">3</a></td></table></article>'
    page.write_text(link.format("#why"))
    assert reading.links_to_tops(tmp_path, "book/paper_map.html") == []
    page.write_text(link.format(""))
    assert reading.links_to_tops(tmp_path, "book/paper_map.html") != []


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
    (tmp_path / "_static" / "sections.js").write_text(f"window.BOOK_SECTIONS = [\n{entry}\n];\n")
    found = reading.search_entries(tmp_path)
    assert found == [] if said is None else any(said in finding for finding in found)
