"""The figures of the front page, as they open: what they say is what the model that the pages have computes."""

import re

import pytest
import torch
from bs4 import BeautifulSoup

from tools import live_weights
from tools.chapters import ROOT
from tools.pages import translator
from transformer.decoding import beam_search, greedy
from transformer.files import SHIPPED
from transformer.text.symbols import BOS, EOS
from transformer.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_pretrained(translator.NAME)


def encoded(text: str) -> torch.Tensor:
    return torch.tensor([[*TOKENIZER.encode(text), EOS]])


@pytest.fixture(scope="module")
def page() -> BeautifulSoup:
    return BeautifulSoup(translator.translator()._repr_html_(), "html.parser")


def test_opening_is_a_translation_with_a_doubt(page: BeautifulSoup):
    english, german = (line.get_text() for line in page.select(".tokens"))
    (found,) = greedy(translator.page_model(), encoded(english.removesuffix("■")))
    assert (english, german) == (translator.example().text + "■", TOKENIZER.decode(found.best.tokens) + "■")
    shares = [item.b.text for item in page.select(".choices li")]
    assert len(shares) == 5 and int(shares[0][:-1]) < 90 and int(shares[1][:-1]) > 10
    assert not page.select("script, [id], button, input") and page.figure["data-model"] == translator.NAME


def test_steps_are_those_of_the_model():
    model, shown = translator.page_model(), translator.example()
    target = [step["token"] for step in shown.steps]
    inputs = torch.tensor([[BOS, *target[:-1]]])
    with torch.inference_mode():
        probabilities = model(torch.tensor([shown.source]), inputs)[0].softmax(-1)  # (T, V)
    for row, step in zip(probabilities, shown.steps, strict=True):
        assert [one["token"] for one in step["likeliest"]] == row.topk(5).indices.tolist()
        assert step["p"] == pytest.approx(row[step["token"]].item(), abs=1e-3)
        attention = torch.tensor(step["attention"])  # (L, H, S)
        assert attention.shape == (model.config.n_layers, model.config.n_heads, len(shown.source))
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]), atol=0.01, rtol=0)


def test_the_word_for_orange_looks_at_orange(page: BeautifulSoup):
    (chosen,) = page.select(".is-chosen")
    weights = {token.text: float(token["style"].split(":")[1]) for token in page.select(".source .token")}
    assert chosen.text.startswith("orange") and max(weights, key=weights.__getitem__) == "orange"
    assert page.select_one('[data-says="most"]').text == "orange"


def test_subway_is_left_out_without_a_length_penalty():
    page = (ROOT / "index.md").read_text(encoding="utf-8")
    example = r"\(α = (\d)\) .* With α = ([\d.]+), .*? is there, \*(.+?)\*"
    *told, subway = re.search(example, page, re.DOTALL).groups()
    assert told[0] == "0"
    found = [beam_search(translator.page_model(), encoded(translator.SHORTENED), 4, float(alpha)) for alpha in told]
    short, whole = (TOKENIZER.decode(one.best.tokens) for (one,) in found)
    assert whole == short.replace(".", f" {subway}.")
    opened = BeautifulSoup(translator.search()._repr_html_(), "html.parser")
    assert opened.select_one('[data-says="best"]').text == short


def test_score_is_that_of_the_card():
    card = (SHIPPED / translator.NAME / "README.md").read_text(encoding="utf-8")
    said = translator.card()
    assert f"| greedy | {said['bleu']} |" in card and f"`{said['signature']}`" in card
    (row,) = re.findall(r"\| greedy \|.*", card)
    assert row.split(" | ")[-1] == f"{said['invented']} |"
    told, cost = translator.told(said), live_weights.stored_cost()
    assert "2.7 million" in told and f"it was {said['bleu']}" in told and f"BLEU {cost['greedy']['page']:.1f} " in told


def test_a_byte_for_a_weight_costs_little():
    cost = live_weights.stored_cost()
    scores = [cost[search] for search in live_weights.SEARCHES]
    assert all(round(score["shipped"] - score["page"], 2) <= 0.2 for score in scores)


def test_cost_of_other_weights_is_refused(monkeypatch):
    monkeypatch.setattr(live_weights, "checksum", lambda name: "other")
    with pytest.raises(ValueError, match="--cost"):
        live_weights.stored_cost()


def test_card_without_a_score_is_refused(tmp_path, monkeypatch):
    (tmp_path / translator.NAME).mkdir()
    (tmp_path / translator.NAME / "README.md").write_text("2,719,232 parameters", encoding="utf-8")
    monkeypatch.setattr(translator, "SHIPPED", tmp_path)
    with pytest.raises(ValueError, match="does not tell pairs, bleu, invented, signature"):
        translator.card()


def test_preview_draws_the_same_example():
    drawing = BeautifulSoup(translator.picture(), "html.parser")
    texts = [text.text for text in drawing.select("text")]
    shown = translator.example()
    assert len(texts) == len(shown.source) + len(shown.steps) and {"orange", "orangefarbenen"} <= set(texts)
    assert len(drawing.select("path")) >= len(shown.steps)
