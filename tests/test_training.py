"""Training: the schedule and the loss of the paper, one update however it is cut up, and no work lost on the way."""

import io
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from transformer.decoding import greedy
from transformer.evaluation import teacher_forced
from transformer.files import CheckpointError, best_checkpoint, read_json, saved_checkpoints, write_json
from transformer.model import Transformer
from transformer.runs.loop import train
from transformer.runs.run import Run
from transformer.text.batches import Batch, Example, collate, pad
from transformer.text.pairs import Pair
from transformer.text.symbols import BOS, EOS, PAD
from transformer.training import TrainingConfig, batches_of_updates, learning_rate, noam, summed_loss, training_step

Build = Callable[..., Transformer]
V = 13  # tokens in the vocabulary of the made-up language


def make_examples(n: int, longest: int = 6) -> list[Example]:
    """Sentences of random words whose translation is the sentence reversed."""
    rng = random.Random(n)
    sentences = [[rng.randrange(4, V) for _ in range(rng.randint(1, longest))] for _ in range(n)]
    return [(sentence, sentence[::-1]) for sentence in sentences]


@pytest.fixture(scope="session")
def make_model(tiny_model: Build) -> Build:
    """The same small model every time, ready to be trained."""

    def make(**changes: Any) -> Transformer:
        torch.manual_seed(7)
        return tiny_model(fresh=True, **{"vocab_size": V, "n_layers": 1, "dropout": 0.0, **changes}).train()

    return make


def settings(**changes: Any) -> TrainingConfig:
    """A short training in float32."""
    values = {"steps": 8, "batch_size": 4, "warmup": 4, "peak_rate": 1e-2, "validate_every": 100, "precision": "fp32"}
    return TrainingConfig(**(values | changes))


def run_training(
    model: Transformer, config: TrainingConfig, examples: list[Example], **options: Any
) -> list[dict[str, float]]:
    return train(model, examples, make_examples(3), config, device="cpu", progress=False, **options)


# The schedule


def test_noam_is_the_paper_s_equation():
    for step, d_model, warmup in itertools.product((1, 7, 4_000, 99_999), (16, 512), (1, 4_000)):
        expected = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert noam(step, d_model, warmup) == pytest.approx(expected, rel=1e-12)


def test_noam_peaks_at_the_end_of_the_warmup():
    rates = [noam(step, 512, 100) for step in range(1, 400)]
    assert max(rates) == rates[99] == pytest.approx((512 * 100) ** -0.5)


def test_default_schedule_is_the_paper_s():
    config = TrainingConfig()
    for step in (1, 3_999, 4_000, 4_001, 100_000):
        assert learning_rate(step, config, 512) == pytest.approx(noam(step, 512, 4_000), rel=1e-12)


@pytest.mark.parametrize("schedule", ["noam", "linear", "constant"])
@given(warmup=st.integers(1, 50), more=st.integers(1, 200))
def test_rate_rises_to_the_peak_and_never_again(schedule: str, warmup: int, more: int):
    config = TrainingConfig(steps=warmup + more, warmup=warmup, schedule=schedule, peak_rate=3e-3)
    rates = [learning_rate(step, config, 512) for step in range(1, config.steps + 1)]
    assert rates[0] == pytest.approx(3e-3 / warmup)  # counted from 1: the first update is not lost
    assert rates[warmup - 1] == pytest.approx(3e-3) == max(rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup - 1 :] == sorted(rates[warmup - 1 :], reverse=True)
    assert rates[-1] > 0


@pytest.mark.parametrize("schedule", ["noam", "linear", "constant"])
def test_rate_is_continuous_at_the_peak(schedule: str):
    config = TrainingConfig(steps=100_000, warmup=10_000, schedule=schedule, peak_rate=1.0)
    around = [learning_rate(10_000 + i, config, 512) for i in (-1, 0, 1)]
    assert max(around) - min(around) < 2e-4


def test_linear_schedule_reaches_zero_just_after_the_last_update():
    config = TrainingConfig(steps=50, warmup=10, schedule="linear", peak_rate=1.0)
    rates = [learning_rate(step, config, 512) for step in range(10, 51)]
    falls = [before - after for before, after in itertools.pairwise(rates)]
    assert falls == pytest.approx([rates[-1]] * len(falls))
    assert learning_rate(51, config, 512) == learning_rate(99, config, 512) == 0


