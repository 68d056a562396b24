"""The translator in a browser, served and from disk: it writes what Python writes with the same weights."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, expect

from tests.gates.visits import DESKTOP, PHONE, Visit, opened
from tools.pages import translator
from transformer.decoding import beam_search
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.search_tree import END, search_tree

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("small book")]

TOKENIZER = Tokenizer.from_pretrained(translator.NAME)
UNSEEN = "A small red dog is sleeping under the blue car of my uncle."
SHORT = "A brown dog."
REFUSED = {
    "word " * 5_000: r"more than 60 tokens \(5000 words\).* Shorten",
    "🦔🦔🎉": r"knows nothing of this: 🦔🦔🎉",
    "مرحبا بالعالم": r"knows nothing of this: مرحبا",
    "   ": r"no sentence yet",
}
MARKUP = '<img src=x onerror="document.title = 1"> a <b>dog</b>'
SLOWER = 4  # times
WATCH_STEPS = """() => {
    const { write } = engine;
    window.longest = 0; // milliseconds until the engine can take a breath again
    engine.write = function* (...input) {
        for (const work = write(...input); ; ) {
            const began = performance.now(), { done, value } = work.next();
            longest = Math.max(longest, performance.now() - began);
            if (done) return value;
            yield value;
        }
    };
}"""


@pytest.fixture(scope="module", params=["served", "disk"])
def own(request: pytest.FixtureRequest, small_address: str, small_book: Path) -> str:
    """Where the site begins."""
    return small_address if request.param == "served" else f"{small_book.as_uri()}/"


@pytest.fixture(scope="module")
def visit(browser: Browser, own: str) -> Iterator[Visit]:
    """The page on a desktop, open for all tests."""
    with opened(browser, own, "index.html", "light") as visit:
        yield visit


@pytest.fixture
def figure(visit: Visit) -> Locator:
    """The translator as it opens."""
    figure = visit.tab.locator("[data-live=translator]")
    figure.get_by_role("button", name="Reset").click()
    return figure


def translated(figure: Locator, text: str) -> str:
    """The translation of a text that somebody types, once it is there."""
    with written(figure):
        figure.get_by_role("textbox").fill(text)
    return figure.locator(".live-heard").text_content()


@contextmanager
def written(figure: Locator) -> Iterator[None]:
    """Something that leads to another translation; it ends when that is there."""
    figure.evaluate("figure => (figure.querySelector('.live-heard').textContent = '')")
    yield
    figure.page.wait_for_function("document.querySelector('[data-live=translator] .live-heard').textContent")


def labels(figure: Locator, line: str) -> list[str]:
    return figure.locator(f".tokens.{line} .token").all_text_contents()


def source_of(text: str) -> torch.Tensor:
    return torch.tensor([[*TOKENIZER.encode(text), EOS]])


@torch.inference_mode()
def continued(text: str, prefix: list[int]) -> list[int]:
    """What Python writes greedily after a prefix."""
    model, source, written = translator.page_model(), source_of(text), [*prefix]
    while not written or written[-1] != EOS:
        logits = model(source, torch.tensor([[BOS, *written]]))[0, -1]  # (V)
        logits[[PAD, BOS]] = -torch.inf
        written.append(logits.argmax().item())
    return written


def in_python(text: str) -> str:
    """What Python writes for a text."""
    return TOKENIZER.decode(continued(text, []))


def named(tokens: list[int]) -> list[str]:
    return [translator.label(piece) for piece in TOKENIZER.tokens(tokens)]


def assert_shows(figure: Locator, text: str, steps: list[dict[str, Any]], place: int) -> None:
    """The figure shows of a place what Python found there."""
    step, shares = steps[place], translator.looked(steps[place])
    percents = [re.sub(r"\D", "", share) for share in figure.locator(".choices b").all_text_contents()]
    assert figure.locator(".choices span").all_text_contents() == named([one["token"] for one in step["likeliest"]])
    assert [int(p) for p in percents] == pytest.approx([max(1, 100 * one["p"]) for one in step["likeliest"]], abs=0.6)
    weights = figure.locator(".source .token").evaluate_all(
        "all => all.map((t) => t.style.getPropertyValue('--weight'))"
    )
    assert [float(weight) for weight in weights] == pytest.approx(shares, abs=0.003)
    assert figure.locator("[data-says=token]").text_content() == named([step["token"]])[0]


def test_opening_shows_python_s_numbers(figure: Locator):
    shown = translator.example()
    assert labels(figure, "source") == named(shown.source)
    assert labels(figure, "target") == named([step["token"] for step in shown.steps])
    assert_shows(figure, shown.text, shown.steps, translator.clearest_doubt(shown.steps))


def test_unseen_sentence_is_translated_as_in_python(figure: Locator):
    heard = translated(figure, UNSEEN)
    steps = translator.written(translator.page_model(), source_of(UNSEEN))
    tokens = [step["token"] for step in steps]
    assert heard == TOKENIZER.decode(tokens) and labels(figure, "target") == named(tokens)
    assert labels(figure, "source") == named(source_of(UNSEEN)[0].tolist())
    assert "bench" not in figure.get_attribute("aria-label")  # as in the opening
    assert_shows(figure, UNSEEN, steps, translator.clearest_doubt(steps))
    for place in (0, len(steps) - 1):
        figure.locator(".target .token").nth(place).hover()
        assert_shows(figure, UNSEEN, steps, place)
    figure.get_by_role("group", name="Layer").get_by_role("button", name="1").click()
    figure.get_by_role("group", name="Head").get_by_role("button", name="2").click()
    steps[-1]["attention"] = [[steps[-1]["attention"][0][1]]]
    assert_shows(figure, UNSEEN, steps, len(steps) - 1)


def test_another_word_is_forced_and_the_rest_is_written_anew(figure: Locator):
    translated(figure, UNSEEN)
    steps = translator.written(translator.page_model(), source_of(UNSEEN))
    place = translator.clearest_doubt(steps)
    assert figure.locator(".is-chosen").text_content() == named([steps[place]["token"]])[0]
    other = steps[place]["likeliest"][1]["token"]
    with written(figure):
        figure.locator(".choices button").nth(1).click()
    expected = continued(UNSEEN, [*(step["token"] for step in steps[:place]), other])
    assert labels(figure, "target") == named(expected)
    assert figure.locator(".is-forced").all_text_contents() == named([other])
    with written(figure):
        figure.locator(".choices button").first.click()  # what the model would have taken
    assert labels(figure, "target") == named([step["token"] for step in steps])
    assert figure.locator(".is-forced").count() == 0


@pytest.mark.parametrize("text", [UNSEEN, "100 % of + & = #? people"])
def test_address_keeps_the_sentence(browser: Browser, own: str, visit: Visit, figure: Locator, text: str):
    heard = translated(figure, text)
    page = visit.tab.url.removeprefix(own)
    assert not page.endswith(".")  # or a program that finds links in a text would leave it out
    assert parse_qs(urlsplit(page).fragment) == {"translate": [text]}
    with opened(browser, own, page, "light") as sent:
        assert sent.comes_true("document.querySelector('[data-live=translator] .live-heard').textContent")
        assert sent.tab.locator("[data-live=translator] .live-heard").text_content() == heard
        assert sent.tab.get_by_role("textbox", name="English sentence").input_value() == text
        sent.tab.get_by_role("button", name="Reset").first.click()
        assert sent.tab.url == f"{own}index.html"
    with opened(browser, own, "index.html#translate=", "light") as empty:
        assert labels(empty.tab.locator("[data-live=translator]"), "source") == named(translator.example().source)


def test_address_that_changes_is_followed(visit: Visit, figure: Locator):
    with written(figure):
        visit.tab.evaluate("text => void (location.hash = new URLSearchParams({ translate: text }))", SHORT)
    assert figure.locator(".live-heard").text_content() == in_python(SHORT)


def test_tree_grows_as_in_python(visit: Visit, figure: Locator):
    tree = visit.tab.locator("[data-live=search_tree]")
    expected = translator.search()
    visit.tab.get_by_text("How it searches").click()
    tree.get_by_role("button", name="Reset").click()
    assert_same_tree(tree, expected._repr_html_())
    translated(figure, UNSEEN)
    visit.comes_true(f"document.querySelector('[data-live=search_tree] [data-says=text]').textContent === {UNSEEN!r}")
    alpha = tree.get_by_role("slider", name="α")
    for _ in range(6):
        alpha.press("ArrowRight")
    one = search_tree(translator.NAME, UNSEEN, 4, 0.6, translator.page_model())
    visit.comes_true(f"document.querySelectorAll('[data-live=search_tree] svg text').length === {drawn_texts(one)}")
    visit.tab.wait_for_timeout(300)
    assert_same_tree(tree, one._repr_html_())
    (found,) = beam_search(translator.page_model(), source_of(UNSEEN), 4, 0.6, history=True)
    assert len(one.state["steps"]) == len(found.history)
    visit.tab.get_by_text("How it searches").click()


def drawn_texts(one: Any) -> int:
    return 2 * sum(len(step["kept"]) for step in one.state["steps"])


def assert_same_tree(tree: Locator, expected: str) -> None:
    """A tree shows what Python draws, but for the rounding of last digits."""
    (texts, numbers), (expected_texts, expected_numbers) = (
        shown(BeautifulSoup(html, "html.parser")) for html in (tree.evaluate("tree => tree.outerHTML"), expected)
    )
    assert texts == expected_texts
    assert numbers == pytest.approx(expected_numbers, abs=0.011)


def shown(tree: BeautifulSoup) -> tuple[list[str], list[float]]:
    """The words of a tree and its table, and their numbers with the places of all lines."""
    texts = [part.get_text().replace("−", "-") for part in tree.select("svg text, td, tbody th, [data-says]")]
    places = [path["d"] for path in tree.select("svg path")]
    number = re.compile(r"-?\d+(?:\.\d+)?")
    numbers = [float(found) for part in (*texts, *places) for found in number.findall(part)]
    return [number.sub("#", text) for text in texts], numbers


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_translated_gets_a_word(visit: Visit, figure: Locator, text: str):
    translated(figure, SHORT)
    figure.get_by_role("textbox").fill(text)
    status = figure.get_by_role("status")
    visit.comes_true("document.querySelector('[data-live=translator]').classList.contains('is-empty')")
    assert re.search(REFUSED[text], status.text_content())
    assert labels(figure, "target") == [] and visit.errors == [] and "translate" not in visit.tab.url
    assert translated(figure, SHORT) == in_python(SHORT)


def test_tree_follows_the_translator_and_goes_back_with_it(visit: Visit, figure: Locator):
    tree, opening = visit.tab.locator("[data-live=search_tree]"), translator.search()._repr_html_()
    text = "document.querySelector('[data-live=search_tree] [data-says=text]').textContent"
    visit.tab.get_by_text("How it searches").click()
    translated(figure, SHORT)
    assert visit.comes_true(f"{text} === {SHORT!r}")
    tree.get_by_role("button", name="Reset").click()  # of the tree: the sentence stays that of the translator
    visit.tab.wait_for_timeout(300)
    assert tree.locator("[data-says=text]").text_content() == SHORT
    figure.get_by_role("button", name="Reset").click()
    assert_same_tree(tree, opening)
    assert figure.locator(".live-heard").text_content() == ""
    visit.tab.get_by_text("How it searches").click()


WIDER = """() => {
  const tree = document.querySelector("[data-live=search_tree]"), slider = tree.querySelector("[aria-label=width]");
  slider.value = 2;
  slider.dispatchEvent(new Event("input"));
  return tree.querySelector("[data-says=width]").textContent;
}"""


def test_tree_says_only_what_it_has_found(visit: Visit, figure: Locator):
    tree, says = (
        visit.tab.locator("[data-live=search_tree]"),
        "document.querySelector('[data-live=search_tree] [data-says",
    )
    visit.tab.get_by_text("How it searches").click()
    assert visit.tab.evaluate(WIDER) == "4"  # as the tree that is still there
    assert visit.comes_true(f"{says}=width]').textContent === '2'")
    visit.tab.evaluate("document.dispatchEvent(new CustomEvent('translated', { detail: { text: '' } }))")
    assert visit.comes_true(f"{says}=best]').textContent === ''")
    assert tree.locator("svg text, tbody tr").count() == 0
    assert "no sentence yet" in tree.get_by_role("status").text_content()
    figure.get_by_role("button", name="Reset").click()
    assert_same_tree(tree, translator.search()._repr_html_())
    visit.tab.get_by_text("How it searches").click()
    assert visit.errors == []


ENDS_AT_ONCE = """(name) => live.ask(name, "vocabulary", []).then(() => {
  engine.translate = function* () {
    yield { kept: [{ parent: 0, token: 2, logProb: -1, finished: true }], cut: [] };
    return {};
  };
  document.dispatchEvent(new CustomEvent("translated", { detail: { text: "nothing" } }));
})"""
GAP = """() => {
  const texts = document.querySelectorAll("[data-live=search_tree] svg text");
  const rows = Object.groupBy(texts, (text) => text.getAttribute("y"));
  const gaps = Object.values(rows).flatMap((row) => {
    const boxes = row.map((text) => text.getBoundingClientRect()).sort((a, b) => a.left - b.left);
    return boxes.slice(1).map(({ left }, i) => left - boxes[i].right);
  });
  return Math.min(...gaps);
}"""


def test_tree_names_an_empty_hypothesis(browser: Browser, small_book: Path):
    with opened(browser, f"{small_book.as_uri()}/", "index.html", "light") as visit:
        tree = visit.tab.locator("[data-live=search_tree]")
        visit.tab.get_by_text("How it searches").click()
        visit.tab.evaluate(ENDS_AT_ONCE, translator.NAME)
        assert visit.comes_true(
            "document.querySelector('[data-live=search_tree] [data-says=text]').textContent === 'nothing'"
        )
        assert tree.locator("tbody th").all_text_contents() == [END]
        assert tree.locator("[data-says=best]").text_content() == END
        assert visit.errors == []


def test_neighbours_in_the_tree_do_not_touch(browser: Browser, small_book: Path):
    with opened(browser, f"{small_book.as_uri()}/", "index.html", "light") as visit:
        tree = visit.tab.locator("[data-live=search_tree]")
        visit.tab.get_by_text("How it searches").click()
        visit.ask("still")
        assert visit.tab.evaluate(GAP) > 2  # pixels
        for _ in range(4):
            tree.get_by_role("slider", name="width").press("ArrowRight")
        assert visit.comes_true(
            "document.querySelector('[data-live=search_tree] [data-says=width]').textContent === '8'"
        )
        visit.tab.wait_for_function("document.querySelector('[data-live=search_tree]').ariaBusy === 'false'")
        assert visit.tab.evaluate(GAP) > 2


def test_alternative_and_layer_of_a_step_that_is_not_there_yet_are_no_error(visit: Visit, figure: Locator):
    translated(figure, SHORT)
    figure.evaluate("""async (figure) => {
      const box = figure.querySelector("input");
      const buttons = figure.querySelectorAll(".choices button, [aria-label=Layer] button");
      const once = (_, watch) => { // as soon as the new sentence begins
        watch.disconnect();
        buttons.forEach((button) => button.click());
      };
      new MutationObserver(once).observe(figure.querySelector(".source"), { childList: true });
      box.value = "A man sits.";
      box.dispatchEvent(new Event("input"));
    }""")
    assert visit.comes_true("document.querySelector('[data-live=translator] .live-heard').textContent")
    assert visit.errors == []


def test_click_on_a_word_holds_until_another_sentence_comes(figure: Locator):
    tokens, token = figure.locator(".target .token"), figure.locator("[data-says=token]")
    tokens.nth(1).click()
    tokens.nth(4).hover()
    assert token.text_content() == labels(figure, "target")[1]
    translated(figure, UNSEEN)
    tokens.nth(2).hover()
    assert token.text_content() == labels(figure, "target")[2]


def test_sentence_that_the_box_proposes_is_translated_well(figure: Locator):
    proposed = figure.get_by_role("textbox").get_attribute("placeholder")
    assert translated(figure, proposed) == "Eine Katze schläft auf einem roten Auto."


@contextmanager
def held(visit: Visit) -> Iterator[None]:
    """While the block runs, the model's weights are on their way."""
    visit.tab.route("**/weights/*", lambda route: None)
    yield
    visit.tab.unroute_all()


