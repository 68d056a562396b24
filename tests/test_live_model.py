"""Figures to take in hand that show a whole model: what they hold, and that the scripts compute the same."""

import html
import re
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.test_live import computed, figure
from transformer.model import DecoderCache, Transformer
from transformer.text.symbols import BOS, EOS
from transformer.text.tokenizer import Tokenizer
from transformer.tutor import live, live_model

NAME, SENTENCE = "embedded-en-de", "maybe women need the suitcase ."
WHOLE, WITHOUT = "den Koffer , weil er neu ist .", "die Koffer , weil das <i> neu ist ."


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer.from_pretrained(NAME).eval()


def encoded(text: str, *mark: int) -> list[int]:
    return [*Tokenizer.from_pretrained(NAME).encode(text), *mark]


def measured(model: Transformer, n: int, cached: bool) -> int:
    """The operations that PyTorch counts in the decoder for token n of a translation of the sentence."""
    target = torch.tensor([[BOS, *range(4, 4 + n)]])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        memory, cache = model.encode(torch.tensor([encoded(SENTENCE, EOS)])), DecoderCache(model.config.n_layers)
        begin = n - 1 if cached else 0
        if begin:
            model.decode(target[:, :begin], memory, cache=cache)
        with FlopCounterMode(display=False) as counter:
            model.decode(target[:, begin:n], memory, cache=cache)
    return counter.get_total_flops()


def decoding(written: str, operations: Any = lambda n, cached: 7_000 * n - 500 * cached) -> live.Live:
    return live_model.decoding_by_hand(NAME, SENTENCE, encoded(written), operations)


# Masks


WORDS, ANSWERS, INSTEAD = ("<s>", "er", "<b>"), ("er", "<b>", "</s>"), ("sie", "neu")
MOVED = {
    (True, True): [[0, 1.234, 0.004], [0, 0, 2]],
    (False, True): [[0.5, 1, 2], [0.25, 3e-7, 2]],
    (True, False): [[0, 0, 0.001], [1, 2, 3]],
    (False, False): [[1, 1, 1], [1, 1, 1]],
}


def test_leaks_open_with_the_outputs_that_move():
    one = live_model.leaks_by_hand(WORDS, ANSWERS, INSTEAD, MOVED, place=2, masks=(False, True))
    shown = figure(one)
    rows = [[cell.text for cell in row.select("th, td")] for row in shown.select("tbody tr")]
    assert rows == [["<s>", "→ er", "0.25"], ["er", "→ <b>", "<0.01"], ["<b> → neu", "→ </s>", "2.00"]]
    assert shown.select_one('[data-says="leaks"]').text == "2 outputs before it move"
    assert "without their mask: 1." in shown["aria-label"]
    red = [live_model.TARGET in row["style"] for row in shown.select("tbody tr")]
    assert red == [True, True, False] and re.search(r"/ 12\.5% 4px", shown.select_one("tbody tr")["style"])
    assert not shown.select("script, [id], button, input")


def test_no_leak_is_exactly_nothing():
    shown = figure(live_model.leaks_by_hand(WORDS, ANSWERS, INSTEAD, MOVED, place=2, masks=(True, True)))
    assert [row.select("td")[1].text for row in shown.select("tbody tr")] == ["0", "0", "2.00"]
    assert shown.select_one('[data-says="leaks"]').text == "0 outputs before it move"


def test_where_nothing_moves_no_bar_has_a_length():
    moved = MOVED | {(True, True): [[0, 0, 0], [0, 0, 0]]}
    shown = figure(live_model.leaks_by_hand(WORDS, ANSWERS, INSTEAD, moved, place=1, masks=(True, True)))
    assert all(re.search(r"/ 0\.0% 4px", row["style"]) for row in shown.select("tbody tr"))


def test_one_leak_is_told_as_one():
    shown = figure(live_model.leaks_by_hand(WORDS, ANSWERS, INSTEAD, MOVED, place=1, masks=(False, True)))
    assert shown.select_one('[data-says="leaks"]').text == "1 output before it moves"