@pytest.mark.parametrize(("steps", "warmup", "is_told"), [(8, 8, True), (6, 7, True), (8, 7, False)])
def test_warmup_to_the_end_is_warned_of(make_model: Build, steps: int, warmup: int, is_told: bool):
    config = settings(steps=steps, warmup=warmup, schedule="linear", log_every=1)
    said = f"warmup is {warmup} of {steps} updates: the learning rate rises to the end and never falls"
    with pytest.warns(UserWarning, match=said) if is_told else nullcontext():
        rates = [record["learning_rate"] for record in run_training(make_model(), config, make_examples(8))[:-1]]
    assert (rates == sorted(rates)) == is_told
    assert learning_rate(warmup + 1, config, 512) == (0 if is_told else rates[-1])


def test_schedule_counts_updates_not_batches(make_model: Build):
    """The rates that the optimiser really used, where an update is made of three batches."""
    used: list[float] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
    try:
        records = run_training(make_model(), config := settings(accumulate=3, log_every=1), make_examples(12))
    finally:
        hook.remove()
    assert used == [learning_rate(step, config, 16) for step in range(1, 9)]
    assert used == [record["learning_rate"] for record in records if "loss" in record]


# The loss


class Answers(nn.Module):
    """A model whose last vectors are the logits themselves, by an identity for its output matrix."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.output = nn.Linear(V, V, bias=False, dtype=logits.dtype)
        self.output.weight = nn.Parameter(torch.eye(V, dtype=logits.dtype), requires_grad=False)

    def hidden(self, source: Tensor, target: Tensor) -> Tensor:
        return self.logits


def mixed_target_loss(logits: Tensor, batch: Batch, epsilon: float) -> Tensor:
    """Label smoothing word by word: the target is ε/V everywhere, and 1 − ε more on the right word."""
    total = torch.zeros((), dtype=torch.float64)
    for row, words in zip(logits, batch.target_out.tolist(), strict=True):
        for position, word in enumerate(words):
            if word != PAD:
                target = torch.full((V,), epsilon / V, dtype=torch.float64)
                target[word] += 1 - epsilon
                total = total - (target * row[position].log_softmax(-1)).sum()
    return total


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
def test_loss_is_cross_entropy_with_the_mixed_target(epsilon: float):
    batch = collate(make_examples(5))
    assert not batch.target_mask.all(), "there must be padding"
    logits = torch.randn(*batch.target_out.shape, V, dtype=torch.float64)
    loss = summed_loss(Answers(logits), batch, epsilon)
    torch.testing.assert_close(loss, mixed_target_loss(logits, batch, epsilon), rtol=0, atol=1e-10)


def test_padding_neither_counts_nor_learns():
    batch = collate(make_examples(5))
    model = Answers(torch.randn(*batch.target_out.shape, V, dtype=torch.float64))
    summed_loss(model, batch, 0.1).backward()
    assert (model.logits.grad[~batch.target_mask] == 0).all()
    assert (model.logits.grad[batch.target_mask] != 0).all()


def test_loss_of_a_batch_is_the_sum_over_its_sentences(make_model: Build):
    examples, model = make_examples(5), make_model().double().eval()
    together = summed_loss(model, collate(examples), 0.1)
    alone = sum(summed_loss(model, collate([example]), 0.1) for example in examples)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


# One update


@pytest.mark.parametrize("sizes", [(12,), (4, 4, 4), (1, 2, 9)], ids=str)
def test_training_step_is_one_step_on_the_mean_over_all_tokens(make_model: Build, sizes: tuple[int, ...]):
    examples, ends = make_examples(12), list(itertools.accumulate(sizes))
    batches = [collate(examples[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    whole, model, by_hand = collate(examples), make_model().double(), make_model().double()
    with torch.no_grad():
        before = summed_loss(model, whole, 0.1) / whole.n_tokens
    (summed_loss(by_hand, whole, 0.1) / whole.n_tokens).backward()
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    loss = training_step(model, batches, torch.optim.SGD(model.parameters(), lr=0.1), label_smoothing=0.1)
    assert loss.item() == pytest.approx(before.item(), rel=1e-6) and not loss.requires_grad
    torch.testing.assert_close(dict(model.named_parameters()), dict(by_hand.named_parameters()), rtol=0, atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters()), "the next update starts from nothing"


def test_update_without_a_token_to_predict_is_refused(make_model: Build):
    model, nothing = make_model(), Batch(torch.tensor([[5, EOS]]), torch.tensor([[BOS, PAD, PAD]]))
    before = model.output.weight.detach().clone()
    for batches in ([nothing], []):
        with pytest.raises(ValueError, match=f"got {len(batches)} batches without a token to predict, expected"):
            training_step(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))
    assert torch.equal(model.output.weight, before)


def test_training_step_on_a_share_counts_the_tokens_of_all(make_model: Build):
    batch = collate(make_examples(5))
    losses = [
        training_step(model, [batch], torch.optim.SGD(model.parameters(), lr=0.0), n_tokens=n_tokens).item()
        for n_tokens in (None, 2 * batch.n_tokens)
        for model in [make_model()]
    ]
    assert losses[0] == pytest.approx(2 * losses[1])


def test_training_leaves_the_caller_s_random_numbers_alone(make_model: Build):
    torch.manual_seed(3)
    expected = torch.rand(5)
    model = make_model(dropout=0.3)
    torch.manual_seed(3)
    run_training(model, settings(validate_every=4), make_examples(8))
    assert torch.equal(torch.rand(5), expected)


def gradients_of_one_update(make_model: Build, config: TrainingConfig, examples: list[Example]) -> dict[str, Tensor]:
    """What the optimiser is given in the first update, in float64."""
    gradients: dict[str, Tensor] = {}
    model = make_model().double()
    names = {parameter: name for name, parameter in model.named_parameters()}

    def collect(optimizer: torch.optim.Optimizer, *_: object) -> None:
        parameters = optimizer.param_groups[0]["params"]
        gradients.update({names[parameter]: parameter.grad.clone() for parameter in parameters})

    hook = register_optimizer_step_pre_hook(collect)
    try:
        run_training(model, config, examples)
    finally:
        hook.remove()
    return gradients


@pytest.mark.parametrize("pieces", [{"batch_size": 5}, {"batch_size": 1}, {"batch_size": None, "batch_tokens": 20}])
def test_update_from_unequal_pieces_equals_one_from_the_whole(make_model: Build, pieces: dict[str, Any]):
    examples = make_examples(12)
    whole = gradients_of_one_update(make_model, settings(steps=1, batch_size=12), examples)
    config = settings(steps=1, accumulate=12, **pieces)
    tokens = [sum(len(target) + 1 for _, target in batch) for batch in next(batches_of_updates(examples, config))]
    assert len(tokens) > 1 and len(set(tokens)) > 1, "pieces must be unequal"
    torch.testing.assert_close(gradients_of_one_update(make_model, config, examples), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [{"batch_size": 3}, {"batch_size": None, "batch_tokens": 15}])
def test_updates_of_an_epoch_use_each_example_once(batch: dict[str, Any]):
    examples, config = [([i], [i]) for i in range(11)], settings(accumulate=2, **batch)
    seen: list[int] = []
    for update in batches_of_updates(examples, config):
        seen += [source[0] for batch in update for source, _ in batch]
        if len(seen) >= 2 * len(examples):
            break
    assert sorted(seen[:11]) == sorted(seen[11:]) == list(range(11))
    assert seen[:11] != seen[11:]


def test_reported_loss_is_that_of_the_updates_reported(make_model: Build):
    """With weights that hardly move, the mean over all tokens is that of teacher forcing."""
    examples, model = make_examples(12), make_model()
    expected = teacher_forced(model, examples, label_smoothing=0.1)
    config = settings(steps=3, batch_size=5, peak_rate=1e-12, log_every=3)
    records = run_training(model, config, examples)
    assert records[0]["step"] == 3
    assert records[0]["loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert records[0]["loss"] != pytest.approx(expected.nll, rel=1e-3), "the smoothed loss is another number"
    assert records[1]["val_nll"] == pytest.approx(teacher_forced(model, make_examples(3)).nll, rel=1e-5)


def test_tied_matrices_stay_one_matrix(make_model: Build):
    model = make_model(tie_embeddings=True)
    run_training(model, settings(), make_examples(8))
    assert model.output.weight is model.source_embedding.weight is model.target_embedding.weight


def test_bf16_leaves_the_weights_in_float32(make_model: Build):
    model = make_model()
    records = run_training(model, settings(precision="bf16"), make_examples(8))
    assert all(math.isfinite(record["loss"]) for record in records if "loss" in record)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_eight_sentences_can_be_learnt_by_heart(make_model: Build, norm: str):
    examples, model = make_examples(8), make_model(d_model=32, d_ff=64, norm=norm)
    run_training(model, settings(steps=150, batch_size=8, warmup=20, label_smoothing=0.0), examples)
    assert teacher_forced(model, examples).accuracy == 1.0
    found = greedy(model, pad([[*source, EOS] for source, _ in examples]))
    assert [decoded.best.tokens for decoded in found] == [target for _, target in examples]


# Stop and go on


def state(run: Run) -> dict[str, Tensor]:
    """Weights and optimiser of the last checkpoint."""
    last = saved_checkpoints(run.folder)[-1]
    weights, optimizer = (load_file(last / f"{name}.safetensors") for name in ("model", "optimizer"))
    assert not weights.keys() & optimizer.keys()
    return weights | optimizer


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture
def whole(make_model: Build, tmp_path: Path) -> Run:
    """A training of ten updates, with dropout, that nothing interrupted."""
    run = Run(tmp_path / "whole")
    run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=run)
    return run


def with_dropout(**changes: Any) -> TrainingConfig:
    return settings(**({"steps": 10, "log_every": 2, "schedule": "linear", "accumulate": 2} | changes))


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_resumed_training_is_the_same_bit_for_bit(make_model: Build, whole: Run, tmp_path: Path, stop: int):
    run = Run(tmp_path / "halved")
    run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=run, until=stop)
    assert read_json(saved_checkpoints(run.folder)[-1] / "state.json")["step"] == stop
    torch.rand(5)  # another process has another random state
    other = Transformer(make_model(dropout=0.3).config)
    run_training(other, with_dropout(), make_examples(14), run=run, resume=True)
    assert_same_bits(state(run), state(whole))
    assert all(torch.equal(parameter, state(whole)[name]) for name, parameter in other.named_parameters())


@pytest.mark.parametrize("fast", [True, False])
def test_resumed_training_keeps_its_number_format(
    make_model: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
):
    """Where it was chosen by a measurement, which came out otherwise the second time."""
    examples, config = make_examples(14), with_dropout(precision="auto")
    monkeypatch.setattr("transformer.runs.loop.has_fast_bf16", lambda _: fast)
    unbroken, run = Run(tmp_path / "unbroken"), Run(tmp_path / "run")
    run_training(make_model(), config, examples, run=unbroken)
    run_training(make_model(), config, examples, run=run, until=4)
    monkeypatch.setattr("transformer.runs.loop.has_fast_bf16", lambda _: not fast)
    run_training(make_model(), config, examples, run=run, resume=True)
    assert_same_bits(state(run), state(unbroken))
    assert run.made_with() == {"bf16": fast, "batches_per_update": 2}


def test_an_update_of_another_number_of_batches_is_refused(make_model: Build, whole: Run):
    """Sentences would be left out or met twice."""
    message = r"an update would be made of 3 batches \(accumulate 3, processes 1\), expected 2 as in"
    with pytest.raises(ValueError, match=message):
        run_training(make_model(dropout=0.3), with_dropout(accumulate=3), make_examples(14), run=whole, resume=True)


def test_no_loss_is_lost_where_a_validation_comes_between_two_records(make_model: Build):
    """The mean of all records, weighted by their updates, is that of the updates one by one."""
    config = settings(steps=8, batch_size=4, precision="fp32")
    each = run_training(make_model(), replace(config, log_every=1, validate_every=100), make_examples(4))
    some = run_training(make_model(), replace(config, log_every=4, validate_every=3), make_examples(4))
    losses = {record["step"]: record["loss"] for record in each if "loss" in record}
    records = [record for record in some if "loss" in record]
    assert [record["step"] for record in records] == [3, 4, 6, 8]
    for before, record in zip([0, 3, 4, 6], records, strict=True):
        expected = sum(losses[step] for step in range(before + 1, record["step"] + 1)) / (record["step"] - before)
        assert record["loss"] == pytest.approx(expected, rel=1e-5)


def test_dropout_is_at_work_when_resuming_is_tested(make_model: Build, whole: Run, tmp_path: Path):
    run = Run(tmp_path / "without")
    run_training(make_model(dropout=0.0), with_dropout(), make_examples(14), run=run)
    one, other = (state(of)["source_embedding.weight"] for of in (run, whole))
    assert not torch.equal(one, other)


def test_ctrl_c_saves_and_the_training_goes_on_as_if_nothing_had_happened(
    make_model: Build, whole: Run, tmp_path: Path
):
    run, counter, handler = Run(tmp_path / "interrupted"), itertools.count(1), signal.getsignal(signal.SIGINT)

    def press_ctrl_c(*_: object) -> None:
        if next(counter) == 4:
            signal.raise_signal(signal.SIGINT)

    hook = register_optimizer_step_pre_hook(press_ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"stopped after update 4, saved in .*interrupted"):
            run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=run)
    finally:
        hook.remove()
    assert signal.getsignal(signal.SIGINT) is handler
    run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=run, resume=True)
    assert_same_bits(state(run), state(whole))


def test_ctrl_c_is_ignored_where_the_caller_ignores_it(make_model: Build):
    """As in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    hook = register_optimizer_step_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        assert run_training(make_model(), settings(), make_examples(8))[-1]["step"] == settings().steps
    finally:
        hook.remove()
        signal.signal(signal.SIGINT, before)