@pytest.fixture
def fresh(browser: Browser, small_address: str) -> Iterator[tuple[Visit, Locator]]:
    """The page, served, and its translator, which has not asked its model yet."""
    with opened(browser, small_address, "index.html", "light") as visit:
        yield visit, visit.tab.locator("[data-live=translator]")


def test_boxed_word_continues_the_sentence_that_is_seen(fresh: tuple[Visit, Locator]):
    visit, figure = fresh
    shown = translator.example()
    place = translator.clearest_doubt(shown.steps)
    with written(figure), held(visit):
        figure.get_by_role("textbox").fill(UNSEEN)
        assert visit.comes_true("document.querySelector('[data-live=translator]').ariaBusy === 'true'")
        figure.locator(".choices button").nth(1).click()
    other = shown.steps[place]["likeliest"][1]["token"]
    expected = continued(shown.text, [*(step["token"] for step in shown.steps[:place]), other])
    assert (labels(figure, "source"), labels(figure, "target")) == (named(shown.source), named(expected))
    assert figure.get_by_role("textbox").input_value() == shown.text


def test_focus_in_the_box_stops_no_translation_and_erases_no_advice(fresh: tuple[Visit, Locator]):
    visit, figure = fresh
    box, status = figure.get_by_role("textbox"), figure.get_by_role("status")
    advice, busy = status.text_content(), "document.querySelector('[data-live=translator]').ariaBusy"
    with held(visit):
        figure.get_by_role("button", name="dogs").click()
        box.focus()
    assert visit.comes_true(f"{busy} === 'false'")
    assert figure.locator(".live-heard").text_content() == in_python(translator.EXAMPLES["dogs"])
    figure.get_by_role("button", name="Reset").click()  # or the reloaded page would translate anew
    visit.tab.reload()
    box.focus()
    assert visit.tab.wait_for_function(f"{busy} === 'false'") and status.text_content() == advice


