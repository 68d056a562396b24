"""Figure 1 with a sentence inside, and the switches, in a browser: what they show is what the package computes."""

import re
from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from torch import Tensor

from tests.gates.book import HTML
from tests.gates.visits import DESKTOP, PHONE, Visit, opened
from tools import live_weights
from tools.pages import in_python
from tools.pages.inside import EXAMPLES, SENTENCE, english, examples, inside
from tools.pages.switches import LIMIT, PADDING
from transformer.decoding import greedy
from transformer.model import Transformer
from transformer.text import grammar
from transformer.text.symbols import BOS, EOS, PAD, UNK
from transformer.text.tokenizer import Tokenizer

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("inside")]

PAGE = "book/inside.html"
NAME = "embedded-en-de"
NUMBER = re.compile(r"−?\d+(?:\.\d+)?")


class Python:
    """The page's model, as the package has it."""

    def __init__(self) -> None:
        self.model, self.tokenizer = Transformer.from_pretrained(NAME), Tokenizer.from_pretrained(NAME)
        self.model.load_weights(live_weights.in_the_page(NAME))

    def source(self, sentence: str) -> list[int]:
        return [*self.tokenizer.encode(sentence), EOS]

    def written(self, sentence: str) -> list[int]:
        return greedy(self.model, torch.tensor([self.source(sentence)]))[0].best.tokens

    def places(self, sentence: str) -> dict[str, Tensor]:
        return in_python.places(self.model, self.source(sentence), [BOS, *self.written(sentence)])

    def words(self, ids: list[int]) -> list[str]:
        return self.tokenizer.tokens(ids)

    def broken(self, sentence: str, switch: str, padding: int = 0) -> str:
        """What is written without one thing, or up to the limit if there is no end."""
        source = torch.tensor([[*self.source(sentence), *padding * [PAD]]])
        (tokens,) = in_python.rewritten(self.model, switch, source, LIMIT).tolist()
        return self.tokenizer.decode(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)


@pytest.fixture(scope="module")
def python() -> Python:
    return Python()


@pytest.fixture(scope="module")
def desk(browser: Browser, address: str) -> Iterator[Visit]:
    """The page on a desktop, served, open for all tests."""
    with opened(browser, address, PAGE, "light", DESKTOP) as visit:
        yield visit
    assert visit.errors == []


@pytest.fixture
def tab(desk: Visit) -> Page:
    """The page, with the sentence of chapter 7 and nothing left out."""
    for button in desk.tab.locator(".live-reset").all():
        button.click()
    settled(desk.tab)
    return desk.tab


def settled(tab: Page) -> None:
    """Wait until Figure 1 shows what was asked last."""
    tab.wait_for_function("document.querySelector('[data-live=inside]').ariaBusy === 'false'")


def open_box(tab: Page, box: str, **choices: str) -> None:
    """Open a box, and choose layer, head and what to show."""
    tab.locator(f'[data-box="{box}"]').click()
    settled(tab)
    for group, choice in choices.items():
        if group == "view":
            tab.get_by_label("what to show").select_option(label=choice)
        else:
            tab.get_by_role("group", name=group, exact=True).get_by_role("button", name=choice).click()
        settled(tab)


def numbers(text: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in NUMBER.findall(text)]


def note(tab: Page) -> str:
    return tab.locator(".inside-panel .live-note").inner_text()


def shape(tab: Page) -> str:
    return tab.locator(".inside-shape").inner_text()


def rows(table: Locator) -> list[list[str]]:
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


def assert_extremes(tab: Page, tensor: Tensor, labels: list[str], names: list[str]) -> None:
    """The note names the smallest and the largest number of a matrix (n, m), and where they stand."""
    smallest, largest = re.fullmatch(r"Smallest (.*\)), largest (.*\))\.(?: Drawn .*)?", note(tab)).groups()
    for said, number, place in (
        (smallest, tensor.min(), int(tensor.argmin())),
        (largest, tensor.max(), int(tensor.argmax())),
    ):
        value, where = said.split(" (", 1)
        assert numbers(value)[0] == pytest.approx(float(number), abs=0.011)
        i, j = divmod(place, tensor.size(1))
        assert where == f"{labels[i]}, {names[j]})"