def test_log_that_nobody_reads_stops_no_training(
    make_model: Build, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    for stream in (Broken(), None):
        run = Run(tmp_path / str(stream is None))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            train(make_model(dropout=0.3), make_examples(14), make_examples(3), with_dropout(), run, device="cpu")
        assert_same_bits(state(run), state(whole))


def test_ctrl_c_means_again_what_it_meant_when_the_training_is_over(make_model: Build):
    handler = signal.getsignal(signal.SIGINT)
    run_training(make_model(), settings(), make_examples(8))
    assert signal.getsignal(signal.SIGINT) is handler


def test_records_are_complete_and_come_once_whatever_was_lost(make_model: Build, whole: Run, tmp_path: Path):
    """A training dies after update 7, its last checkpoint is of update 5; the resumed one records 6 and 7 anew."""
    run = Run(tmp_path / "died")
    config = with_dropout(log_every=1, validate_every=5)
    run_training(make_model(dropout=0.3), config, make_examples(14), run=run, until=5)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, "loss": 99.0}) + "\n" + json.dumps({"step": 7, "loss": 99.0}) + '\n{"ste')
    run_training(make_model(dropout=0.3), config, make_examples(14), run=run, resume=True)
    records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 11))
    assert [record["step"] for record in records if "val_loss" in record] == [5, 10]
    assert all(record["loss"] < 99 for record in records if "loss" in record)
    assert records == run.metrics()


