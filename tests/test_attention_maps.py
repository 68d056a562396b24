"""The interactive map shows what the model computed."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from transformer.model import Transformer
from transformer.text.pairs import Pair
from transformer.text.tokenizer import Tokenizer
from transformer.tutor import attention_maps, charts

PAIR = Pair("the dog sleeps .", "der Hund schläft .")


@pytest.fixture
def reader(tiny_model: Callable[..., Transformer]) -> tuple[Transformer, Tokenizer]:
    tokenizer = Tokenizer.words([PAIR.source, PAIR.target])
    return tiny_model(fresh=True, vocab_size=len(tokenizer), dropout=0.5).train(), tokenizer


def test_weights_are_the_softmax_of_the_scaled_products(reader: tuple[Transformer, Tokenizer]):
    found = attention_maps.labelled_attention(*reader, PAIR)
    for kind, look in found.items():
        assert look.products.shape == look.weights.shape == (2, 2, len(look.queries), len(look.keys))
        scores = look.products / math.sqrt(8)
        if kind == "decoder":
            scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -math.inf)
        torch.testing.assert_close(scores.softmax(-1), look.weights)


def test_rows_are_the_words_that_are_chosen(reader: tuple[Transformer, Tokenizer]):
    found = attention_maps.labelled_attention(*reader, PAIR)
    assert found["encoder"].queries == found["cross"].keys == ["the", "dog", "sleeps", ".", "</s>"]
    assert found["cross"].queries == found["decoder"].queries == ["der", "Hund", "schläft", ".", "</s>"]
    assert found["decoder"].keys == ["<s>", "der", "Hund", "schläft", "."]


def test_nothing_stays_behind(reader: tuple[Transformer, Tokenizer]):
    model, tokenizer = reader
    attention_maps.labelled_attention(model, tokenizer, PAIR)
    assert model.training and not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"layer": 0}, "layer is 0, expected one from 1 to 2"), ({"layer": 3}, "layer is 3"),
        ({"head": 0}, "head is 0, expected one from 1 to 2"), ({"head": 9}, "head is 9"),
        ({"kinds": ()}, r"kinds is \(\), expected some of"), ({"kinds": "cross"}, "kinds is 'cross'"),
        ({"cell": (5, 0)}, r"cell is \(5, 0\), expected a row below 5"), ({"cell": (0, -1)}, "column below 5"),
    ],
    ids=str,
)  # fmt: skip
def test_map_that_is_not_there_is_refused(reader: tuple[Transformer, Tokenizer], asked: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        attention_maps.show_attention(*reader, PAIR, **asked)


def test_chart_holds_every_cell_and_names_its_tokens(
    reader: tuple[Transformer, Tokenizer], monkeypatch: pytest.MonkeyPatch
):
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(charts, "display", lambda bundle, raw: shown.append(bundle[charts.SPECIFICATION]))
    attention_maps.show_attention(*reader, PAIR, kinds=("cross",), cell=(1, 0))
    text = json.dumps(shown[0], ensure_ascii=False)
    assert text.count('"weight":') == 2 * 2 * 5 * 5 and r"\"Hund\"" in text and "÷ 2.828" in text
