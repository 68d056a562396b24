"""Every gate of `reading.py` can fail: a small page passes them; with one fault put in, the gate for it finds it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.gates import reading, test_faults
from tests.gates.tours import TOURS, Gate
from tests.gates.visits import DESKTOP, PHONE, Visit, opened

pytestmark = pytest.mark.gates

LINE = "x" * 90
SOUND = f"""<!DOCTYPE html><html lang="en"><head><title>3. Attention</title><style>
html {{ background: #111; color: #eee }} pre, .box {{ overflow: auto }}
.goes-on {{ mask-image: linear-gradient(red, red) }}
summary::after {{ content: " evidence" }}
</style></head><body><article><h1>3. Attention</h1>
<div class="picture"><svg viewBox="0 0 300 100" width="300" role="img" aria-label="a line that rises">
<path d="M0 0H300V100H0z" style="fill: none"/><text x="9" y="20" font-size="12">one</text>
<text x="9" y="60" font-size="12">two</text></svg></div>
<p>Some text, and √d<sub>k</sub>.</p><pre class="goes-on">{LINE}</pre>
<div class="box formula goes-on">{LINE}</div><div class="box table goes-on"><table><td>{LINE}</td></table></div>
<div class="box figure goes-on"><svg width="900" height="9" role="img" aria-label="a long line"></svg></div>
<details class="claim"><summary>✓ The variance is d<sub>k</sub>, as <code>d_k</code> says.</summary></details>
<section id="laboratory"><h2>Laboratory</h2></section></article></body></html>"""

FAULTS: dict[str, tuple[Gate, str, str, str]] = {
    # what is wrong: the gate, what it says, and the fault: what is put in the place of what
    "code without a cue": (reading.cues, "without a cue: <pre", '<pre class="goes-on">', "<pre>"),
    "formula without a cue": (reading.cues, 'without a cue: <div class="box formula', "formula goes-on", "formula"),
    "table without a cue": (reading.cues, 'without a cue: <div class="box table', "table goes-on", "table"),
    "figure without a cue": (reading.cues, 'without a cue: <div class="box figure', "figure goes-on", "figure"),
    "a cue that is not seen": (reading.cues, "cut off", "mask-image: linear-gradient(red, red)", ""),
    "a cue for nothing": (reading.cues, "is whole: <div", '"picture"', '"picture goes-on"'),
    "cut for good": (reading.cues, "cut off", "{ overflow: auto }", "{ overflow: hidden }"),
    "cut for little": (
        reading.cues, "320 px in 300", "<p>", '<div class="math box" style="width: 300px"><p style="width: 320px">',
    ),
    "cut figure": (reading.cues, "300 px in 200", '"picture"', '"picture" style="overflow: auto; width: 200px"'),
    "cut code": (reading.cues, "scrolls and need not", "<pre", '<div class="cell_input"><pre'),
    "words in one": (reading.words, "says.evidence", '" evidence"', '"evidence"'),
    "small text": (reading.letters, "letters of 8.0 px: Some", "<p>", '<p style="font-size: 8px">'),
    "shrunk drawing": (reading.letters, "letters of 6.0 px: one", 'width="300"', 'width="150"'),
    "white figure": (reading.ground, "white in the dark: <path", "fill: none", "fill: #ffffff"),
    "white card": (reading.ground, "white in the dark: <div", 'class="picture"', 'style="background: white"'),
    "overlap": (reading.labels, "labels overlap: one / two", 'y="60"', 'y="22"'),
    "index in a heading": (reading.notation, "Why d_k", "Laboratory</h2>", "Why d_k</h2>"),
    "TeX in a title": (reading.notation, r"\sqrt", "3. Attention</title>", r"\sqrt{d}</title>"),
    "power in a heading": (reading.notation, "by d^-½", "Laboratory</h2>", "by d^-½</h2>"),
    "index in a claim": (reading.notation, "W_Q", "as <code>", "W_Q, as <code>"),
    "nothing to see": (reading.first_screen, "shows nothing", 'class="picture"', 'style="margin-top: 99rem"'),
    "a long page": (reading.length, "screens of a phone, at most 18", "<p>", '<p style="height: 16000px">'),
}  # fmt: skip
GATES = {gate for gate, *_ in FAULTS.values()}


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Visit]:
    """A tab of a phone's size, in the dark; the pages are written into it."""
    with opened(browser, "about:", "blank", "dark", PHONE) as visit:
        yield visit


def found(tab: Visit, page: str, *gates: Gate) -> list[str]:
    """What gates find on a page that is written into the tab."""
    tab.tab.set_content(page)
    return [finding for gate in gates for finding in gate(tab)]


def test_sound_page_passes(tab: Visit):
    assert found(tab, SOUND, *GATES) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(tab: Visit, fault: str):
    gate, said, sound, faulty = FAULTS[fault]
    assert sound in SOUND
    assert any(said in finding for finding in found(tab, SOUND.replace(sound, faulty, 1), gate))


def test_length_is_judged_by_the_screen(tab: Visit):
    page = SOUND.replace("<p>", '<p style="height: 10000px">', 1)
    assert found(tab, page, reading.length) == []
    tab.tab.set_viewport_size(DESKTOP)
    assert "screens of a desktop, at most 10" in found(tab, page, reading.length)[0]
    tab.tab.set_viewport_size(PHONE)


def test_chapter_0_may_be_as_long_as_the_whole_book_in_one_sitting_and_no_longer(tab: Visit):
    page = SOUND.replace("<h1>3.", "<h1>0.")
    lengths = {height: page.replace("<p>", f'<p style="height: {height}px">', 1) for height in (16000, 20000)}
    assert found(tab, lengths[16000], reading.length) == []
    assert "screens of a phone, at most 24" in found(tab, lengths[20000], reading.length)[0]


def test_page_that_is_no_chapter_may_be_long_and_open_with_words(tab: Visit):
    page = SOUND.replace("<h1>3. ", "<h1>").replace('class="picture"', "").replace("<p>", "<p>" * 2000)
    assert found(tab, page, reading.first_screen, reading.length) == []


def test_every_gate_of_a_tour_is_shown_to_fail():
    stand = {gate for tour in TOURS for _, gates in tour.stops for gate in gates}
    assert stand == GATES | {fault.gate for fault in test_faults.FAULTS.values()}