def test_history_returned_is_the_history_recorded(make_model: Build, tmp_path: Path):
    run = Run(tmp_path, settings={"model": "small"})
    records = run_training(make_model(), settings(validate_every=4), make_examples(8), run=run)
    assert records == run.metrics()
    training = {"step", "loss", "learning_rate", "tokens_per_second", "cpu_seconds"}
    validation = {"step", "val_loss", "val_nll", "val_perplexity", "val_accuracy", "cpu_seconds"}
    assert {frozenset(record) for record in records} == {frozenset(training), frozenset(validation)}
    for record in records:
        if "val_nll" in record:
            assert record["val_perplexity"] == pytest.approx(math.exp(record["val_nll"]))
    assert read_json(tmp_path / "config.json") == {"model": "small"}


def test_finished_training_resumed_is_left_as_it_is(make_model: Build, whole: Run):
    before = state(whole)
    assert run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=whole, resume=True) == []
    assert_same_bits(state(whole), before)


def test_finished_training_resumed_keeps_as_many_checkpoints_as_it_is_told(
    make_model: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("transformer.runs.loop.teacher_forced", Script([3.0, 1.0, 2.0, 2.0]))
    run, config = Run(tmp_path), settings(steps=4, validate_every=1, keep_last=4)
    run_training(make_model(), config, make_examples(8), run=run)
    run_training(make_model(), replace(config, keep_last=1), make_examples(8), run=run, resume=True)
    assert steps_kept(run) == [2, 4], "the last, and the best"


def test_resuming_nothing_is_refused(make_model: Build):
    """It would begin anew, and nobody would notice."""
    with pytest.raises(ValueError, match="resume is True without a run, expected the run to go on with"):
        run_training(make_model(), settings(), make_examples(8), resume=True)


def test_run_that_exists_is_not_trained_over(make_model: Build, whole: Run):
    before = state(whole)
    with pytest.raises(CheckpointError, match=r"already holds a training; resume it, or choose"):
        run_training(make_model(), settings(), make_examples(8), run=whole)
    assert_same_bits(state(whole), before)


HOLD = "import sys, pathlib; from transformer import Run; "
HOLD += "claim = Run(pathlib.Path(sys.argv[1])).claimed(); claim.__enter__(); print('held', flush=True); input()"


def test_second_training_in_one_folder_is_refused_until_the_first_has_ended(make_model: Build, whole: Run):
    """Also where the first one is killed, and so has no chance to say that it has ended."""
    before = state(whole)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    held = subprocess.Popen([sys.executable, "-c", HOLD, whole.folder], env=env, **pipes)
    try:
        assert held.stdout.readline() == "held\n"
        for resume in (False, True):
            with pytest.raises(CheckpointError, match=r"another training is going on in .* choose another folder"):
                run_training(make_model(), with_dropout(), make_examples(14), run=whole, resume=resume)
    finally:
        held.kill()
        held.communicate()
    assert_same_bits(state(whole), before)
    run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=whole, resume=True)