def test_address_outlives_a_model_that_is_on_its_way(fresh: tuple[Visit, Locator]):
    visit, figure = fresh
    with written(figure):
        figure.get_by_role("button", name="dogs").click()
    with held(visit):
        visit.tab.reload()
        assert visit.tab.wait_for_function("document.querySelector('[data-live=translator]').ariaBusy === 'true'")
        assert "translate=Two+brown+dogs" in visit.tab.url


def test_wait_for_the_model_is_told_until_it_answers(fresh: tuple[Visit, Locator]):
    visit, figure = fresh
    visit.tab.evaluate("() => void (window.Worker = class { postMessage() {} })")  # a slow one
    with visit.tab.expect_request_finished(lambda request: "/weights/" in request.url):
        figure.get_by_role("button", name="dogs").click()
    visit.tab.wait_for_timeout(300)
    assert "on its way" in figure.get_by_role("status").text_content()


def test_model_that_does_not_come_is_told_and_asked_again(fresh: tuple[Visit, Locator]):
    visit, figure = fresh
    visit.tab.route("**/weights/*", lambda route: route.abort())
    figure.get_by_role("button", name="dogs").click()
    expect(figure.get_by_role("status")).to_contain_text("did not come: is there a network")
    visit.tab.unroute_all()
    with written(figure):
        figure.get_by_role("button", name="dogs").click()


