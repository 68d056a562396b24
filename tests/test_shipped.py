"""The models that come with the package: small, complete, honest about themselves, and as good as their cards say."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tools.ship import SETTINGS, logged
from transformer.__main__ import main
from transformer.decoding import DecodingConfig, translate
from transformer.evaluation import bleu, exact_match
from transformer.files import SHIPPED
from transformer.model import Transformer
from transformer.runs.checkpoints import load
from transformer.runs.recipes import EMBEDDED, MULTI30K
from transformer.text.corpora import Corpus, CorpusUnavailable, load_corpus
from transformer.text.grammar import RUNNING_EXAMPLE
from transformer.text.tokenizer import Tokenizer

NAMES = pytest.mark.parametrize("name", ["multi30k-en-de", "embedded-en-de"])
MOST_BYTES = {"multi30k-en-de": 6_000_000, "embedded-en-de": 1_000_000}


@NAMES
def test_is_small_and_in_half_precision(name: str):
    assert sum(path.stat().st_size for path in (SHIPPED / name).iterdir()) < MOST_BYTES[name]
    stored = load_file(SHIPPED / name / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in stored.values())


@NAMES
def test_is_found_by_its_name_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    model, tokenizer = Transformer.from_pretrained(name), Tokenizer.from_pretrained(name)
    assert model.config.vocab_size == len(tokenizer)
    assert not model.training and model.output.weight.dtype == torch.float32


@NAMES
def test_is_what_its_recipe_makes(name: str):
    recipe = {"multi30k-en-de": MULTI30K, "embedded-en-de": EMBEDDED}[name]
    shipped = Transformer.from_pretrained(name).config
    wanted = recipe.model
    assert shipped.vocab_size <= wanted.vocab_size
    assert shipped == replace(wanted, vocab_size=shipped.vocab_size)
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert f"{recipe.training.steps:,} updates" in card


@NAMES
def test_card_says_what_a_reader_must_know(name: str):
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    for heading in ("Data and terms.", "Recipe.", "Scores", "Limits."):
        assert f"**{heading}**" in card
    assert "python -m transformer train" in card and "tok:13a" in card
    assert str(SHIPPED) not in card


def test_card_lists_the_trainings_of_the_log():
    folder = SHIPPED / "multi30k-en-de"
    rows = json.loads((folder / "seeds.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    (scores,) = re.findall(r"\| beam 4, α = 1 (\|.*\|)\n", card)
    four, of_scores = r"\| ([\d,]+) \| (\d+) \| (\d+) \| ([\d,]+) \|", r"(\| [\d.]+ \| [\d.]+ \| [\d.]+ \| \d+ \|)"
    listed = re.findall(rf"{four} .+ {of_scores}\n", card)
    settings = [(f"{row['vocab_size']:,}", str(row["d_ff"]), str(row["seed"]), f"{row['steps']:,}") for row in rows]
    assert settings == [found[:4] for found in listed]
    assert listed[0][4] == scores, "the first line is the model itself"


def test_log_keeps_trainings_whose_runs_are_gone(tmp_path: Path):
    log = tmp_path / "seeds.json"
    earlier, again, new = (
        {**dict.fromkeys(SETTINGS, 0), "seed": seed, "test_bleu": i} for i, seed in enumerate((1, 2, 3))
    )
    assert logged(log, [earlier]) == [earlier] and not log.exists(), "one training is no list"
    assert logged(log, [earlier, again]) == [earlier, again]
    better = {**again, "test_bleu": 9}
    assert logged(log, [new, better]) == [new, better, earlier] == json.loads(log.read_text(encoding="utf-8"))


def test_translates_without_being_told_which_model(capsys: pytest.CaptureFixture[str]):
    assert main(["translate", "A man is sleeping on a bench.", "Two dogs are running."]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "Mann" in first and "Bank" in first and "Hunde" in second


def test_embedded_model_knows_the_running_example(capsys: pytest.CaptureFixture[str]):
    assert main(["translate", "--model", "embedded-en-de", RUNNING_EXAMPLE.source]) == 0
    assert capsys.readouterr().out.strip() == RUNNING_EXAMPLE.target


def test_evaluates_on_the_corpus_it_was_trained_on(capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "--model", "embedded-en-de", "--split", "comp", "--limit", "20"]) == 0
    assert "embedded en→de comp, 20 sentences" in capsys.readouterr().out


def test_evaluates_by_the_path_of_its_folder_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a-b").symlink_to(SHIPPED)  # a hyphen anywhere means nothing
    monkeypatch.chdir(tmp_path)
    for path in (SHIPPED / "embedded-en-de", "a-b/embedded-en-de"):
        assert main(["evaluate", "--model", str(path), "--limit", "2"]) == 0
        assert "embedded en→de test, 2 sentences" in capsys.readouterr().out


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("embedded")


@pytest.mark.parametrize("search", [DecodingConfig("greedy"), DecodingConfig("beam")], ids=["greedy", "beam"])
def test_embedded_model_is_right_on_new_combinations(search: DecodingConfig, corpus: Corpus):
    model, tokenizer = load("embedded-en-de", device="cpu")
    pairs = [pair for pair in corpus["comp"] if not pair.alternatives]
    assert exact_match(translate(model, tokenizer, [pair.source for pair in pairs], search), pairs) >= 0.95


def share_of_modes(search: DecodingConfig, corpus: Corpus) -> float:
    """How often a search finds the likeliest translation of a sentence that has several."""
    model, tokenizer = load("embedded-en-de", device="cpu")
    pairs = [pair for split in ("comp", "test") for pair in corpus[split] if pair.alternatives]
    written = translate(model, tokenizer, [pair.source for pair in pairs], search)
    return sum(text == pair.translations[0] for text, pair in zip(written, pairs, strict=True)) / len(pairs)


def test_greedy_misses_and_beam_finds_the_likeliest_of_several_translations(corpus: Corpus):
    assert share_of_modes(DecodingConfig("greedy"), corpus) <= 0.05
    assert share_of_modes(DecodingConfig("beam"), corpus) >= 0.8


@pytest.mark.slow
@NAMES
def test_scores_are_those_of_the_card(name: str):
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"\| (greedy|beam)[^|]*\| ([\d.]+) \|", card))
    try:
        test = load_corpus(name.split("-")[0])["test"]
    except CorpusUnavailable:
        assert "CI" not in os.environ, "CI must have the data"
        pytest.skip("Multi30k is not here")
    model, tokenizer = load(name, device="cpu")
    searches = {"greedy": DecodingConfig("greedy"), "beam": DecodingConfig("beam", beam=4, alpha=1.0)}
    for search, config in searches.items():
        written = translate(model, tokenizer, [pair.source for pair in test], config)
        score = bleu(written, [pair.target for pair in test]).score
        assert score == pytest.approx(float(said[search]), abs=0.3)  # a near tie may fall the other way elsewhere
    if name == "multi30k-en-de":
        assert score >= 37