def test_claim_ends_with_the_training_that_failed(make_model: Build, tmp_path: Path):
    run = Run(tmp_path)
    with run.claimed(), pytest.raises(CheckpointError, match="another training"), Run(tmp_path).claimed():
        pass
    with pytest.raises(ValueError, match="expected"), run.claimed():
        raise ValueError("expected")
    run_training(make_model(), settings(steps=1), make_examples(8), run=run)


def test_nothing_to_resume_is_said(make_model: Build, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no run to resume in .* start a new one"):
        run_training(make_model(), settings(), make_examples(8), run=Run(tmp_path / "none"), resume=True)


def test_run_is_not_resumed_with_another_model(make_model: Build, whole: Run):
    with pytest.raises(CheckpointError, match="is of a model with d_model 16, expected 32"):
        run_training(make_model(d_model=32), settings(), make_examples(8), run=whole, resume=True)


# Which checkpoints stay


class Script:
    """Stands in for validation: tells the losses of a list, one after the other."""

    def __init__(self, nlls: list[float]) -> None:
        self.nlls = iter(nlls)

    def __call__(self, *_: object) -> Any:
        nll = next(self.nlls)
        return type("Scores", (), {"loss": nll, "nll": nll, "perplexity": math.exp(nll), "accuracy": 0.0})()


def steps_kept(run: Run) -> list[int]:
    return [read_json(folder / "state.json")["step"] for folder in saved_checkpoints(run.folder)]


@pytest.mark.parametrize(
    ("nlls", "kept", "best"),
    [
        ([5.0, 1.0, 4.0, 4.0, 4.0, 4.0], [2, 5, 6], 2),  # an early best stays beside the last two
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [5, 6], 6),  # each best gives way to the next
        ([5.0, 5.0, 5.0, 5.0, 5.0, 5.0], [1, 5, 6], 1),  # only a lower loss is better
    ],
)
def test_the_last_and_the_best_are_kept(
    make_model: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nlls: list[float],
    kept: list[int],
    best: int,
):
    monkeypatch.setattr("transformer.runs.loop.teacher_forced", Script(nlls))
    run = Run(tmp_path)
    run_training(make_model(), settings(steps=6, validate_every=1, keep_last=2), make_examples(8), run=run)
    assert steps_kept(run) == kept
    assert best_checkpoint(tmp_path).name == read_json(tmp_path / "best.json")["checkpoint"] == f"step-{best:08d}"
    assert read_json(tmp_path / "best.json")["val_nll"] == min(nlls)


