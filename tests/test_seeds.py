"""The seeds of a chapter can be replaced, and a claim that held by luck is found."""

import sys
from pathlib import Path

import nbformat
import pytest
import tyro
from nbformat import NotebookNode

from tools import seeds

LUCKY = """
from transformer.tutor import verify
SEEDS = range(2)
"""
PROOF = 'verify("ATT-5", max(SEEDS) < 5, f"seeds {list(SEEDS)}")'


def chapter(*sources: str) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def test_seeds_are_replaced_by_others():
    copy, n = seeds.with_seeds(chapter("import math\nSEEDS = range(5)\nprint(SEEDS)"), 10)
    assert n == 5 and copy.cells[0].source == "import math\nSEEDS = range(10, 15)\nprint(SEEDS)"


def test_chapter_that_names_no_seeds_is_refused():
    with pytest.raises(ValueError, match="no line 'SEEDS"):
        seeds.with_seeds(chapter("SEEDS = list(range(5))"), 10)


@pytest.mark.slow
def test_luck_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "lucky.ipynb"
    nbformat.write(chapter(LUCKY, PROOF), path)
    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setattr(sys, "argv", ["seeds", str(path), "--seeds", "4"])
    assert tyro.cli(seeds.main) == 1
    out = capsys.readouterr().out
    assert "ATT-5: 2 times" in out and "seeds 4 to 5: ATT-5 fails: seeds [4, 5]" in out and "1 failures" in out
