"""What readers do on a page: they predict, they choose how much of it to see, and they search."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.gates.reading import RAW
from tests.gates.visits import PHONE, draw_with_a_finger, reopened
from tools.pages.search import CODE, END, SUB, SUP

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("small book")]

NBSP = "\N{NO-BREAK SPACE}"
LESSON, OTHER = "book/03_laboratory.html", "book/exercises.html"


@pytest.fixture
def tab(browser: Browser, small_address: str) -> Iterator[Page]:
    """The lesson, as a new reader finds it."""
    with reopened(browser, small_address, LESSON, "light") as visit:
        yield visit.tab
        assert visit.errors == []


def prediction(tab: Page, name: str) -> Locator:
    return tab.locator(f"#predict-{name}")


def expect_answer(tab: Page, name: str, said: str, measured: str) -> None:
    """The guess is told, and beside it what was measured."""
    expect(prediction(tab, name).locator(".prediction-guess")).to_contain_text(said)
    expect(prediction(tab, name).locator(".prediction-answer")).to_have_attribute("open", "")
    expect(prediction(tab, name).locator(".prediction-answer p")).to_contain_text(measured)


# Predictions; the lesson's cells measure 20 % of the rows, 1.22 keys, 6 layers, and a curve that falls from 32


def test_guesses_are_answered_and_kept_on_the_device(tab: Page):
    for name in ("rows", "keys", "fall"):
        expect(prediction(tab, name).locator(".prediction-answer")).not_to_have_attribute("open", "")
    prediction(tab, "rows").get_by_role("button", name="nearly all").click()
    slider = prediction(tab, "keys").get_by_role("slider")
    slider.focus()
    slider.press("End")
    prediction(tab, "keys").get_by_role("button", name="That is my guess").press("Enter")
    points = prediction(tab, "fall").locator("circle")
    points.first.press("PageUp")
    points.first.press("ArrowRight")
    points.nth(1).press("ArrowUp")
    heights = [points.nth(i).get_attribute("aria-valuenow") for i in range(3)]
    prediction(tab, "fall").get_by_role("button", name="That is my curve").press("Enter")

    for _visit in range(2):
        expect_answer(tab, "rows", "You said: nearly all.", "a few. Only 20% of them")
        expect_answer(tab, "keys", "You said 64 keys.", "1.22 keys. One weight")
        expect_answer(tab, "fall", "Dashed: your curve.", "From 32 at 0")
        right = prediction(tab, "rows").locator(".is-right")
        expect(right).to_have_text(re.compile("a few"))
        expect(prediction(tab, "rows").locator("[aria-pressed=true]")).to_have_text(re.compile("nearly all"))
        assert heights == [points.nth(i).get_attribute("aria-valuenow") for i in range(3)] == ["22.4", "17.6", "16"]
        assert prediction(tab, "fall").locator(".measured").get_attribute("points").count(",") == 11
        tab.reload()
    again = prediction(tab, "rows").get_by_role("button", name="Ask me again")
    again.click()
    tab.reload()
    expect(prediction(tab, "rows").get_by_role("button", name="nearly all")).to_be_enabled()
    expect_answer(tab, "keys", "You said 64 keys.", "1.22 keys")


def test_slider_with_a_step_and_a_logarithm_counts_in_whole_numbers(tab: Page):
    layers = prediction(tab, "layers")
    slider, told, guess = layers.get_by_role("slider"), layers.locator("output"), layers.locator(".prediction-done")
    slider.press("Home")
    for number in ("2 layers", "3 layers", "4 layers"):  # each key, although the places of the scale are closer
        slider.press("ArrowRight")
        expect(told).to_have_text(number.replace(" ", NBSP))
        expect(slider).to_have_attribute("aria-valuetext", number.replace(" ", NBSP))
    slider.press("ArrowLeft")
    expect(told).to_have_text(f"3{NBSP}layers")
    for place in range(101):
        slider.fill(str(place))
        assert re.fullmatch(rf"\d+{NBSP}layers", told.inner_text())
    expect(told).to_have_text(f"300{NBSP}layers")
    slider.fill("50")
    guess.click()
    for _visit in range(2):
        expect_answer(tab, "layers", "You said 17 layers. Measured:", "6 layers. Each layer")
        tab.reload()


def test_guess_kept_before_there_was_a_step_is_told_in_whole_numbers(tab: Page):
    tab.evaluate("bookKept.set('prediction:layers', '54.2')")
    tab.reload()
    expect_answer(tab, "layers", "You said 54 layers.", "6 layers")


def test_right_guess_and_a_curve_drawn_by_hand(tab: Page):
    prediction(tab, "rows").get_by_role("button", name="a few").click()
    expect_answer(tab, "rows", "You saw it coming.", "a few")
    svg = prediction(tab, "fall").locator(".prediction-curve svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    tab.mouse.move(box["x"] + 0.15 * box["width"], box["y"] + 0.2 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.95 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    tab.mouse.up()
    points = prediction(tab, "fall").get_by_role("slider")
    heights = [float(points.nth(i).get_attribute("aria-valuenow")) for i in range(points.count())]
    assert heights == sorted(heights, reverse=True) and heights[0] > 25 and heights[-1] < 5


@pytest.mark.parametrize("from_a_point", [True, False])
def test_finger_draws_steeply_and_the_page_stays(browser: Browser, small_address: str, from_a_point: bool):
    context = browser.new_context(viewport=PHONE, has_touch=True, reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(small_address + LESSON)
    fall = prediction(tab, "fall")
    svg, points = fall.locator(".prediction-curve svg"), fall.get_by_role("slider")
    svg.evaluate("svg => svg.scrollIntoView({ block: 'center', behavior: 'instant' })")
    first, box, top = points.first.bounding_box(), svg.bounding_box(), tab.evaluate("scrollY")
    x, y = first["x"] + first["width"] / 2, first["y"] + first["height"] / 2
    if not from_a_point:
        y = box["y"] + 0.7 * box["height"]
    before = points.nth(1).get_attribute("aria-valuenow")
    draw_with_a_finger(tab, [(x + 4 * step, y - 5 * step) for step in range(13)])
    heights = [float(points.nth(i).get_attribute("aria-valuenow")) for i in range(2)]
    assert tab.evaluate("scrollY") == top
    assert heights[1] > heights[0] and heights[1] > float(before) + 1
    points.first.press("End")
    assert points.first.get_attribute("aria-valuenow") == points.first.get_attribute("aria-valuemax")
    points.first.press("Home")
    assert points.first.get_attribute("aria-valuenow") == points.first.get_attribute("aria-valuemin")
    context.close()


TELLING = {
    "the experiment": ".cell:has-text('products at the distances') > .cell_output",
    "the first paragraph": "p:has-text('halved at the first step')",
}


@pytest.mark.parametrize("place", TELLING.values(), ids=TELLING)
def test_what_gives_the_answer_away_waits_for_the_guess(tab: Page, place: str):
    shown, told = tab.locator(place), prediction(tab, "fall")
    blurred, sharp = re.compile("blur"), "none"
    expect(shown).to_have_css("filter", blurred)
    expect(shown).to_have_js_property("inert", True)  # nor is it read out
    told.get_by_role("button", name="That is my curve").click()
    expect(told.locator(".prediction-guess")).to_be_focused()
    expect(shown).to_have_css("filter", sharp)
    tab.reload()
    expect(shown).to_have_css("filter", sharp)
    told.get_by_role("button", name="Ask me again").click()
    for look in (told.get_by_text("Just show me"), shown.locator("..")):
        expect(shown).to_have_css("filter", blurred)
        look.click()
        expect(shown).to_have_css("filter", sharp)
        expect(shown).to_have_js_property("inert", False)
        tab.reload()
    tab.get_by_role("button", name="Everything").click()
    expect(shown).to_have_css("filter", sharp)
    expect(shown).to_have_js_property("inert", False)


def test_question_that_was_scrolled_past_hides_nothing(tab: Page):
    shown, asked = tab.locator(TELLING["the first paragraph"]), prediction(tab, "fall")
    tab.set_viewport_size({"width": 375, "height": 400})  # so that the question can leave the screen
    asked.evaluate("it => it.scrollIntoView({ behavior: 'instant' })")
    tab.wait_for_timeout(300)
    expect(shown).to_have_css("filter", re.compile("blur"))
    tab.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
    expect(shown).to_have_css("filter", "none")
    asked.get_by_role("button", name="That is my curve").click()
    asked.get_by_role("button", name="Ask me again").click()
    expect(shown).to_have_css("filter", re.compile("blur"))


def test_question_that_was_never_on_the_screen_waits(tab: Page):
    tab.goto(tab.url + "#exercises")  # as who comes by a link does, and then goes up
    tab.reload()
    tab.wait_for_timeout(300)
    expect(tab.locator(TELLING["the first paragraph"])).to_have_css("filter", re.compile("blur"))


@pytest.mark.parametrize("mode", ["Lesson", "Lesson and code"])
def test_what_is_blurred_says_why_where_it_can_be_seen(tab: Page, mode: str):
    tab.get_by_role("button", name=mode, exact=True).click()
    expect(tab.locator(".says-why")).to_have_count(1)
    assert tab.locator(".says-why").bounding_box()["height"] > 20, "not one that is folded away"


def test_what_does_not_follow_the_experiment_can_be_read_before_a_guess(tab: Page):
    for words in ("gives nothing away", "How we know."):
        assert tab.locator("p", has_text=words).evaluate("p => !p.closest('.is-telling') && !p.closest('[inert]')")
    expect(tab.locator(".is-telling")).to_have_count(len(TELLING))


SPOKEN = {"button", "group", "heading", "image", "link", "slider"}  # roles that are read out by their names
ICON = re.compile("[\ue000-\uf8ff]")  # letters of icon fonts


def test_what_is_read_out_is_meant_to_be_heard(tab: Page):
    found = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")["nodes"]
    nodes = {node["nodeId"]: node for node in found if not node["ignored"]}
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes.values()]
    assert [name for role, name in named if role == "StaticText"].count("guess above, or tap to show") == 1
    assert [name for role, name in named if role in SPOKEN and (RAW.search(name) or ICON.search(name))] == []
    assert [role for role, name in named if role in {"button", "image", "link", "slider"} and not name] == []
    images = [node for node in nodes.values() if node["role"]["value"] == "image"]
    assert images and not [image for image in images if any(child in nodes for child in image["childIds"])]


def test_nobody_has_to_guess(tab: Page):
    for name, measured in (("rows", "a few"), ("keys", "1.22 keys"), ("fall", "From 32 at 0")):
        prediction(tab, name).get_by_text("Just show me").click()
        expect(prediction(tab, name).locator(".prediction-answer p")).to_be_visible()
        expect(prediction(tab, name).locator(".prediction-answer p")).to_contain_text(measured)
        expect(prediction(tab, name).locator(".prediction-guess")).to_be_hidden()


# What a reader has done


def test_front_page_tells_what_was_read_predicted_and_solved_and_forgets_it(tab: Page, small_address: str):
    told, front = tab.locator(".so-far"), f"{small_address}index.html"
    tab.goto(front)
    expect(told).to_have_text("")
    expect(tab.locator(".forget")).to_have_count(0)
    tab.goto(small_address + LESSON)
    prediction(tab, "rows").get_by_role("button", name="a few").click()
    tab.get_by_role("button", name="Everything").click()
    solved = tab.get_by_role("button", name="I have solved 3.1")
    solved.press("Enter")
    expect(solved).to_have_attribute("aria-pressed", "true")
    tab.locator("#to-keep h2").scroll_into_view_if_needed()
    tab.wait_for_function("localStorage.getItem('read:03_laboratory') !== null")
    tab.goto(front)
    expect(told).to_have_text("read · 1 of 4 predicted · 1 of 1 solved")
    tab.get_by_role("button", name="Forget it").press("Enter")
    expect(told).to_have_text("")
    kept = tab.evaluate("Object.keys(localStorage)")
    assert set(kept) == {"reading", "mode", "theme"}, "the two switches are no notes"
    tab.reload()
    expect(tab.locator(".forget")).to_have_count(0)
    tab.goto(small_address + LESSON)
    expect(solved).to_have_attribute("aria-pressed", "false")
    expect(prediction(tab, "rows").get_by_role("button", name="a few")).to_be_enabled()


def test_mark_of_a_solved_exercise_can_be_taken_back(tab: Page, small_address: str):
    tab.get_by_role("button", name="Everything").click()
    for state in ("true", "false"):
        tab.get_by_role("button", name="I have solved 3.1").click()
        expect(tab.get_by_role("button", name="I have solved 3.1")).to_have_attribute("aria-pressed", state)
    tab.goto(f"{small_address}index.html")
    expect(tab.locator(".so-far")).not_to_contain_text("solved")


def test_exercise_leads_to_its_cell_in_colab_where_the_book_is_published(tab: Page, small_address: str):
    offered = tab.get_by_role("link", name="Try 3.1 in Colab", include_hidden=True)
    expect(tab.get_by_role("button", name="I have solved 3.1", include_hidden=True)).to_have_count(1)
    expect(offered).to_have_count(0)  # as in this book, which nobody has published
    launch = "https://colab.research.google.com/github/Reader/fork/blob/main/book/03_laboratory.ipynb"
    source = tab.request.get(small_address + LESSON).text().replace("<main", f'<a href="{launch}">Colab</a><main', 1)
    tab.route(f"**/{LESSON}", lambda route: route.fulfill(body=source, content_type="text/html"))
    tab.reload()
    tab.get_by_role("button", name="Everything").click()
    expect(offered).to_be_visible()
    expect(offered).to_have_attribute("href", f"{launch}#scrollTo=exercise-3-1")
    tab.emulate_media(media="print")
    expect(offered).to_be_hidden()


# The switch


def shown(tab: Page) -> dict[str, bool]:
    """Which parts of the lesson can be seen."""
    places = {
        "core": "[class*=tag_core] .cell_input",
        "apparatus": "section:not(#laboratory *) > .cell > .apparatus pre >> nth=0",
        "laboratory": "#how-many-rows-learn h3",
        "exercises": "#exercises .verdict >> nth=0",
    }
    return {name: tab.locator(place).is_visible() for name, place in places.items()}


def test_switch_folds_what_it_says_and_is_remembered(tab: Page, small_address: str):
    folded = {"core": True, "apparatus": False, "laboratory": False, "exercises": False}
    assert shown(tab) == folded
    seen = {"Lesson": {**folded, "core": False}, "Everything": dict.fromkeys(folded, True), "Lesson and code": folded}
    for mode, parts in seen.items():
        button = tab.get_by_role("button", name=mode, exact=True)
        button.press("Enter")
        assert shown(tab) == parts, mode
        expect(tab.locator(".reading-switch [aria-pressed=true]")).to_have_text(re.compile(f"^{mode}"))
    tab.get_by_role("button", name="Everything", exact=True).click()
    tab.goto(small_address + OTHER)
    expect(tab.locator("html")).to_have_attribute("data-reading", "everything")
    tab.goto(small_address + LESSON)
    assert shown(tab) == seen["Everything"]


def test_lesson_leaves_a_line_in_the_place_of_its_code(tab: Page):
    core = tab.locator("[class*=tag_core] .cell_input")
    line = tab.locator("[class*=tag_core] details.code > summary")
    expect(line).to_be_hidden()
    tab.get_by_role("button", name="Lesson", exact=True).click()
    expect(line).to_have_text(re.compile("The code: "))
    expect(core).to_be_hidden()
    line.press("Enter")
    expect(core).to_be_visible()
    tab.reload()
    expect(core).to_be_hidden()


@pytest.mark.parametrize("mode", ["Lesson", "Everything"])
def test_everything_is_printed(tab: Page, mode: str):
    tab.get_by_role("button", name=mode, exact=True).click()
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(shown(tab).values())
    for option in prediction(tab, "rows").get_by_role("listitem").all():
        expect(option).to_be_visible()
    expect(prediction(tab, "rows").get_by_role("listitem")).to_have_count(3)
    expect(prediction(tab, "rows").locator("summary, button").filter(visible=True)).to_have_count(0)
    for place in TELLING.values():
        expect(tab.locator(place)).to_have_css("filter", "none")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    assert shown(tab)["apparatus"] == (mode == "Everything")


def test_link_into_a_fold_opens_it(tab: Page):
    tab.get_by_role("link", name="measured").click()
    assert shown(tab)["laboratory"]


def test_without_javascript_everything_is_shown(browser: Browser, small_address: str):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(small_address + LESSON)
    assert shown(tab) == {"core": True, "apparatus": False, "laboratory": True, "exercises": True}
    expect(tab.locator(".reading-switch")).to_be_hidden()
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")
    expect(tab.locator(".live svg").first).to_be_visible()
    tab.locator("#predict-rows summary").click()
    expect(tab.locator("#predict-rows .prediction-answer p")).to_contain_text("Only 20%")
    context.close()


# Searching


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"√d{SUB}k{END} and 10{SUP}2i/d{SUB}model{END}{END}", "√d<sub>k</sub> and 10<sup>2i/d<sub>model</sub></sup>"),
        (f"{CODE}d_model=512{END} of my_scores", '<code class="literal">d_model=512</code> of my_scores'),
        (f"by √d_model, and {CODE}d_k{END}", 'by √d<sub>model</sub>, and <code class="literal">d_k</code>'),
        (f"{CODE}x_1 + x_2{END} is a sum", '<code class="literal">x_1 + x_2</code> is a sum'),
        (f"{CODE}a < b{END}", '<code class="literal">a &lt; b</code>'),
    ],
)
def test_snippet_shows_code_as_code_and_formulas_as_formulas(tab: Page, small_address: str, text: str, shown: str):
    assert snippet(tab, small_address, f"Planted: {text}") == f"<mark>Planted</mark>: {shown}"


def test_snippet_that_is_cut_within_code_begins_and_ends_with_code(tab: Page, small_address: str):
    code = " + ".join(f"x_{number}" for number in range(60))
    found = snippet(tab, small_address, f"{CODE}{code} + planted + {code}{END}")
    assert re.fullmatch(r'… <code class="literal">\+ x_\d.* <mark>planted</mark> \+ x_0 .*</code> …', found)
    assert found.count("code") == 2


def snippet(tab: Page, site: str, text: str) -> str:
    """What the search shows of a section that has this text, as HTML."""
    entry = {"page": "3. A chapter", "title": "Planted", "at": f"{LESSON}#planted", "text": text}
    tab.route("**/sections.js*", lambda route: route.fulfill(body=f"window.BOOK_SECTIONS = {json.dumps([entry])};"))
    tab.goto(f"{site}search.html?q=planted")
    expect(tab.get_by_role("status")).to_have_text("One section:")
    return tab.locator("#search-results .context").inner_html()


def test_code_in_a_fold_breaks_on_a_phone_and_what_cannot_fades_and_is_reached_by_the_keyboard(tab: Page):
    fold = tab.locator("details.apparatus", has_text="moved = {")
    code = fold.locator("pre")
    written = code.evaluate("pre => pre.textContent")
    tab.set_viewport_size(PHONE)
    expect(code).not_to_have_attribute("tabindex", "0")
    fold.locator("summary").click()
    expect(code.locator(".line")).to_have_count(len(written.splitlines()))
    assert code.evaluate("pre => pre.textContent") == written
    assert code.evaluate("pre => pre.scrollWidth <= pre.clientWidth + 1")
    code.evaluate("pre => (pre.textContent = 'moved = {' + 'x'.repeat(300))")
    expect(code).to_have_attribute("tabindex", "0")
    expect(code).to_have_class("goes-on")
    code.focus()
    code.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
    expect(code).not_to_have_class("goes-on")