def test_markup_is_text(visit: Visit, figure: Locator):
    before = figure.locator("img, b").count()
    translated(figure, MARKUP)
    assert "".join(labels(figure, "source")).startswith("<img") and figure.locator("img, b").count() == before
    assert visit.tab.title() != "1" and visit.errors == []


def test_unknown_words_among_known_ones_are_told(figure: Locator):
    translated(figure, "A dog in Москва.")
    assert "never seen Москва" in figure.get_by_role("status").text_content()


@pytest.mark.parametrize(
    ("text", "told"),
    [("I am a web developer and I read on my phone.", r"in pieces: 3 of 11 words"), (SHORT, ""), (UNSEEN, "")],
)
def test_many_rare_words_are_told(figure: Locator, text: str, told: str):
    translated(figure, text)
    said = figure.get_by_role("status").text_content()
    assert ("in pieces" in said) == bool(told) and re.search(told, said) and "Tap or point" in said


def test_new_sentence_stops_the_old(figure: Locator):
    box = figure.get_by_role("textbox")
    box.fill(UNSEEN)
    box.press("Enter")
    assert translated(figure, SHORT) == in_python(SHORT)
    assert labels(figure, "source") == named(source_of(SHORT)[0].tolist())
    assert labels(figure, "target") == named(continued(SHORT, []))