def test_script_goes_on_with_what_python_has_drawn(browser: Browser, address: str):
    with opened(browser, address, PAGE, "light", DESKTOP) as visit:
        parts = [visit.tab.locator(part) for part in (".by-numbers", ".stream")]
        before = [rows(part) for part in parts]
        drawn = visit.tab.locator(".heat-map").first.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        open_box(visit.tab, "cross-attention")
        assert [rows(part) for part in parts] == before
        assert visit.tab.locator(".heat-map").first.evaluate("canvas => [canvas.width, canvas.height]") == drawn
        assert visit.errors == []


BESIDE = """() => {
  const [labels, map] = [document.querySelectorAll(".heat-rows > *"), document.querySelector(".heat > .heat-map")];
  const { top, height } = map.getBoundingClientRect(), words = document.createRange();
  return [...labels].map((label, row) => {
    words.selectNodeContents(label);
    const word = words.getBoundingClientRect();
    return (word.top + word.bottom) / 2 - (top + (height * (row + 0.5)) / labels.length);
  });
}"""
"""how far the middle of each label is from that of its row, in pixels"""
SCREENS = (320, 375, 600, 900, 1280, 1600)


@pytest.mark.parametrize("javascript", [True, False])
def test_labels_stand_beside_their_rows(browser: Browser, address: str, javascript: bool):
    with opened(browser, address, PAGE, "light", DESKTOP, javascript) as visit:
        for box in (None, "self-attention", "memory") if javascript else (None,):
            if box:
                open_box(visit.tab, box)
            for width in SCREENS:
                visit.tab.set_viewport_size({"width": width, "height": 900})
                off = visit.tab.evaluate(BESIDE)
                assert len(off) > 5 and max(map(abs, off)) < 2, (box, width, off)


def test_attention_of_a_head_is_the_package_s(tab: Page, python: Python):
    places, words = python.places(SENTENCE), python.words([BOS, *python.written(SENTENCE)])
    open_box(tab, "masked-attention", layer="layer 1", head="head 2")
    name, row = "decoder.layers.0.self_attention", words.index("er")
    tab.get_by_role("button", name="er", exact=True).click()
    settled(tab)
    n = len(words)
    assert shape(tab) == f"weights (H, T, T) = (2, {n}, {n}), head 2"
    weights, products = (places[f"{name}.{kind}"][1, row] for kind in ("weights", "products"))
    asks, *lines, gets = rows(tab.locator(".by-numbers"))
    assert [line[0] for line in lines] == words and asks[0] == "q" and gets[0].startswith("sum")
    assert [numbers(line[2])[0] for line in lines] == pytest.approx(products.tolist(), abs=0.011)
    scaled = (products / 32**0.5).tolist()
    assert [numbers(line[3])[0] for line in lines[: row + 1]] == pytest.approx(scaled[: row + 1], abs=0.011)
    assert [line[3] for line in lines[row + 1 :]] == ["−∞"] * (n - row - 1)
    assert [numbers(line[4])[0] for line in lines] == pytest.approx((100 * weights).tolist(), abs=0.51)


def test_vectors_and_logits_are_the_package_s(tab: Page, python: Python):
    places, source = python.places(SENTENCE), python.words(python.source(SENTENCE))
    target = python.words([BOS, *python.written(SENTENCE)])
    open_box(tab, "encoder-network", layer="layer 2", view="inside, before the cut at zero")
    assert shape(tab) == f"inside, before the cut at zero (S, d_ff) = ({len(source)}, 128)"
    counted = [f"number {i + 1}" for i in range(128)]
    assert_extremes(tab, places["encoder.layers.1.feed_forward.inner"], source, counted)
    open_box(tab, "source-positions", view="positions alone")
    table = python.model.positions.table[: len(source)]
    (low, high) = (numbers(part)[0] for part in note(tab).split("largest"))
    assert (low, high) == pytest.approx((float(table.min()), float(table.max())), abs=0.011)
    open_box(tab, "linear")
    vocabulary = python.words(list(range(486)))
    assert shape(tab) == f"logits (T, V) = ({len(target)}, 486)"
    assert_extremes(tab, places["output"], target, vocabulary)


