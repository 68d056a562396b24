"""Live figures in a browser: moved by mouse, keys and finger, they show what Python computes for the same arrows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, Locator, Page, expect

from tests.gates.visits import PHONE, Visit, draw_with_a_finger, opened
from transformer.tutor import live

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("small book")]

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
GEOMETRY = ("d", "points", "cx", "cy", "x", "y", "text-anchor", "stroke-width")
IT = 2  # the row of the asking word
ATTENTION, SECOND, BROKEN, SOFTMAX = range(4)  # the figures of the page


@pytest.fixture(scope="module", name="page")
def crowded_page(small_book: Path) -> str:
    """A page with two figures of one kind that begin alike, one whose data is broken, and one of another kind."""
    soup = BeautifulSoup((small_book / "book" / "03_laboratory.html").read_text(encoding="utf-8"), "html.parser")
    first = soup.select_one('[data-live="attention_by_hand"]')
    for data in ("{broken", first["data-state"]):
        first.insert_after(BeautifulSoup(str(first), "html.parser"))
        first.find_next_sibling()["data-state"] = data
    (small_book / "book" / "crowded.html").write_text(str(soup), encoding="utf-8")
    return "book/crowded.html"


@pytest.fixture(scope="module")
def desk(browser: Browser, small_address: str, page: str) -> Iterator[Visit]:
    """The page on a desktop, open for all tests."""
    with opened(browser, small_address, page, "light") as visit:
        yield visit


@pytest.fixture
def figures(desk: Visit) -> list[Locator]:
    """The figures of the page, as they open."""
    for button in desk.tab.locator(".live-reset").all():
        button.click()
    return desk.tab.locator(".live").all()


def parsed(figure: Locator | live.Live) -> Tag:
    """A figure, as the page has it now or as Python draws it, without what only the page adds."""
    text = figure._repr_html_() if isinstance(figure, live.Live) else figure.evaluate("figure => figure.outerHTML")
    soup = BeautifulSoup(text, "html.parser")
    for added in soup.select(".handle, .live-controls"):
        added.decompose()
    return soup


def drawn(figure: Locator | live.Live) -> tuple[list[str], list[float], list[float]]:
    """All that a figure shows: its words, with the numbers taken out; the numbers; and its places, in pixels."""
    figure, texts, places = parsed(figure), [], []
    for element in figure.select("path, polygon, circle, text, td, [data-says]"):
        texts.append(element.get_text().replace("−", "-"))
        places += [str(element.get(name, "")) for name in GEOMETRY]
    for row in figure.select("tbody tr"):
        places += re.findall(r"/ ([\d.]+%) 4px", row["style"])  # how long its bar is
    words = NUMBER.sub("#", " ".join([*texts, *places])).split()
    return words, *([float(number) for number in NUMBER.findall(" ".join(part))] for part in (texts, places))


def assert_same(figure: Locator, expected: live.Live) -> None:
    """A figure shows what Python draws, but for the rounding of last digits."""
    (words, numbers, places), (expected_words, expected_numbers, expected_places) = drawn(figure), drawn(expected)
    assert words == expected_words
    assert numbers == pytest.approx(expected_numbers, abs=0.011)
    assert places == pytest.approx(expected_places, abs=0.11)


def moved(name: str, row: int, vector: tuple[float, float], asking: str = "it") -> live.Live:
    """What Python draws when one arrow ends elsewhere."""
    arrows = [list(arrow) for arrow in getattr(live, name.upper())]
    arrows[row] = list(vector)
    return live.attention_by_hand(**{name: arrows}, asking=asking)


def drag(tab: Page, handle: Locator, right: float, down: float) -> None:
    """Drag a handle by so many pixels of the drawing."""
    handle.scroll_into_view_if_needed()
    box = handle.locator(".hit").bounding_box()
    scale = handle.evaluate("handle => handle.ownerSVGElement.getScreenCTM().a")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 3, y)
    tab.mouse.move(x + scale * right, y + scale * down)
    tab.mouse.up()


def test_script_opens_with_python_s_numbers(figures: list[Locator]):
    assert_same(figures[ATTENTION], live.attention_by_hand())
    assert_same(figures[SOFTMAX], live.softmax_by_hand())
    assert figures[ATTENTION].locator(".handle").count() == 9 and figures[SOFTMAX].locator(".handle").count() == 5


def test_broken_data_is_told_and_leaves_the_picture(desk: Visit, figures: list[Locator]):
    assert_same(figures[BROKEN], live.attention_by_hand())
    assert figures[BROKEN].locator(".handle").count() == 0
    assert len(desk.errors) == 1 and "attention_by_hand stays a picture" in desk.errors[0]


@pytest.mark.parametrize(
    ("kind", "name", "nth", "row"), [("query", "queries", 0, IT), ("key", "keys", 3, 3), ("value", "values", 0, 0)]
)
def test_arrows_follow_the_mouse(desk: Visit, figures: list[Locator], kind: str, name: str, nth: int, row: int):
    unit = live.attention_by_hand().state["unit"]
    x, y = getattr(live, name.upper())[row]
    drag(desk.tab, figures[ATTENTION].locator(f".handle.{kind}").nth(nth), 0.3 * unit, 0.7 * unit)
    assert_same(figures[ATTENTION], moved(name, row, (x + 0.3, y - 0.7)))
    assert_same(figures[SECOND], live.attention_by_hand())
    figures[ATTENTION].locator(".live-reset").click()
    assert_same(figures[ATTENTION], live.attention_by_hand())


def test_arrows_follow_the_keys_and_say_where_they_are(figures: list[Locator]):
    handle = figures[ATTENTION].locator(".handle.query")
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowDown", "Shift+ArrowDown", "ArrowDown", "ArrowLeft"):
        handle.press(key)
    x, y = live.QUERIES[IT]
    expected = moved("queries", IT, (x + 0.5, y - 0.7))
    assert_same(figures[ATTENTION], expected)
    shares = [row.select("td")[2].text for row in parsed(expected).select("tbody tr")]
    told = ", ".join(f"{share} from {word}" for share, word in zip(shares, live.WORDS, strict=True))
    assert handle.get_attribute("aria-valuetext") == f"{x + 0.5:.1f} across, {y - 0.7:.1f} up; it takes {told}"


@pytest.mark.parametrize("asking", live.WORDS)
def test_what_the_asking_word_does_lies_on_no_label(desk: Visit, figures: list[Locator], asking: str):
    figure, unit = figures[ATTENTION], live.attention_by_hand().state["unit"]
    x, y = live.QUERIES[live.WORDS.index(asking)]
    figure.get_by_role("button", name=asking, exact=True).click()
    assert desk.ask("overlaps") == []
    for share in (0.6, 0.9):  # of the way to the key of each word, along which its label lies
        for to_x, to_y in live.KEYS:
            drag(desk.tab, figure.locator(".handle.query"), unit * (share * to_x - x), unit * (y - to_y))
            expected = moved("queries", live.WORDS.index(asking), (share * to_x, to_y), asking)
            assert_same(figure, expected)
            assert desk.ask("overlaps") == [], (share, to_x, to_y)
            figure.locator(".live-reset").click()
            figure.get_by_role("button", name=asking, exact=True).click()


def test_no_arrow_leaves_its_plane(figures: list[Locator]):
    handle = figures[ATTENTION].locator(".handle.query")
    for _ in range(8):
        handle.press("Shift+ArrowLeft")
    reach = live.attention_by_hand().state["reach"]
    assert handle.get_attribute("aria-valuetext").startswith(f"{-reach:.1f} across")
    handle.press("End")
    assert handle.get_attribute("aria-valuetext").startswith(f"{reach:.1f} across")
    handle.press("Home")
    assert handle.get_attribute("aria-valuetext").startswith(f"{-reach:.1f} across")


def test_what_is_read_out_of_a_figure_stays_true(figures: list[Locator]):
    for kind in (ATTENTION, SOFTMAX):
        assert figures[kind].locator(".live-says").get_attribute("aria-live") == "polite"
        label = figures[kind].get_attribute("aria-label")
        assert label and not re.search(r"\d", label), "a number in the label would not follow"


def test_another_word_asks(figures: list[Locator]):
    figures[ATTENTION].get_by_role("button", name="woman").click()
    assert_same(figures[ATTENTION], live.attention_by_hand(asking="woman"))


def test_scores_follow_mouse_and_keys(desk: Visit, figures: list[Locator]):
    scores = list(live.SCORES)
    drag(desk.tab, figures[SOFTMAX].locator(".handle").nth(1), 1.5 * live.STEP, 0)
    scores[1] += 1.5
    figures[SOFTMAX].locator(".handle").nth(4).press("ArrowUp")
    figures[SOFTMAX].locator(".handle").nth(4).press("Shift+ArrowLeft")
    scores[4] -= 0.4
    assert_same(figures[SOFTMAX], live.softmax_by_hand(scores=scores))


def test_factor_follows_the_slider(figures: list[Locator]):
    slider = figures[SOFTMAX].get_by_role("slider", name="factor of all scores")
    for _ in range(2):
        slider.press("ArrowLeft")
    assert_same(figures[SOFTMAX], live.softmax_by_hand(factor=7))
    slider.press("Home")
    assert slider.get_attribute("aria-valuetext") == "times 1; the steepest slope is 0.25"
    assert_same(figures[SOFTMAX], live.softmax_by_hand(factor=1))


def test_bound_too_small_for_two_digits_is_told_as_such(figures: list[Locator]):
    handle = figures[SOFTMAX].locator(".handle").first
    for _ in range(12):
        handle.press("Shift+ArrowRight")
    assert "less than 0.01" in figures[SOFTMAX].locator(".live-says").inner_text()


def test_merging_keeps_the_focus_at_its_end(desk: Visit, figures: list[Locator]):
    figure = desk.tab.locator("[data-live=merge_by_hand]")
    figure.get_by_role("textbox").fill("ab")
    merge = figure.get_by_role("button", name="Merge")
    for _ in range(2):
        merge.press("Enter")
        expect(figure.locator(".live-says")).to_have_text("Merges: 1. Pieces: 1.")
    expect(merge).to_have_attribute("aria-disabled", "true")
    expect(merge).to_be_focused()


def test_finger_moves_an_arrow_from_disk(browser: Browser, small_book: Path, page: str):
    context = browser.new_context(viewport=PHONE, has_touch=True, color_scheme="dark", reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(f"{small_book.as_uri()}/{page}")
    figure = tab.locator(".live").first
    handle = figure.locator(".handle.value").first
    tab.evaluate("document.querySelector('.live .mix').scrollIntoView({ block: 'center', behavior: 'instant' })")
    box, top = handle.locator(".hit").bounding_box(), tab.evaluate("scrollY")
    scale = handle.evaluate("handle => handle.ownerSVGElement.getScreenCTM().a")
    assert scale * 14 > 9 and box["width"] >= 24  # letters to be read, and room for a finger
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    unit = scale * json.loads(figure.get_attribute("data-state"))["unit"]
    draw_with_a_finger(tab, [(x, y - up * unit) for up in (0, 0.3, 1)])
    across, up = live.VALUES[0]
    assert_same(figure, moved("values", 0, (across, up + 1)))
    assert tab.evaluate("scrollY") == top  # the page stayed where it was
    context.close()
