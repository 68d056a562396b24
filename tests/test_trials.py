"""Many trainings at once are each what one training alone would be."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from tools import trials
from tools.trials import GROUPS, Group, SideBySide, Trial, batches
from transformer.config import TransformerConfig
from transformer.files import SHIPPED
from transformer.model import Transformer
from transformer.text.batches import Batch
from transformer.text.corpora import Corpus
from transformer.text.pairs import Pair
from transformer.text.symbols import PAD, UNK
from transformer.text.tokenizer import Tokenizer
from transformer.training import TrainingConfig, learning_rate, paper_adam, training_step

TINY = TransformerConfig(vocab_size=300, d_model=16, n_layers=2, n_heads=2, d_ff=32, dropout=0.0)
CPU = torch.device("cpu")
ALONE = (
    Trial(dropout=0.0),
    Trial(dropout=0.0, seed=1, label_smoothing=0.2, peak_rate=1e-3),
    Trial(dropout=0.0, falls=False, bpe_dropout=0.5),
)


@pytest.fixture
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    """Of a corpus that stands for Multi30k."""
    words = ["hat", "hats", "orange", "oranges", "starring", "man"]
    pairs = [Pair(" ".join(words[: 1 + i % 6]), " ".join(words[i % 6 :])) for i in range(40)]
    monkeypatch.setattr(trials, "load_corpus", lambda name: Corpus(name, "en", "de", {"train": pairs}))
    return Tokenizer.bpe([text for pair in pairs for text in (pair.source, pair.target)], 300)


def group(tokenizer: Tokenizer, *members: Trial, **settings: object) -> Group:
    model = replace(TINY, vocab_size=len(tokenizer))
    return Group(**{"trials": members, "steps": 2_000, "batch_tokens": 60, "model": model} | settings)


@pytest.mark.parametrize("twice", [False, True])
def test_each_is_trained_as_it_would_be_alone(tokenizer: Tokenizer, twice: bool):
    several = group(tokenizer, *ALONE, warmup=3, twice=twice)
    together = SideBySide(several, CPU)
    models = []
    for trial in ALONE:
        torch.manual_seed(trial.seed)
        models.append(Transformer(several.model))
    starts = [{name: p.detach().clone() for name, p in model.named_parameters()} for model in models]
    optimizers = [paper_adam(model) for model in models]
    stream = batches(several, tokenizer, CPU)
    for step in range(1, 7):
        source, target = next(stream)
        losses = together.update(source, target)
        for n, trial in enumerate(ALONE):
            schedule = "linear" if trial.falls else "noam"
            config = TrainingConfig(steps=2_000, warmup=3, schedule=schedule, peak_rate=trial.peak_rate)
            optimizers[n].param_groups[0]["lr"] = learning_rate(step, config, TINY.d_model)
            batch = Batch(source[n], target[n])
            loss = training_step(models[n], [batch], optimizers[n], trial.label_smoothing)
            assert losses[n].item() == pytest.approx(loss.item(), abs=1e-4)
    worst = 0.0
    for alone, start, copy in zip(models, starts, together.models(mean=False), strict=True):
        for name, weight in alone.named_parameters():
            if name.endswith("key.bias"):
                continue  # it shifts all scores of a query alike: its gradient is rounding, which Adam makes large
            moved = (weight - start[name]).norm()
            worst = max(worst, ((copy.get_parameter(name) - weight).norm() / moved).item())
    assert worst < 0.05, "of the way that a matrix has gone"


def test_every_knob_of_a_trial_changes_its_own_training_alone(tokenizer: Tokenizer):
    knobs = (
        Trial(dropout=0.5), Trial(dropout=0.0, attention_dropout=0.5), Trial(dropout=0.0, word_dropout=0.5),
        Trial(dropout=0.0, label_smoothing=0.5),
    )  # fmt: skip
    several = group(tokenizer, Trial(dropout=0.0), *knobs, Trial(dropout=0.0), twice=True)
    plain, *changed, again = SideBySide(several, CPU).losses(*next(batches(several, tokenizer, CPU)))
    assert plain == again
    assert all(abs(loss - plain) > 1e-3 for loss in changed)


def test_two_passes_that_disagree_cost_as_much_as_r_drop_says(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    members = [Trial(dropout=p, r_drop=alpha) for p in (0.0, 0.5) for alpha in (0.0, 1.0, 3.0)]
    several = group(tokenizer, *members, twice=True)
    rand = torch.rand
    monkeypatch.setattr(  # the same words are dropped in all trials
        torch, "rand", lambda shape, device: rand(shape[1:], device=device).expand(len(members), *shape[1:])
    )
    losses = SideBySide(several, CPU).losses(*next(batches(several, tokenizer, CPU))).tolist()
    assert losses[:3] == pytest.approx([losses[0]] * 3, abs=1e-6), "without dropout the two passes are one"
    assert losses[4] - losses[3] > 1e-3
    assert losses[5] - losses[3] == pytest.approx(3 * (losses[4] - losses[3]), rel=1e-3)


def test_batches_hold_every_pair_once_an_epoch(tokenizer: Tokenizer):
    several = group(tokenizer, Trial(), Trial(bpe_dropout=0.5))
    stream, read, cut = batches(several, tokenizer, CPU), [], 0
    while len(read) < 40:
        source, target = next(stream)
        assert source.shape[:2] == target.shape[:2] and source.size(2) + 1 == target.size(2)
        for n in range(2):
            rows = [row for row in source[n] if (row != PAD).sum() > 1]
            assert all(UNK not in row for row in rows)
        texts = [[tokenizer.decode(row.tolist()) for row in source[n] if (row != PAD).sum() > 1] for n in range(2)]
        assert texts[0] == texts[1], "another segmentation of the same sentences"
        cut += (source[0] != source[1]).any().item()
        read += texts[0]
    words = ["hat", "hats", "orange", "oranges", "starring", "man"]
    assert sorted(read) == sorted(" ".join(words[: 1 + i % 6]) for i in range(40))
    assert cut


def test_log_beside_the_shipped_model_is_of_these_trials():
    logged = [json.loads(row) for row in (SHIPPED / "multi30k-en-de/trials.jsonl").read_text("utf-8").splitlines()]
    shared = ("steps", "batch_tokens", "warmup", "twice")
    made = [
        {"d_model": some.model.d_model} | {name: getattr(some, name) for name in shared}
        | asdict(trial)
        for some in GROUPS
        for trial in some.trials
    ]  # fmt: skip
    assert [{name: row[name] for name in wanted} for row, wanted in zip(logged, made, strict=True)] == made