def test_a_token_is_followed_from_embedding_to_logits(tab: Page, python: Python):
    places, target = python.places(SENTENCE), python.words([BOS, *python.written(SENTENCE)])
    row = target.index("den")
    tab.locator(".inside-stream select").select_option(f"target {row}")
    settled(tab)
    sublayers = ["self_attention", "cross_attention", "feed_forward"]
    passed = ["target_embedding", "positions"]  # the one module of positions was called last for the target
    passed += [f"decoder.layers.{layer}.{part}_residual" for layer in (0, 1) for part in sublayers]
    lengths = [float(line[2]) for line in rows(tab.locator(".stream"))]
    assert lengths == pytest.approx([float(places[name][row].norm()) for name in passed], abs=0.051)
    best = places["output"][row].softmax(-1).topk(5)
    told = [item.split() for item in tab.locator(".likeliest li").all_inner_texts()]
    assert [word for word, _ in told] == python.words(best.indices.tolist())
    assert [numbers(share)[0] for _, share in told] == pytest.approx((100 * best.values).tolist(), abs=0.051)
    tab.locator(".inside-stream select").select_option("source 3")  # while a box of the decoder is open
    settled(tab)
    words = places["source_embedding"][3]
    vectors = [words, words + python.model.positions.table[3]]
    vectors += [places[f"encoder.layers.{n}.{part}_residual"][3] for n in (0, 1) for part in sublayers[::2]]
    lengths = [float(line[2]) for line in rows(tab.locator(".stream"))]
    assert lengths == pytest.approx([float(vector.norm()) for vector in vectors], abs=0.051)
    weights = places["decoder.layers.1.cross_attention.weights"].mean(0)[:, 3].topk(5)
    told = [item.split() for item in tab.locator(".likeliest li").all_inner_texts()]
    assert [word for word, _ in told] == [target[t] for t in weights.indices.tolist()]
    tab.locator(".inside-stream select").select_option(f"target {row}")
    tab.get_by_role("button", name="1: cross-attention").click()
    settled(tab)
    assert "layer 1" in tab.locator(".inside-place").inner_text()
    assert tab.locator('[data-box="decoder-add-2"]').get_attribute("aria-pressed") == "true"


def test_an_unseen_sentence_goes_through(tab: Page, python: Python):
    shown = {SENTENCE, *examples()}
    sentence = next(pair.source for pair in grammar.generate(50, seed=7, split="test") if pair.source not in shown)
    tab.get_by_label("an English sentence", exact=True).fill(f"  {sentence} ")
    tab.get_by_label("an English sentence", exact=True).press("Enter")
    settled(tab)
    expected = python.tokenizer.decode(python.written(sentence))
    assert tab.locator('[data-says="text"]').inner_text() == expected
    expect(tab.locator(".both dd").first).to_have_text(expected)  # the switches go on with the same sentence
    open_box(tab, "source")
    ids = [numbers(chip.rsplit(" ", 1)[1])[0] for chip in tab.locator(".inside-id").all_inner_texts()]
    assert ids == python.source(sentence)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("word " * 5_000, "more than 60 tokens (5000 words)"),
        ("", "There is no sentence yet"),
        ("<img src=x onerror=alert(1)>", "knows nothing of this"),
        ("the zebra sleeps .", "has never seen zebra"),
        ("a zebra !", "The list of words that it knows unfolds below Figure 1"),
        ("the " * 99, "more than 60 tokens"),
        ("مرحبا بالعالم", "knows nothing of this"),
    ],
)
def test_what_cannot_be_read_is_told(tab: Page, typed: str, told: str):
    tab.get_by_label("an English sentence", exact=True).fill(typed)
    tab.get_by_role("button", name="Translate").first.click()
    settled(tab)
    assert told in tab.locator("[data-live=inside] .live-status").inner_text()
    assert tab.locator(".live img[src=x]").count() == 0