def test_keys_move_along_the_german_tokens(figure: Locator):
    tokens = figure.locator(".target .token")
    assert [token.get_attribute("tabindex") for token in tokens.all()].count("0") == 1  # one stop for the key Tab
    tokens.first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        figure.page.keyboard.press(key)
    assert tokens.nth(1).evaluate("token => token === document.activeElement")
    assert_shows(figure, "", translator.example().steps, 1)


@pytest.mark.parametrize("where", ["served", "disk"])
def test_slow_phone(browser: Browser, small_address: str, small_book: Path, where: str, record_property: Any):
    own = small_address if where == "served" else f"{small_book.as_uri()}/"
    with opened(browser, own, "index.html", "dark", PHONE) as visit:
        figure = visit.tab.locator("[data-live=translator]")
        assert figure.locator(".translation").bounding_box()["y"] < PHONE["height"]
        visit.tab.context.new_cdp_session(visit.tab).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        visit.tab.evaluate(f"live.ask({translator.NAME!r}, 'vocabulary', [])")  # its weights are there
        visit.tab.evaluate("window.beats = 0; setInterval(() => window.beats++, 1)")
        if where == "disk":
            visit.tab.evaluate(WATCH_STEPS)
        visit.tab.evaluate("window.began = performance.now()")
        assert translated(figure, UNSEEN).startswith("Ein kleiner roter Hund")
        took, beats = visit.tab.evaluate("[performance.now() - began, beats]")
        record_property("measured", f"{took / 1000:>6.2f} s for the first translation on a slow phone, {where}")
        if where == "disk":
            longest = visit.tab.evaluate("longest")
            record_property(
                "measured", f"{longest:>6.0f} ms at most that the engine works without a break, on a slow phone"
            )
        assert beats > 10  # the page went on drawing and listening
        figure.locator(".target .token").nth(3).click()
        assert figure.locator("[data-says=token]").text_content() == labels(figure, "target")[3]
        assert visit.tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert visit.errors == []
        assert visit.ask("smallerThan", 11) == []


@pytest.mark.parametrize("screen", [DESKTOP, PHONE])
def test_first_screen_shows_a_translation_without_a_script(browser: Browser, small_book: Path, screen: Any):
    context = browser.new_context(viewport=screen, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{small_book.as_uri()}/index.html")
    assert "orangefarbenen" in tab.locator("[data-live=translator] .target").text_content()
    assert tab.locator("[data-live=translator] .target").is_visible()
    assert tab.locator("[data-live=translator] + noscript p").is_visible()
    context.close()


def test_opening_can_be_continued_otherwise(figure: Locator):
    shown = translator.example()
    place = translator.clearest_doubt(shown.steps)
    other = shown.steps[place]["likeliest"][1]["token"]
    with written(figure):
        figure.locator(".choices button").nth(1).click()
    expected = continued(shown.text, [*(step["token"] for step in shown.steps[:place]), other])
    assert labels(figure, "target") == named(expected)
    assert figure.get_by_role("textbox").input_value() == shown.text
