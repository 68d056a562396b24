"""BPE-dropout: other tokens in every epoch, the same text, and the same again from the same seed."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transformer.config import TransformerConfig
from transformer.evaluation import teacher_forced
from transformer.model import Transformer
from transformer.runs.loop import train
from transformer.runs.run import Run
from transformer.text.batches import encode_pairs
from transformer.text.encoded import Encoded, Example
from transformer.text.pairs import Pair
from transformer.text.resegmented import Resegmented, segment
from transformer.text.tokenizer import Tokenizer
from transformer.training import TrainingConfig, batches_of_updates

SENTENCES = [
    "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
    "A man in an orange hat starring at something.",
    "Zwei Männer mit orangen Hüten  starren sich an!",
    "",
    "naïve café 犬 🐕 <s> </s>\tx",
]
PAIRS = [Pair(one, other) for one in SENTENCES for other in SENTENCES]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.bpe([text for pair in PAIRS for text in (pair.source, pair.target)], 380)


@pytest.fixture(scope="module")
def examples(tokenizer: Tokenizer) -> list[Example]:
    return encode_pairs(tokenizer, PAIRS)


def as_lists(encoded: Encoded) -> list[Example]:
    return [encoded[i] for i in range(len(encoded))]


def test_nothing_left_out_is_byte_pair_encoding(tokenizer: Tokenizer, examples: list[Example]):
    for n in range(3):
        assert as_lists(Resegmented(tokenizer, examples, 0.0, seed=n).epoch(n)) == examples


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.99])
def test_every_epoch_has_the_same_text_in_other_tokens(tokenizer: Tokenizer, examples: list[Example], rate: float):
    text = Resegmented(tokenizer, examples, rate, seed=0)
    epochs = [as_lists(text.epoch(n)) for n in range(3)]
    for one in epochs:
        read = [Pair(tokenizer.decode(source), tokenizer.decode(target)) for source, target in one]
        assert read == PAIRS
        assert one != examples
    assert epochs[0] != epochs[1] != epochs[2]


def test_seed_and_epoch_alone_decide(tokenizer: Tokenizer, examples: list[Example]):
    def drawn(seed: int, n: int) -> list[Example]:
        return as_lists(Resegmented(tokenizer, examples, 0.3, seed).epoch(n))

    assert drawn(5, 2) == drawn(5, 2)
    assert drawn(5, 2) != drawn(6, 2)
    text = Resegmented(tokenizer, examples, 0.3, 5)
    text.epoch(7)
    assert as_lists(text.epoch(2)) == drawn(5, 2), "whatever epochs were asked for before"


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_merge_is_left_out_as_often_as_the_rate_says(rate: float):
    rng, n = random.Random(0), 20_000
    cut = sum(segment("ab", {("a", "b"): 0}, rate, rng) == ["a", "b"] for _ in range(n))
    assert cut / n == pytest.approx(rate, abs=4 * (rate * (1 - rate) / n) ** 0.5)


def test_a_merge_that_was_passed_over_may_be_made_after_another_one():
    """So Provilkov et al.: what is left out is drawn anew before every merge. 'abc' is (ab)c, a(bc), or not merged."""
    ranks, rate, rng, n = {("a", "b"): 0, ("b", "c"): 1, ("ab", "c"): 2}, 0.4, random.Random(0), 20_000
    found = [" ".join(segment("abc", ranks, rate, rng)) for _ in range(n)]
    expected = {
        "abc": (1 - rate) * (1 - rate), "ab c": (1 - rate) * rate, "a bc": rate * (1 - rate), "a b c": rate * rate,
    }  # fmt: skip
    for text, share in expected.items():
        assert found.count(text) / n == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


def test_no_epoch_has_a_longer_pair_than_the_longest(tokenizer: Tokenizer, examples: list[Example]):
    text = Resegmented(tokenizer, examples, 0.4, seed=0)
    epochs = np.stack([text.epoch(n).lengths for n in range(40)])
    assert (epochs <= text.longest().lengths).all()
    assert (epochs.max(0) > text.epoch(0).lengths).any()


def test_updates_go_on_where_a_run_stopped(tokenizer: Tokenizer, examples: list[Example]):
    """Though one epoch has more batches than another."""
    config = TrainingConfig(batch_tokens=150, accumulate=2)
    text = Resegmented(tokenizer, examples, 0.5, seed=0)
    whole = [update for update, _ in zip(batches_of_updates(text, config), range(60), strict=False)]
    for done in (0, 1, 7, 8, 9, 23, 40, 59):
        assert next(batches_of_updates(text, config, done=done)) == whole[done]


@pytest.mark.parametrize("done", [0, 1, 20, 21, 33, 59])
def test_after_an_update_new_epochs_leave_no_merge_out(tokenizer: Tokenizer, examples: list[Example], done: int):
    """The epoch in which that update lies goes on as it began; a resumed run does the same."""
    text = Resegmented(tokenizer, examples, 0.5, seed=0)
    config = TrainingConfig(batch_tokens=150, accumulate=2, bpe_dropout=0.5, bpe_dropout_until=20)
    always = replace(config, bpe_dropout_until=None)
    whole, other = (list(itertools.islice(batches_of_updates(text, c), 60)) for c in (config, always))
    assert next(batches_of_updates(text, config, done=done)) == whole[done]
    n = next(i for i, (one, another) in enumerate(zip(whole, other, strict=True)) if one != another)
    assert n >= 20
    assert sum(len(batch) for update in whole[:n] for batch in update) % len(examples) == 0, "an epoch begins"
    assert all(pair in examples for update in whole[n:] for batch in update for pair in batch)
    assert not all(pair in examples for update in whole[:n] for batch in update for pair in batch)


def learn(run: Run | None, examples: list[Example], rate: float = 0.3, until: int | None = None, **model: object):
    torch.manual_seed(0)
    small = TransformerConfig(vocab_size=380, d_model=16, n_layers=1, n_heads=2, d_ff=16, **model)
    config = TrainingConfig(
        steps=12, batch_tokens=400, warmup=2, peak_rate=1e-2, precision="fp32", bpe_dropout=rate, validate_every=100
    )
    return train(
        (trained := Transformer(small)), examples, examples[:3], config, run, until=until, device="cpu",
        progress=False, resume=run is not None and (run.folder / "checkpoints").exists(),
    ), trained.state_dict()  # fmt: skip


def test_training_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path, tokenizer: Tokenizer, examples: list[Example]):
    _, whole = learn(Run(tmp_path / "whole", tokenizer), examples)
    learn(Run(tmp_path / "halved", tokenizer), examples, until=7)
    _, halved = learn(Run(tmp_path / "halved", tokenizer), examples)
    _, plain = learn(Run(tmp_path / "plain", tokenizer), examples, rate=0.0)
    assert all(torch.equal(whole[name], halved[name]) for name in whole)
    assert not torch.equal(whole["output.weight"], plain["output.weight"])


def test_validation_is_cut_as_ever(tmp_path: Path, tokenizer: Tokenizer, examples: list[Example]):
    records, _ = learn(Run(tmp_path / "run", tokenizer), examples)
    model = Transformer.from_pretrained(tmp_path / "run")
    assert records[-1]["val_nll"] == pytest.approx(teacher_forced(model, examples[:3]).nll, rel=1e-5)


def test_what_cannot_be_is_refused(tmp_path: Path, tokenizer: Tokenizer, examples: list[Example]):
    with pytest.raises(ValueError, match=r"bpe_dropout is 0.3 without a tokenizer, expected a run with the one"):
        learn(None, examples)
    with pytest.raises(ValueError, match=r"bpe_dropout is 0.3 without a tokenizer"):
        learn(Run(tmp_path / "none"), examples)
    words = Tokenizer.words(SENTENCES)
    with pytest.raises(ValueError, match=r"bpe_dropout leaves out merges, .* whole words; expected tokenizer bpe"):
        learn(Run(tmp_path / "words", words), encode_pairs(words, PAIRS))
    fits = max(len(side) for pair in examples for side in pair) + 1
    with pytest.raises(ValueError, match=rf"training pair \d+ has \d+ tokens with EOS, expected at most {fits}"):
        learn(Run(tmp_path / "learned", tokenizer), examples, positions="learned", max_len=fits)
    assert not any((tmp_path / name).exists() for name in ("none", "words", "learned"))


def test_of_no_pairs_every_epoch_has_none(tokenizer: Tokenizer):
    none = Resegmented(tokenizer, [], 0.1, 0)
    assert as_lists(none.epoch(0)) == as_lists(none.longest()) == []


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rate_is_a_probability_below_one(rate: float):
    with pytest.raises(ValueError, match=r"bpe_dropout is .*, expected 0 or more and below 1"):
        TrainingConfig(bpe_dropout=rate)