@pytest.mark.parametrize("place", [0, 3])
def test_only_a_changed_word_can_leak(place: int):
    with pytest.raises(ValueError, match="expected one from 1 to 2"):
        live_model.leaks_by_hand(WORDS, ANSWERS, INSTEAD, MOVED, place, (True, True))


def test_script_writes_distances_as_python_does():
    numbers = [0, 3e-7, 0.0049, 0.005, 0.25, 1.239, 11.3]
    names = [*"abcdefg"]
    moved = {(True, True): [numbers] * 6}
    shown = figure(live_model.leaks_by_hand(names, names, names[1:], moved, place=1, masks=(True, True)))
    found = computed("leaks_by_hand", "numbers.map(live.distance)", numbers=numbers)
    told = [row.select("td")[1].text for row in shown.select("tbody tr")]
    assert [html.unescape(written) for written in found] == told


# Heads


def test_heads_open_with_one_struck_through_and_its_mistakes_marked():
    one = live_model.heads_by_hand("the suitcase", WHOLE, WITHOUT, ["cross 1, head 2"])
    shown = figure(one)
    assert [cell["title"] for cell in shown.select("tbody td:has(s)")] == ["cross 1, head 2"]
    assert len(shown.select("tbody td")) == 12 and shown["data-model"] == NAME
    whole, without = shown.select("dd")
    assert (whole.text, without.text) == (WHOLE, WITHOUT) and not whole.select("mark")
    assert [mark.text for mark in without.select("mark")] == ["die", "das", "<i>"]
    assert not shown.select("script, [id], button, input, i") and len(shown["aria-label"].split()) > 10


def test_head_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"encoder 3, head 1.*encoder 1, head 1"):
        live_model.heads_by_hand("a", "b", "c", ["encoder 3, head 1"])


def test_script_names_every_head_as_the_model_does(model: Transformer):
    shown = figure(live_model.heads_by_hand("a", "b", "c", []))
    titles = [cell["title"] for cell in shown.select("tbody td")]
    names = computed("heads_by_hand", "titles.map(live.headOf)", titles=titles)
    modules, heads = zip(*(name.rsplit(".", 1) for name in names), strict=True)
    assert {*modules} == {name for name, _ in model.named_modules() if name.endswith("_attention")}
    assert len({*names}) == 12 and {*heads} == {"0", "1"}
    assert names[2] == "encoder.layers.1.self_attention.0" and titles[2] == "encoder 2, head 1"


# Decoding


def test_decoding_opens_with_the_cache_and_the_likeliest_tokens(model: Transformer):
    shown = figure(decoding("es kann sein , dass"))
    with torch.no_grad():
        source, target = torch.tensor([encoded(SENTENCE, EOS)]), torch.tensor([[BOS, *encoded("es kann sein , dass")]])
        p = model(source, target)[0, -1].softmax(-1)
    best = Tokenizer.from_pretrained(NAME).tokens([p.argmax().item()])[0]
    chips = [chip.text for chip in shown.select(".live-next span")]
    assert len(chips) == 5 and chips[0] == f"{best} {p.max():.0%}"
    assert len(shown.select("svg rect")) == 6 * 4 and len(shown.select('svg rect[fill-opacity="1"]')) == 4
    cells = [[cell.text for cell in row.select("td")] for row in shown.select("tbody tr")]
    assert cells == [["41,500", "144,000"], ["42,000", "147,000"]]
    assert shown.select_one('[data-says="n"]').text == "6"


def test_decoding_goes_no_further_than_the_end():
    with pytest.raises(ValueError, match="no end mark"):
        live_model.decoding_by_hand(NAME, SENTENCE, [5, EOS], lambda n, cached: 1)


def test_script_counts_the_operations_that_pytorch_counts(model: Transformer):
    wanted = [[n, cached] for n in (1, 2, 3, 9, 14) for cached in (True, False)]
    program = "wanted.map(([n, cached]) => live.operations(sizes, n, cached))"
    found = computed("decoding_by_hand", program, wanted=wanted, sizes=decoding("es").state["sizes"])
    assert found == [measured(model, n, cached) for n, cached in wanted]