def test_best_of_a_training_without_checkpoints_is_forgotten(make_model: Build, tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    write_json(tmp_path / "best.json", {"checkpoint": "step-00000001", "val_nll": -1.0})
    run_training(make_model(), settings(steps=2), make_examples(8), run=Run(tmp_path))
    assert read_json(tmp_path / "best.json")["checkpoint"] == "step-00000002"


def test_best_is_remembered_over_a_resumed_training(make_model: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transformer.runs.loop.teacher_forced", Script([1.0, 3.0, 2.0, 2.0]))
    config, run = settings(steps=4, validate_every=1, keep_last=1), Run(tmp_path)
    run_training(make_model(), config, make_examples(8), run=run, until=2)
    run_training(make_model(), config, make_examples(8), run=run, resume=True)
    assert steps_kept(run) == [1, 4]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{")], ids=["gone", "damaged"])
@pytest.mark.filterwarnings("ignore:.*does not tell which checkpoint is the best")
def test_best_that_nothing_names_is_the_best_on_record(
    make_model: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
):
    monkeypatch.setattr("transformer.runs.loop.teacher_forced", Script([1.0, 3.0, 2.0, 2.0]))
    config, run = settings(steps=4, validate_every=1, keep_last=1), Run(tmp_path)
    run_training(make_model(), config, make_examples(8), run=run, until=3)
    damage(tmp_path / "best.json")
    assert best_checkpoint(tmp_path).name == "step-00000001"
    run_training(make_model(), config, make_examples(8), run=run, resume=True)
    assert steps_kept(run) == [1, 4]


# A process that is killed


class Killed(BaseException):
    """Stands in for kill -9: nothing in the package catches it, so nothing is put in order."""


WRITING = [
    *((Path, name) for name in ("mkdir", "open", "write_text", "replace", "rename")),
    *((os, name) for name in ("fsync", "unlink", "rmdir")),
    *((sys.modules[f"transformer.{name}"], "save_file") for name in ("model", "runs.run")),
]
"""all that touches the disk in a training, deleting included"""


def train_until_killed(patch: pytest.MonkeyPatch, at: float, training: Callable[[], object]) -> int:
    """Train, and die before the disk is touched for the n-th time; returns how often it was touched."""
    touched = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def touch(*args: Any, **options: Any) -> Any:
            nonlocal touched
            touched += 1
            if touched == at:
                raise Killed
            return function(*args, **options)

        return touch

    with patch.context() as disk:
        for place, name in WRITING:
            disk.setattr(place, name, deadly(getattr(place, name)))
        try:
            training()
        except Killed:
            assert touched == at
    return touched


def kept(run: Run) -> dict[str, Any]:
    """All that a training leaves, but for how long it took, and a checkpoint that the next one would take away."""
    records = [{k: v for k, v in record.items() if "second" not in k} for record in run.metrics()]
    stale = set(saved_checkpoints(run.folder)[:-1]) - {best_checkpoint(run.folder)}
    paths = [path for path in run.folder.rglob("*") if not stale & {path, *path.parents}]
    files = sorted(str(path.relative_to(run.folder)) for path in paths)
    bits = {name: tensor.numpy().tobytes() for name, tensor in state(run).items()}
    return {"records": records, "files": files, "bits": bits, "best": read_json(run.folder / "best.json")}


@pytest.mark.parametrize("step", [2, 4])
def test_validation_that_was_cut_off_is_made_up_for(
    make_model: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    """Where a model was best, and killed while that was measured, it is still the result; the last one, too."""
    run, config = Run(tmp_path), settings(steps=4, validate_every=1, keep_last=4)
    monkeypatch.setattr("transformer.runs.loop.teacher_forced", Script([3.0] * (step - 1)))
    with pytest.raises(StopIteration):  # instead of the validation of this update
        run_training(make_model(), config, make_examples(8), run=run)
    monkeypatch.setattr("transformer.runs.loop.teacher_forced", Script([1.0] + [2.0] * (4 - step)))
    run_training(make_model(), config, make_examples(8), run=run, resume=True)
    assert [record["val_nll"] for record in run.metrics() if "val_nll" in record] == (
        [3.0] * (step - 1) + [1.0] + [2.0] * (4 - step)
    )
    assert best_checkpoint(tmp_path).name == f"step-{step:08d}"


def test_checkpoint_of_ctrl_c_is_not_validated_on_resuming(make_model: Build, whole: Run, tmp_path: Path):
    """It was not to be: the history is that of a training which nothing interrupted."""
    run, counter = Run(tmp_path / "stopped"), itertools.count(1)

    def press_ctrl_c(*_: object) -> None:
        if next(counter) == 3:
            signal.raise_signal(signal.SIGINT)

    hook = register_optimizer_step_pre_hook(press_ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt, match="update 3"):
            run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=run)
    finally:
        hook.remove()
    run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=run, resume=True)
    assert [r["step"] for r in run.metrics() if "val_nll" in r] == [
        r["step"] for r in whole.metrics() if "val_nll" in r
    ]


@pytest.mark.slow
def test_training_that_is_killed_anywhere_ends_as_if_nothing_had_happened(
    make_model: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed before each touch of the disk, then resumed: weights, records, the best, and no rubbish."""
    config = settings(steps=4, validate_every=1, keep_last=1, log_every=3)

    def score(model: Transformer, *_: object) -> Any:  # another one for each checkpoint, and the second is best
        nll = (model.output.weight[5, 3].item() * 1e4) % 1
        return SimpleNamespace(loss=nll, nll=nll, perplexity=math.exp(nll), accuracy=0.0)

    monkeypatch.setattr("transformer.runs.loop.teacher_forced", score)

    def learn(name: object) -> Run:
        run = Run(tmp_path / str(name))
        resume = bool(saved_checkpoints(run.folder))
        run_training(make_model(dropout=0.3), config, make_examples(8), run=run, resume=resume)
        return run

    n = train_until_killed(monkeypatch, math.inf, lambda: learn("whole"))
    whole = kept(Run(tmp_path / "whole"))
    assert n > 50 and whole["best"]["checkpoint"] < "step-00000004", "the last must not be the best"
    for at in range(1, n + 1):
        train_until_killed(monkeypatch, at, lambda at=at: learn(at))
        assert kept(learn(at)) == whole, f"killed before touch {at} of {n}"


# What must stop a training


def test_loss_that_is_no_number_stops_the_training(make_model: Build):
    model = make_model()
    with torch.no_grad():
        model.output.weight[5, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"loss is nan at update 2, expected a number; lower peak_rate"):
        run_training(model, settings(log_every=2), make_examples(8))


def test_weights_that_are_no_numbers_are_not_saved(make_model: Build, tmp_path: Path):
    """They would push the good checkpoints out, and be resumed from."""
    run, model = Run(tmp_path), make_model()
    config = settings(steps=9, log_every=100, validate_every=1, keep_last=1)
    run_training(model, config, make_examples(8), run=run, until=3)
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: optimizer.param_groups[0].update(lr=math.inf))
    try:
        with pytest.raises(FloatingPointError, match=r"weights are not finite after update 4.* in a new run"):
            run_training(model, config, make_examples(8), run=run, resume=True)
    finally:
        hook.remove()
    assert steps_kept(run) == [3]
    assert all(tensor.isfinite().all() for tensor in state(run).values())


@pytest.mark.parametrize(("n_train", "n_val"), [(0, 3), (3, 0)])
def test_empty_corpus_is_refused(make_model: Build, n_train: int, n_val: int):
    with pytest.raises(ValueError, match=f"got {n_train} training and {n_val} validation pairs"):
        train(make_model(), make_examples(n_train), make_examples(n_val), settings(), device="cpu", progress=False)


@pytest.mark.parametrize("wrong", [Pair("a dog", "ein Hund"), "a dog", ([5], [5], [5])], ids=["Pair", "text", "three"])
def test_pairs_that_were_not_encoded_are_refused(make_model: Build, wrong: Any):
    for splits in ([[wrong], make_examples(2)], [make_examples(2), [wrong]]):
        with pytest.raises(TypeError, match=r"got .* to learn, expected ids .* as `encode_pairs` gives them"):
            train(make_model(), *splits, settings(), device="cpu", progress=False)


def test_run_is_more_than_its_folder_whose_name_will_do(make_model: Build, tmp_path: Path):
    with pytest.raises(TypeError, match=r"run is 'here', expected a Run, .*: Run\(folder, tokenizer\)"):
        run_training(make_model(), settings(), make_examples(8), run="here")  # type: ignore[arg-type]
    run_training(make_model(), settings(steps=1), make_examples(8), run=Run(str(tmp_path)))  # type: ignore[arg-type]
    assert saved_checkpoints(tmp_path)


def test_run_that_is_further_than_it_shall_go_is_refused(make_model: Build, whole: Run):
    with pytest.raises(ValueError, match=r"has made 10 updates and is to stop after 4; expected .* of 10 or more"):
        run_training(make_model(dropout=0.3), with_dropout(), make_examples(14), run=whole, resume=True, until=4)


@pytest.mark.parametrize("split", ["training", "validation"])
def test_example_beyond_the_learned_positions_is_found_before_the_first_update(
    make_model: Build, tmp_path: Path, split: str
):
    short, long = make_examples(8), [*make_examples(7), ([5], [5] * 12)]
    examples, validation = (long, short) if split == "training" else (short, long)
    with pytest.raises(ValueError, match=f"{split} pair 8 has 13 tokens with EOS, expected at most 12"):
        model = make_model(positions="learned", max_len=12)
        train(model, examples, validation, settings(), Run(tmp_path / "run"), device="cpu", progress=False)
    assert not (tmp_path / "run").exists()
    model = make_model(positions="learned", max_len=13)
    train(model, examples, validation, settings(steps=2), device="cpu", progress=False)


def test_stop_before_the_first_update_is_refused(make_model: Build):
    with pytest.raises(ValueError, match=r"until is 0, expected .* from 1"):
        run_training(make_model(), settings(), make_examples(8), until=0)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"steps": 0}, {"accumulate": 0}, {"warmup": 0}, {"keep_last": 0}, {"log_every": 0}, {"validate_every": -1},
        {"batch_tokens": 0}, {"batch_size": 0}, {"bpe_dropout_until": 0}, {"peak_rate": 0.0}, {"peak_rate": math.nan},
        {"peak_rate": math.inf},
        {"seed": -1}, {"seed": 2**32}, {"label_smoothing": math.nan},
        {"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"schedule": "cosine"}, {"precision": "fp16"},
    ],
    ids=lambda nonsense: " ".join(f"{name}={value}" for name, value in nonsense.items()),
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(nonsense: dict[str, Any]):
    (name,) = nonsense
    with pytest.raises(ValueError, match=f"{name} is .*, expected"):
        TrainingConfig(**nonsense)


@pytest.mark.parametrize("wrong", [{"steps": 2.5}, {"steps": "9"}, {"seed": None}, {"warmup": True}])
def test_settings_of_another_type_are_refused_by_name(wrong: dict[str, Any]):
    (name,) = wrong
    with pytest.raises(TypeError, match=rf"{name} is .*, expected a whole number"):
        TrainingConfig(**wrong)


def test_highest_seed_works(make_model: Build):
    run_training(make_model(), settings(seed=2**32 - 1, steps=1), make_examples(8))


def test_without_progress_nothing_is_printed(make_model: Build, capfd: pytest.CaptureFixture[str]):
    run_training(make_model(), settings(validate_every=4), make_examples(8))
    assert capfd.readouterr() == ("", "")


def test_progress_shows_loss_speed_rate_and_both_validation_losses(
    make_model: Build, capfd: pytest.CaptureFixture[str]
):
    train(make_model(), make_examples(8), make_examples(3), settings(log_every=2), device="cpu")
    shown = capfd.readouterr().err
    for part in ("loss ", "tokens/s", "learning rate", "<00:", "smoothed", "unsmoothed", "perplexity", "accuracy"):
        assert part in shown
