"""Live figures that show the book's small model, in a browser: they show what Python computes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, expect
from torch import Tensor

from tests.gates.visits import PHONE, Visit, opened
from tests.test_live_model import NAME, SENTENCE, encoded, measured
from transformer.attention import scaled_dot_product_attention
from transformer.decoding import DecodingConfig, translate
from transformer.model import Transformer
from transformer.text.tokenizer import Tokenizer
from transformer.tutor import live, live_model

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("small book")]

PAGE = "book/03_laboratory.html"
SUITCASE = "women need the suitcase because it is new ."
NOUN = ("encoder.layers.1.self_attention", 1)  # off as the figure opens


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer.from_pretrained(NAME).eval()


@pytest.fixture(scope="module")
def desk(browser: Browser, small_address: str) -> Iterator[Visit]:
    """The page on a desktop, open for all tests."""
    with opened(browser, small_address, PAGE, "light") as visit:
        yield visit
        assert visit.errors == []


def of_kind(visit: Visit, kind: str) -> Locator:
    """The figure of a kind, as it opens."""
    figure = visit.tab.locator(f'.live[data-live="{kind}"]')
    figure.locator(".live-reset").click()
    return figure


@contextmanager
def without(model: Transformer, heads: Sequence[tuple[str, int]]) -> Iterator[None]:
    """While the block runs, these heads hand on zeros."""
    with ExitStack() as patches:
        for name in {name for name, _ in heads}:
            keep = torch.tensor([(name, head) not in heads for head in range(model.config.n_heads)])[:, None, None]
            attend = partial(masked_heads, keep)
            patches.enter_context(patch.object(model.get_submodule(name), "attend", attend))
        yield


def masked_heads(keep: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
    """Attention (B, H, T, K) of the heads to keep (H, 1, 1), and zeros of the others."""
    return keep * scaled_dot_product_attention(q, k, v, mask, p)


def expect_translations(figure: Locator, model: Transformer, sentence: str, heads: Sequence[tuple[str, int]]) -> None:
    """The figure shows what all heads write, and what is written without some."""
    tokenizer, greedy = Tokenizer.from_pretrained(NAME), DecodingConfig("greedy")
    [whole] = translate(model, tokenizer, [sentence], greedy)
    with without(model, heads):
        [left] = translate(model, tokenizer, [sentence], greedy)
    expect(figure.locator("dd").nth(0)).to_have_text(whole)
    expect(figure.locator("dd").nth(1)).to_have_text(left)


def test_heads_go_off_and_on(desk: Visit, model: Transformer):
    figure = of_kind(desk, "heads_by_hand")
    expect_translations(figure, model, SUITCASE, [NOUN])
    expect(figure.locator("mark")).to_have_text(["die"])
    head = figure.get_by_role("button", name="switch off cross 2, head 1")
    head.click()
    cross = ("decoder.layers.1.cross_attention", 0)
    expect_translations(figure, model, SUITCASE, [NOUN, cross])
    expect(head).to_have_attribute("aria-pressed", "true")
    expect(figure.locator(".live-says")).to_have_text("Switched off: 2 of 12 heads")
    figure.get_by_role("button", name="switch off encoder 2, head 2").press("Enter")
    expect_translations(figure, model, SUITCASE, [cross])
    head.press("Space")
    expect_translations(figure, model, SUITCASE, [])
    expect(figure.locator("mark")).to_have_count(0)


def test_heads_translate_what_is_typed(desk: Visit, model: Transformer):
    figure = of_kind(desk, "heads_by_hand")
    box = figure.get_by_role("textbox", name="sentence to translate")
    box.fill(SUITCASE.replace("suitcase", "bag"))
    expect_translations(figure, model, SUITCASE.replace("suitcase", "bag"), [NOUN])
    box.fill("women need the <b>xylophone</b> .")
    expect(figure.locator(".live-status")).to_contain_text("never seen <, b, >, xylophone")
    box.fill("")
    expect(figure.locator(".live-status")).to_contain_text("Type one in English")
    expect(figure.locator("dd").nth(1)).to_have_text("")


def test_leaks_follow_masks_and_words(desk: Visit):
    figure = of_kind(desk, "leaks_by_hand")
    state = figure.evaluate("figure => JSON.parse(figure.dataset.state)")
    moved = {tuple(digit == "1" for digit in key): rows for key, rows in state["moved"].items()}
    told = [state["words"], ["er", "ist", "</s>"], state["instead"], moved]
    assert shown(figure) == shown(live_model.leaks_by_hand(*told, 2, (True, False)))
    figure.get_by_label("mask in layer 1").uncheck()
    assert shown(figure) == shown(live_model.leaks_by_hand(*told, 2, (False, False)))
    figure.get_by_label("mask in layer 2").press("Space")
    figure.get_by_role("button", name="er").press("Enter")
    expected = live_model.leaks_by_hand(*told, 1, (False, True))
    assert shown(figure) == shown(expected)
    widths = re.findall(r"[\d.]+%? 4px", figure.evaluate("figure => figure.querySelector('tbody').innerHTML"))
    assert [float(width.split("%")[0]) for width in widths] == [25, 50, 100]
    assert figure.locator('button[aria-pressed="true"]').all_inner_texts() == ["er → sie"]


def shown(figure: Locator | live.Live) -> tuple[str, list[list[str]]]:
    """What a figure says, without what only the page adds, and the cells of its cache."""
    page = figure._repr_html_() if isinstance(figure, live.Live) else figure.evaluate("figure => figure.outerHTML")
    soup = BeautifulSoup(page, "html.parser")
    for added in soup.select(".live-controls"):
        added.decompose()
    cells = [[cell[name] for name in ("x", "y", "fill", "fill-opacity")] for cell in soup.select("rect")]
    return re.sub(r"\s+", "", soup.get_text()), cells


def expect_step(figure: Locator, model: Transformer, written: list[int]) -> list[int]:
    """The figure shows what Python draws after some tokens; returns the likeliest next ones."""
    expect(figure.locator('.live-says [data-says="n"]')).to_have_text(str(len(written) + 1))
    expected = live_model.decoding_by_hand(NAME, SENTENCE, written, lambda n, cached: measured(model, n, cached))
    assert shown(figure) == shown(expected)
    return [token for token, _ in expected.state["next"]]


def test_decoding_goes_step_by_step(desk: Visit, model: Transformer):
    figure, written = of_kind(desk, "decoding_by_hand"), encoded("es kann sein , dass")
    likeliest, *_ = expect_step(figure, model, written)
    figure.get_by_role("button", name="Next").click()
    _, second, *_ = expect_step(figure, model, [*written, likeliest])
    figure.locator(".live-next button").nth(1).press("Enter")
    expect_step(figure, model, [*written, likeliest, second])
    expect(figure.locator(".live-next button").nth(1)).to_be_focused()
    for n in range(len(written) + 1, -1, -1):
        figure.get_by_role("button", name="Back").click()
        expect_step(figure, model, [*written, likeliest, second][:n])
    expect(figure.get_by_role("button", name="Back")).to_be_disabled()


def test_decoding_without_a_cache_computes_all_again_and_ends(desk: Visit):
    figure = of_kind(desk, "decoding_by_hand")
    figure.get_by_role("button", name="without").click()
    assert {cell[-1] for cell in shown(figure)[1]} == {"1"}
    says, forward = figure.locator(".live-says"), figure.get_by_role("button", name="Next")
    while forward.is_enabled():
        before = says.inner_text()
        forward.click()
        expect(says).not_to_have_text(before)
    expect(says).to_have_text(re.compile(r"es kann sein , dass Frauen den Koffer brauchen \. </s>$"))  # and no more
    expect(forward).to_be_focused()
    expect(figure.locator(".live-next button")).to_have_count(0)
    expect(figure.locator(".live-next")).to_be_hidden()
    assert len(figure.locator("rect").all()) == 4 * (
        1 + len(encoded("es kann sein , dass Frauen den Koffer brauchen ."))
    )


TWO_ASK = """async (model) => {
  const real = window.fetch, heard = [[], []], first = new AbortController();
  const halves = (chunk, out) => {
    out.enqueue(chunk.slice(0, chunk.length / 2));
    out.enqueue(chunk.slice(chunk.length / 2));
  };
  window.fetch = async (address) => {
    const { ok, body } = await real(address);
    return { ok, body: body.pipeThrough(new TransformStream({ transform: halves })) };
  };
  const asked = [first.signal, undefined].map((signal, i) =>
    live.ask(model, "vocabulary", [], { signal, progress: (share) => heard[i].push(share) }),
  );
  first.abort();
  await Promise.all(asked);
  return heard[1];
}"""


def test_second_question_hears_how_much_of_the_model_is_there(browser: Browser, small_address: str):
    with opened(browser, small_address, PAGE, "light") as visit:
        shares = visit.tab.evaluate(TWO_ASK, NAME)
        assert any(0 < share < 1 for share in shares[:-1]) and shares == sorted(shares) and shares[-1] == 1


def test_model_answers_a_finger_from_disk(browser: Browser, small_book: Path, model: Transformer):
    context = browser.new_context(viewport=PHONE, has_touch=True, color_scheme="dark", reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(f"{small_book.as_uri()}/{PAGE}")
    figure = tab.locator('.live[data-live="heads_by_hand"]')
    figure.get_by_role("button", name="switch off decoder 1, head 1").tap()
    expect_translations(figure, model, SUITCASE, [NOUN, ("decoder.layers.0.self_attention", 0)])
    assert all(
        box["width"] >= 24 and box["height"] >= 24 for box in map(Locator.bounding_box, figure.locator("button").all())
    )
    context.close()
