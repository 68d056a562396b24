"""Learning from sentence pairs (paper §5): settings, learning rate, loss, and one step of training.

A training step, or *update*, changes the weights once. Names say `step`, the text says "update"; both count from 1.
The loop around the updates is in `transformer.runs.loop`.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transformer.config import check_shares, check_sizes, check_types
from transformer.loss import smoothed_cross_entropy
from transformer.model import Transformer
from transformer.text.batches import Batch, Example, count_token_batches, plain_batches, token_batches
from transformer.text.resegmented import Resegmented

Schedule = Literal["noam", "linear", "constant"]
"""how the learning rate goes on after the warm-up"""
Precision = Literal["auto", "fp32", "bf16"]
"""number formats of matrix products"""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are those of the paper's §5 where it names one.

    Raises ValueError for a number outside its range and for a schedule or precision of another name, TypeError for
    what is no number.
    """

    steps: int = 100_000
    """updates of the whole training"""
    batch_tokens: int = 25_000
    """positions of a padded batch, source or target, of sentences of like length (paper §5.1)"""
    batch_size: int | None = None
    """sentences of a batch, in random order; None: batches by batch_tokens"""
    accumulate: int = 1
    """batches whose gradients are summed up for one update, in each process"""
    schedule: Schedule = "noam"
    """after the warm-up: fall as 1/√step (paper §5.3), fall to zero at the last update, or stay"""
    warmup: int = 4_000
    """updates in which the learning rate rises"""
    peak_rate: float | None = None
    """learning rate at the end of the warm-up; None: (d_model · warmup)^-½, the paper's"""
    label_smoothing: float = 0.1
    """ε_ls: share of the target that is spread evenly over the vocabulary (paper §5.4)"""
    bpe_dropout: float = 0.0
    """probability that a merge of the byte-pair encoding is left out, anew in every epoch (Provilkov et al. 2020)"""
    bpe_dropout_until: int | None = None
    """update after which epochs that begin leave out no merge any more; None: all do"""
    precision: Precision = "auto"
    """number format of matrix products; auto: bf16 where the device is fast at it"""
    validate_every: int = 1_000
    """updates between two validations, each of which leaves a checkpoint"""
    keep_last: int = 5
    """checkpoints kept, beside the best"""
    log_every: int = 10
    """updates between two records of the training loss; one also comes before each validation and at a stop"""
    seed: int = 0
    """of the order of the batches, dropout and BPE-dropout; on the command line of the initial weights, too"""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.seed < 2**32:  # it is multiplied, and PyTorch takes 64 bits
            raise ValueError(f"seed is {self.seed}, expected 0 or more, and less than 2³²")
        check_sizes(steps=self.steps, warmup=self.warmup, validate_every=self.validate_every, keep_last=self.keep_last)
        check_sizes(batch_tokens=self.batch_tokens, batch_size=self.batch_size, accumulate=self.accumulate)
        check_sizes(log_every=self.log_every)
        if self.bpe_dropout_until is not None and self.bpe_dropout_until < 1:
            raise ValueError(f"bpe_dropout_until is {self.bpe_dropout_until}, expected the number of an update, from 1")
        if self.peak_rate is not None and not 0 < self.peak_rate < math.inf:
            raise ValueError(f"peak_rate is {self.peak_rate}, expected a finite learning rate above 0")
        check_shares(label_smoothing=self.label_smoothing, bpe_dropout=self.bpe_dropout)


def noam(step: int, d_model: int, warmup: int) -> float:
    """d_model^-½ · min(step^-½, step · warmup^-1.5): the learning rate of update `step` ≥ 1 (paper §5.3, eq. 3)."""
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


def learning_rate(step: int, config: TrainingConfig, d_model: int) -> float:
    """The learning rate of update `step` ≥ 1 under the configured schedule."""
    peak = noam(config.warmup, d_model, config.warmup) if config.peak_rate is None else config.peak_rate
    if step <= config.warmup:
        return peak * (step / config.warmup)
    if config.schedule == "noam":
        return peak * (config.warmup / step) ** 0.5
    if config.schedule == "linear":  # the update after the last one would have rate 0, as all after it
        return peak * max(0, config.steps + 1 - step) / max(1, config.steps + 1 - config.warmup)
    return peak


