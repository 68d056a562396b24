"""Learning from sentence pairs (paper §5): the schedule, the loss, the loop.

One process or many run the same code: `torchrun -m -- transformer train` starts several, and accelerate tells
them apart. An *update* is one step of the optimiser; all counting is in updates, from 1.
"""

import itertools
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor
from tqdm import tqdm

from transformer.evaluation import TeacherForced, teacher_forced
from transformer.loss import smoothed_cross_entropy
from transformer.model import Transformer
from transformer.runs.device import choose_device, has_fast_bf16
from transformer.runs.run import Run
from transformer.text.batches import Batch, Example, collate, plain_batches, token_batches


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are those of the paper's §5 where it names one.

    Raises ValueError for settings that make no sense.
    """

    steps: int = 100_000
    """updates of the whole training"""
    batch_tokens: int = 25_000
    """positions of a padded batch, source or target, of sentences of like length (paper §5.1)"""
    batch_size: int | None = None
    """sentences of a batch, in random order; None: batches by batch_tokens"""
    accumulate: int = 1
    """batches whose gradients are summed up for one update, in each process"""
    schedule: Literal["noam", "linear", "constant"] = "noam"
    """after the warm-up: fall as 1/√step (paper §5.3), fall to zero at the last update, or stay"""
    warmup: int = 4_000
    """updates in which the learning rate rises"""
    peak_rate: float | None = None
    """learning rate at the end of the warm-up; None: (d_model · warmup)^-½, the paper's"""
    label_smoothing: float = 0.1
    """ε_ls: share of the target that is spread evenly over the vocabulary (paper §5.4)"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """number format of matrix products; auto: bf16 where the device is fast at it"""
    validate_every: int = 1_000
    """updates between two validations, each of which leaves a checkpoint"""
    keep_last: int = 5
    """checkpoints kept, beside the best"""
    log_every: int = 10
    """updates between two records of the training loss"""
    seed: int = 0
    """of the initial weights, the order of the batches, and dropout"""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_tokens", "accumulate", "warmup", "validate_every", "keep_last", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, expected at least 1 sentence")
        if self.peak_rate is not None and not self.peak_rate > 0:
            raise ValueError(f"peak_rate is {self.peak_rate}, expected a learning rate above 0")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}, expected 0 or more and below 1")
        for name, choices in {
            "schedule": ("noam", "linear", "constant"),
            "precision": ("auto", "fp32", "bf16"),
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(choices)}")


WHEN_IT_DIVERGES = "lower peak_rate, lengthen warmup or use precision fp32, in a new run (--resume keeps the settings)"
"""what to do then, said by the error"""


def noam(step: int, d_model: int, warmup: int) -> float:
    """d_model^-½ · min(step^-½, step · warmup^-1.5): the learning rate of update `step` ≥ 1 (paper §5.3, eq. 3)."""
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


def learning_rate(step: int, config: TrainingConfig, d_model: int) -> float:
    """The learning rate of update `step` ≥ 1 under the configured schedule."""
    peak = config.peak_rate or noam(config.warmup, d_model, config.warmup)
    if step <= config.warmup:
        return peak * step / config.warmup
    if config.schedule == "noam":
        return peak * math.sqrt(config.warmup / step)
    if config.schedule == "linear":  # the update after the last one would have rate 0
        return peak * max(0.0, (config.steps + 1 - step) / (config.steps + 1 - config.warmup))
    return peak


def summed_loss(model: Transformer, batch: Batch, label_smoothing: float) -> Tensor:
    """Label-smoothed cross-entropy of a batch, summed over the tokens to predict (paper §5.4); a scalar, in nats.

    Nothing is computed for padding. A sum, not a mean: batches hold unequal numbers of tokens, and only the
    number in the whole update is the right one to divide by.
    """
    keep = batch.keep
    hidden = model.hidden(batch.source, batch.target_in)[keep]  # (n, D)
    return smoothed_cross_entropy(hidden, model.output.weight, batch.target_out[keep], label_smoothing)


class _Objective(torch.nn.Module):
    """The model and its loss as one module, so that several processes meet in one forward pass."""

    def __init__(self, model: Transformer, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> Tensor:
        """The summed loss of a batch."""
        return summed_loss(self.model, batch, self.label_smoothing)


def groups(examples: Sequence[Example], config: TrainingConfig, n_processes: int = 1) -> Iterator[list[list[int]]]:
    """The batches of every update, for ever: lists of up to accumulate × n_processes index lists.

    The order depends on the seed and the epoch alone, so a resumed run meets the same batches. Each example comes
    exactly once an epoch; the last group of an epoch may be smaller.
    """
    for epoch in itertools.count():
        if config.batch_size is None:
            batches = token_batches(examples, config.batch_tokens, config.seed, epoch)
        else:
            batches = plain_batches(examples, config.batch_size, config.seed, epoch)
        while group := list(itertools.islice(batches, config.accumulate * n_processes)):
            yield group


def train(
    model: Transformer,
    examples: Sequence[Example],
    validation: Sequence[Example],
    config: TrainingConfig,
    run: Run | None = None,
    resume: bool = False,
    until: int | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train the model in place and return its course, one record after the other.

    A record has "step", "cpu_seconds" (this process's, since the record before), and either "loss" (nats per
    token, smoothed), "learning_rate" and "tokens_per_second" (target tokens, padding not counted), or "val_loss",
    "val_nll", "val_perplexity" and "val_accuracy". With a `run`, everything is kept in its folder, and `resume`
    goes on from its last checkpoint, on a CPU bit for bit as if it had never stopped. `until` stops after that
    update, to be resumed; Ctrl-C does so at once.

    Raises ValueError for an empty corpus or an `until` below 1, CheckpointError where the run cannot be read or
    written, FloatingPointError when the loss is no longer a number, KeyboardInterrupt after Ctrl-C, when all is
    saved.
    """
    if not examples or not validation:
        raise ValueError(f"got {len(examples)} training and {len(validation)} validation pairs, expected some of each")
    if until is not None and until < 1:
        raise ValueError(f"until is {until}, expected the number of an update, from 1")
    update = _Update(model, examples, config, device)
    done = 0
    if run is not None and resume:
        done = run.restore(model, update.optimizer)
    elif run is not None and update.is_main:
        run.start()
    last = min(until or config.steps, config.steps)
    course = _Course(run if update.is_main else None, done, last, show=progress and update.is_main)

    def checkpoint(step: int) -> None:
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            raise FloatingPointError(f"weights are not finite after update {step}; {WHEN_IT_DIVERGES}")
        if course.run is not None:
            course.run.save(model, update.optimizer, step, config.keep_last)

    upcoming = itertools.islice(groups(examples, config, update.n_processes), done, last)
    with _interruptible() as interrupted, course:
        for step, group in enumerate(upcoming, done + 1):
            course.add(*update(step, group))
            stop = update.any_process(interrupted())
            if step % config.log_every == 0 or step == last or stop:
                course.log_training(step, learning_rate(step, config, model.config.d_model))
            due = step % config.validate_every == 0 or step == last
            if due or stop:
                checkpoint(step)
            if due:
                course.log_validation(step, teacher_forced(model, validation, config.label_smoothing))
            if stop:
                raise KeyboardInterrupt(f"stopped after update {step}" + (f", saved in {run.folder}" if run else ""))
    return course.records