@pytest.mark.parametrize(
    ("tick", "switch", "padding"),
    [
        ("decoder, masked, layer 2, head 1", "decoder.layers.1.self_attention.0", 0),
        ("encoder, self, layer 2, head 2", "encoder.layers.1.self_attention.1", 0),
        ("heads cut by features", "headSplit", 0),
        ("padding mask", "paddingMask", PADDING),
        ("residual paths", "residual", 0),
        ("causal mask", "causalMask", 0),
    ],
)
def test_a_switch_does_what_the_same_change_does_in_python(
    tab: Page, python: Python, tick: str, switch: str, padding: int
):
    sentence = "because the tired dog is old , it must wait for the forty three old aunts ."  # all of these change it
    field = tab.get_by_label("an English sentence to break")
    field.fill(sentence)
    field.press("Enter")
    tab.get_by_role("checkbox", name="positions").check()
    tab.get_by_role("checkbox", name=tick).uncheck()
    expected, sound = python.broken(sentence, switch, padding), python.tokenizer.decode(python.written(sentence))
    assert expected != sound
    tab.wait_for_function("text => document.querySelectorAll('.both dd')[1].innerText === text", arg=expected)
    assert tab.locator(".both dd").first.inner_text() == sound
    others = set(expected.split()) ^ set(sound.split())
    assert others <= set(tab.locator(".both mark").all_inner_texts())
    alone = [line.locator("mark").count() for line in tab.locator(".both dd").all()]
    told = f"{alone[0]} of {len(sound.split())} words of the sound translation, {alone[1]} of {len(expected.split())} "
    assert told in tab.locator("[data-live=switches] .live-status").inner_text()
    tab.get_by_role("checkbox", name=tick).check()
    tab.wait_for_function("text => document.querySelectorAll('.both dd')[1].innerText === text", arg=sound)
    assert tab.locator(".both mark").count() == 0


def test_table_says_of_the_sentence_what_a_switch_makes_of_it(tab: Page):
    ticks = tab.locator(".ticks").first.get_by_role("checkbox").all()
    told = tab.locator(".broken tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((c) => c.textContent))"
    )
    assert len(told) == len(in_python.SWITCHES) + 12
    ticks[in_python.SWITCHES.index("positions")].check()
    for number, (name, _, expected) in enumerate(told):
        tick = ticks[number] if number < len(ticks) else tab.get_by_role("checkbox", name=name, exact=True)
        tick.uncheck()
        expect(tab.locator(".both dd").nth(1)).to_have_text(expected)
        if number >= len(ticks):
            expect(tab.locator(".both dt").nth(1)).to_have_text(f"without {name}")
        tick.check()


def test_capitals_and_marks_of_a_page_s_own_sentence_are_read(tab: Page, python: Python):
    tab.get_by_label("an English sentence", exact=True).fill("Women need the suitcase because it is new.")
    tab.get_by_role("button", name="Translate").first.click()
    settled(tab)
    assert tab.locator("[data-live=inside] .live-status").inner_text() == ""
    assert tab.locator('[data-says="text"]').inner_text() == python.tokenizer.decode(python.written(SENTENCE))


def test_words_that_are_known_are_those_of_the_figure(python: Python):
    words = english()
    known = python.tokenizer.encode(" ".join(words))
    assert len(known) == len(words) > 100 and UNK not in known and {"women", "suitcase"} <= set(words)
    assert ", ".join(words) in inside()._repr_html_()