def paper_adam(model: torch.nn.Module) -> torch.optim.Adam:
    """Adam with the constants of the paper's §5.3; the learning rate is set anew for every update."""
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=fused)


def to_predict(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """The model's vectors (n, D) and the right tokens (n,) at the n positions that are no padding."""
    hidden = model.hidden(batch.source, batch.target_in)  # (B, T, D)
    return hidden[batch.target_mask], batch.target_out[batch.target_mask]


def summed_loss(model: Transformer, batch: Batch, label_smoothing: float) -> Tensor:
    """Label-smoothed cross-entropy of a batch, summed over the tokens to predict (paper §5.4); a scalar, in nats.

    No logits are computed for padding. A sum, not a mean: batches hold unequal numbers of tokens, and only the
    number in the whole update is the right one to divide by.
    """
    hidden, targets = to_predict(model, batch)  # (n, D), (n,)
    return smoothed_cross_entropy(hidden, model.output.weight, targets, label_smoothing)


def tokens_to_predict(batches: Sequence[Batch]) -> int:
    """How many tokens an update predicts; raises ValueError for none, whose mean loss is no number."""
    n_tokens = sum(batch.n_tokens for batch in batches)
    if not n_tokens:
        raise ValueError(f"got {len(batches)} batches without a token to predict, expected targets with some")
    return n_tokens


def training_step(
    model: Transformer,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    label_smoothing: float = 0.0,
    n_tokens: int | None = None,
    bf16: bool = False,
) -> Tensor:
    """Make one update of the weights from its batches; returns its loss, a scalar in nats per token.

    Each batch adds its gradients to those of the others. The loss is divided by the tokens of the *whole* update,
    so that every token weighs the same, in however many batches it is cut up; a process that has only a share of the
    batches is told the number, `n_tokens`. With `bf16`, matrices are multiplied in bfloat16; weights stay float32.
    Raises ValueError where there is nothing to predict.
    """
    n_tokens = n_tokens or tokens_to_predict(batches)
    total = torch.zeros((), device=model.device)
    for batch in batches:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            loss = summed_loss(model, batch, label_smoothing) / n_tokens
        loss.backward()
        total += loss.detach()
    optimizer.step()
    optimizer.zero_grad()
    return total


def batches_of_updates(
    examples: Sequence[Example] | Resegmented, config: TrainingConfig, n_processes: int = 1, done: int = 0
) -> Iterator[list[list[Example]]]:
    """The batches of each update, for ever: up to accumulate × n_processes lists of examples.

    The order depends on the seed and the epoch alone, so a resumed run, which leaves out the updates that are `done`,
    meets the same batches. Each example comes exactly once an epoch; the last update of one may have fewer batches.

    Raises ValueError where there are no examples.
    """
    per_update, by_tokens = config.accumulate * n_processes, config.batch_size is None
    deal, size = (token_batches, config.batch_tokens) if by_tokens else (plain_batches, config.batch_size)
    before = 0  # updates of the epochs before this one
    for epoch in itertools.count():
        text = examples
        if isinstance(examples, Resegmented):
            leaves_out = config.bpe_dropout_until is None or before < config.bpe_dropout_until
            text = examples.epoch(epoch) if leaves_out else examples.examples
        if not len(text):
            raise ValueError("got no examples, expected some to make batches of")
        n_batches = count_token_batches(text, size) if by_tokens else math.ceil(len(text) / size)
        n_updates = math.ceil(n_batches / per_update)
        skipped = max(0, done - before)  # a resumed run has these behind it
        if skipped < n_updates:  # otherwise no batch of this epoch is dealt
            batches = itertools.islice(deal(text, size, config.seed, epoch), per_update * skipped, None)
            while update := list(itertools.islice(batches, per_update)):
                yield [[text[i] for i in indices] for indices in update]
        before += n_updates