class _Update:
    """One step of the optimiser, the same on one process and on several."""

    def __init__(
        self,
        model: Transformer,
        examples: Sequence[Example],
        config: TrainingConfig,
        device: str | torch.device | None,
    ) -> None:
        device = choose_device(device)
        # The sinusoids are the only buffer. Each process grows its own, so that they may differ in length.
        own_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(cpu=device.type == "cpu", device_placement=False, kwargs_handlers=[own_buffers])
        self.n_processes = self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        self.device = self.accelerator.device if self.n_processes > 1 else device
        self.examples = examples
        self.config = config
        self.d_model = model.config.d_model
        model.to(self.device).train()
        adam = torch.optim.Adam(
            model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=self.device.type in ("cpu", "cuda")
        )  # paper §5.3
        self.objective, self.optimizer = self.accelerator.prepare(_Objective(model, config.label_smoothing), adam)
        bf16 = config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(self.device))
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def __call__(self, step: int, group: list[list[int]]) -> tuple[Tensor, int]:
        """Make update `step` from the batches of a group; returns the summed loss and the number of tokens.

        Each process takes its share of the group. The loss is divided by the tokens of the *whole* group, so
        that every token weighs the same wherever and in however many pieces it is computed.
        """
        # Dropout at this update depends on seed, update and process alone: a resumed run repeats it exactly.
        torch.manual_seed((self.config.seed * 1_000_003 + step) * 1_009 + self.accelerator.process_index)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate(step, self.config, self.d_model)
        n_tokens = sum(len(self.examples[i][1]) + 1 for indices in group for i in indices)
        mine = group[self.accelerator.process_index :: self.n_processes]
        weight = self.n_processes / n_tokens  # processes average their gradients
        if not mine:  # more processes than batches at the end of an epoch: take part, but add nothing
            mine, weight = group[:1], 0.0
        summed = torch.zeros((), device=self.device)
        for indices in mine:
            batch = collate([self.examples[i] for i in indices]).to(self.device)
            is_last = indices is mine[-1]
            with nullcontext() if is_last else self.accelerator.no_sync(self.objective):
                with self.autocast:
                    loss = self.objective(batch)
                self.accelerator.backward(loss * weight)
            summed += loss.detach() * (weight > 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.accelerator.reduce(summed, "sum"), n_tokens

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is up in any of the processes."""
        if self.n_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum") > 0)


class _Course:
    """The records of a training, shown as a progress bar and kept in its run."""

    def __init__(self, run: Run | None, done: int, last: int, show: bool) -> None:
        self.run = run
        self.records: list[dict[str, float]] = []
        self.bar = tqdm(total=last, initial=done, unit="update", disable=not show)
        self._start_over()
        if run is not None:
            run.forget_after(done)

    def _start_over(self) -> None:
        self.loss: Tensor | float = 0.0
        self.n_tokens = 0
        self.started = time.perf_counter()
        self.cpu_started = time.process_time()

    def add(self, summed_loss: Tensor, n_tokens: int) -> None:
        """Count one update; the loss stays on its device until it is asked for."""
        self.loss, self.n_tokens = self.loss + summed_loss, self.n_tokens + n_tokens
        self.bar.update()

    def log_training(self, step: int, rate: float) -> None:
        """Record the mean loss and the speed since the last record."""
        mean = float(self.loss) / self.n_tokens
        speed = self.n_tokens / (time.perf_counter() - self.started)
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean} at update {step}, expected a number; {WHEN_IT_DIVERGES}")
        self._record({"step": step, "loss": mean, "learning_rate": rate, "tokens_per_second": speed})
        self.bar.set_postfix_str(f"loss {mean:.3f}, {speed:,.0f} tokens/s, learning rate {rate:.1e}")
        self._start_over()

    def log_validation(self, step: int, scores: TeacherForced) -> None:
        """Record what the model makes of sentences it has not seen."""
        self._record(
            {
                "step": step,
                "val_loss": scores.loss,
                "val_nll": scores.nll,
                "val_perplexity": scores.perplexity,
                "val_accuracy": scores.accuracy,
            }
        )
        if self.run is not None:
            self.run.note_best(step, scores.nll)
        if not self.bar.disable:
            self.bar.write(
                f"update {step}: validation loss {scores.loss:.3f} smoothed, {scores.nll:.3f} unsmoothed, "
                f"perplexity {scores.perplexity:.2f}, token accuracy {scores.accuracy:.3f}",
                file=sys.stderr,
            )
        self._start_over()

    def _record(self, record: dict[str, float]) -> None:
        record["cpu_seconds"] = time.process_time() - self.cpu_started
        self.records.append(record)
        if self.run is not None:
            self.run.record(record)

    def __enter__(self) -> "_Course":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only raise a flag, to be looked at between updates; the second one stops at once."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield lambda: False
        return
    pressed = False

    def handle(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, previous)