def test_empty_sentence_takes_the_broken_translation_away(tab: Page):
    field = tab.get_by_label("an English sentence to break")
    field.fill("")
    field.press("Enter")
    tab.get_by_role("checkbox", name="causal mask").uncheck()
    tab.wait_for_function("document.querySelectorAll('.both dt')[1].innerText.includes('causal mask')")
    assert tab.locator(".both dd").all_inner_texts() == ["", ""]
    assert "There is no sentence yet" in tab.locator("[data-live=switches] .live-status").inner_text()


def test_title_names_what_was_left_out_only_with_its_translation(tab: Page):
    before = "const title = document.querySelectorAll('.both dt')[1], before = title.innerText;"
    untick = "document.querySelectorAll('.ticks input')[1].click();"
    same = tab.evaluate(f"(() => {{ {before} {untick} return title.innerText === before; }})()")
    assert same  # the translation is still the old one
    tab.wait_for_function("document.querySelectorAll('.both dt')[1].querySelector('.katex, math, sub, i, span')")


def test_box_opens_by_finger_and_by_key_from_disk(browser: Browser, python: Python):
    context = browser.new_context(viewport=PHONE, has_touch=True, color_scheme="dark", reduced_motion="reduce")
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((HTML / PAGE).as_uri())
    tab.locator('[data-box="self-attention"]').tap()
    settled(tab)
    assert "Encoder, layer 2" in tab.locator(".inside-place").inner_text()
    tab.locator('[data-box="memory"]').press("Enter")
    settled(tab)
    source = python.words(python.source(SENTENCE))
    assert shape(tab) == f"memory (S, D) = ({len(source)}, 64)" and tab.url.endswith("#memory")
    assert len({box.get_attribute("aria-label") for box in tab.locator("[data-box]").all()}) == 19
    counted = [f"number {i + 1}" for i in range(64)]
    assert_extremes(tab, python.places(SENTENCE)["encoder"], source, counted)
    assert tab.locator("#memory").is_visible() and not tab.locator("#softmax").is_visible()
    still = note(tab)
    tab.locator(".heat > .heat-map").tap()
    assert note(tab) != still  # the number stays when the finger is gone
    assert errors == []
    context.close()


def test_address_of_a_section_opens_its_box(browser: Browser, address: str):
    with opened(browser, address, f"{PAGE}#softmax", "light", DESKTOP) as visit:
        settled(visit.tab)
        assert visit.tab.locator("#softmax").is_visible()
        assert visit.comes_true("Math.abs(document.querySelector('#softmax').getBoundingClientRect().top) < 200")
        assert visit.tab.locator('[data-box="softmax"]').get_attribute("aria-pressed") == "true"


def test_chapter_7_has_the_figure_in_a_fold(browser: Browser, address: str, python: Python):
    with opened(browser, address, "book/07_encoder_decoder.html", "light", DESKTOP) as visit:
        figure, box = visit.tab.locator("details [data-live=inside]"), visit.tab.locator('[data-box="memory"]')
        assert not figure.is_visible() and not any("/weights/" in url for url in visit.requests)
        visit.tab.get_by_text("Open a box").click()
        open_box(visit.tab, "memory")
        assert shape(visit.tab) == f"memory (S, D) = ({len(python.source(SENTENCE))}, 64)"
        assert box.get_attribute("href") == f"{PAGE.removeprefix('book/')}#memory"
        assert visit.errors == []


def test_without_a_script_every_box_leads_to_its_section(browser: Browser, address: str):
    with opened(browser, address, PAGE, "light", DESKTOP, javascript=False) as visit:
        links = visit.tab.locator("[data-box]").evaluate_all("boxes => boxes.map((box) => box.getAttribute('href'))")
        assert len(links) == 19
        assert all(visit.tab.locator(link).is_visible() for link in links)


def test_examples_are_sentences_that_the_model_has_not_seen():
    assert len(examples()) == EXAMPLES
    trained = {pair.source for pair in grammar.generate(2_000, seed=0, split="train")}
    assert not trained & set(examples())
