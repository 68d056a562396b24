"""The tree of a beam search: what it holds, and how it is drawn."""

import itertools
import re

import pytest
import torch
from bs4 import BeautifulSoup

from transformer.decoding import beam_search
from transformer.model import Transformer
from transformer.text import grammar
from transformer.text.corpora import load_corpus
from transformer.text.symbols import EOS
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.live import signed
from transformer.tutor.search_tree import ROW, ended, search_tree, searched

NAME = "embedded-en-de"
SENTENCES = [pair.source for pair in load_corpus("embedded")["test"][:5]]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer.from_pretrained(NAME)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(NAME)


SEARCHES = [*zip(SENTENCES, (1, 2, 4, 8, 4), (0, 0.6, 1, 2, 0), strict=True)]


@pytest.mark.parametrize(("sentence", "beam", "alpha"), SEARCHES)
def test_finished_hypotheses_are_those_of_the_search(
    model: Transformer, tokenizer: Tokenizer, sentence: str, beam: int, alpha: float
):
    source = torch.tensor([[*tokenizer.encode(sentence), EOS]])
    steps = searched(model, source, beam, alpha)
    found = ended(steps, alpha)
    expected = beam_search(model, source, beam, alpha)[0].hypotheses
    tokens = [[steps[t].kept[i].token for t, i in enumerate(one.way)] for one in found]
    assert tokens == [[*one.tokens, EOS] for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score(alpha) for one in expected], abs=1e-5)


def test_what_is_cut_is_what_a_wider_beam_keeps_next(model: Transformer, tokenizer: Tokenizer):
    source = torch.tensor([[*tokenizer.encode(grammar.RUNNING_EXAMPLE.source), EOS]])
    narrow, wide = (searched(model, source, beam, 0.6) for beam in (3, 6))
    assert [n.token for n in (*narrow[0].kept, *narrow[0].cut)] == [n.token for n in wide[0].kept]
    for step in narrow:
        assert len(step.cut) == 3
        probabilities = [node.log_prob for node in (*step.kept, *step.cut)]
        assert probabilities == sorted(probabilities, reverse=True)


def test_search_that_reaches_its_limit_shows_what_is_open(model: Transformer, tokenizer: Tokenizer):
    source = torch.tensor([[*tokenizer.encode(SENTENCES[0]), EOS]])
    steps = searched(model, source, 2, 0.0)[:2]
    assert [one.way[-1] for one in ended(steps, 0.0)] == [0, 1]


def test_shortened_token_can_be_read_whole_and_an_empty_hypothesis_has_a_name():
    one = BeautifulSoup(search_tree("multi30k-en-de", "A bicyclist.", beam=8, alpha=0)._repr_html_(), "html.parser")
    shortened = [text for text in one.select("svg text") if "…" in text.get_text()]
    assert shortened and all(text.title.text.startswith(text.contents[0].rstrip("…")) for text in shortened)
    best = BeautifulSoup(search_tree(NAME, ".", beam=8, alpha=0)._repr_html_(), "html.parser")
    assert all(cell.text for cell in [*one.select("tbody th"), *best.select("tbody th")])


def test_drawing_has_every_hypothesis_and_no_lines_that_cross():
    one = search_tree(NAME, "maybe women need the suitcase .", beam=4, alpha=0)
    drawing = BeautifulSoup(one._repr_html_(), "html.parser")
    kept = [node for step in one.state["steps"] for node in step["kept"]]
    texts = [text.text for text in drawing.select("svg text")]
    assert len(texts) == 2 * len(kept)
    # to the last digit what the script writes, which knows the figure's own numbers only
    assert sorted(texts[1::2]) == sorted(signed(node["logProb"]) for node in kept)
    lines = [[float(number) for number in re.findall(r"[\d.]+", path["d"])] for path in drawing.select("svg path")]
    assert len(lines) == len(kept) - len(one.state["steps"][0]["kept"])
    for row in range(1, len(one.state["steps"])):
        of_row = [(line[0], line[-2]) for line in lines if ROW * (row - 1) < line[1] < ROW * row]
        assert all((a[0] - b[0]) * (a[1] - b[1]) >= 0 for a, b in itertools.combinations(of_row, 2))
    bold = [text.text for text in drawing.select("svg text[font-weight]")]
    assert " ".join(bold[:-1]) == drawing.select_one('[data-says="best"]').text and bold[-1] == "■ end"
    assert bold[0] == "vielleicht"


def test_sentence_is_shown_as_text():
    text = search_tree(NAME, 'the <i> & "', beam=1)._repr_html_()
    assert "<i>" not in text and "<i>" in BeautifulSoup(text, "html.parser").figure["aria-label"]
