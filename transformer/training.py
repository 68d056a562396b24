"""Learning from sentence pairs (paper §5): the settings, the schedule, the loss of a batch, the batches of an update.

An *update* is one step of the optimiser; all counting is in updates, from 1. The loop is in `transformer.runs.loop`.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from transformer.loss import smoothed_cross_entropy
from transformer.model import Transformer
from transformer.text.batches import Batch, Example, plain_batches, token_batches


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
