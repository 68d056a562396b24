"""The cards for spaced repetition: each question of the book once, in the form that Anki takes."""

import csv
import re

import nbformat
import pytest

pytest.importorskip("mdit_py_plugins", reason="the book's own requirements are not installed")
from tools import deck
from tools.chapters import sources

CHAPTERS = {path: nbformat.read(path, as_version=4) for path in sources()}


def chapter(*folds: str, after: str = "## To keep\n") -> nbformat.NotebookNode:
    """A notebook that ends with such questions."""
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("## Check yourself\n\n" + "\n".join(folds) + "\n\n" + after)]
    )


def fold(question: str, answer: str) -> str:
    return f"<details><summary>{question}</summary>\n\n{answer}\n\n</details>"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("deck")
    deck.write(folder, CHAPTERS)
    return (folder / deck.NAME).read_text(encoding="utf-8").splitlines()


def test_every_question_of_the_book_is_a_card(lines: list[str]):
    asked = sum(
        cell.source.partition("## Check yourself")[2].partition("\n## ")[0].count("<summary>")
        for notebook in CHAPTERS.values()
        for cell in notebook.cells
    )
    cards = list(csv.reader(lines[len(deck.HEAD) :], delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(cards) == asked >= 3 * len(CHAPTERS)
    assert len({question for question, *_ in cards}) == asked, "a question is the name of its card"
    assert {tag for *_, tag in cards} == {f"chapter-{deck.chapter_of(path):02}" for path in CHAPTERS}
    assert all(len(card) == 3 and all(card) for card in cards)


def test_head_is_read_by_anki_and_no_card_looks_like_it(lines: list[str]):
    assert lines[:2] == ["#separator:tab", "#html:true"]
    assert [line for line in lines if line.startswith("#")] == list(deck.HEAD)


def test_cards_show_formulas_and_no_markup(lines: list[str]):
    cards = "\n".join(lines[len(deck.HEAD) :])
    assert r"\(W^Q\)" in cards and r"\(d_k\)" in cards
    without_code = re.sub(r"<code>.*?</code>", "", cards)
    assert not re.search(r"[$`]|\*\w|\{cite|<summary", without_code)


def test_question_and_answer_are_one_line_of_html():
    (card,) = deck.cards(chapter(fold("2. Why *so*?", "Because $a < b$, and\n`f(x)` is.\n\nTwice.")), "chapter-01")
    assert card == (
        r"Why <em>so</em>?" "\t" r"Because \(a &lt; b\), and <code>f(x)</code> is.</p> <p>Twice." "\tchapter-01"
    )


def test_formula_that_stands_alone_keeps_its_place():
    (card,) = deck.cards(chapter(fold("1. Which?", "This:\n\n$$x_k^2$$")), "chapter-01")
    assert r"\[x_k^2\]" in card


def test_what_stands_elsewhere_is_no_card():
    notebook = chapter(fold("1. Why?", "So."), after="## To keep\n\n" + fold("Solution", "x"))
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(fold("Solution", "y")))
    assert [card.split("\t")[0] for card in deck.cards(notebook, "chapter-01")] == ["Why?"]


@pytest.mark.parametrize("markup", ["{cite:p}`vaswani2017attention`", "[here](03_attention.ipynb)", "costs 3 $"])
def test_markup_that_a_card_cannot_show_stops_the_build(markup: str):
    notebook = chapter(fold("1. Why?", f"See {markup}."))
    with pytest.raises(ValueError, match=r"the question 'Why\?' holds"):
        list(deck.cards(notebook, "chapter-01"))
