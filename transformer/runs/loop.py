"""The training loop: update after update, on one process or several, recorded, interruptible and resumable.

One process or many run the same code: `torchrun -m -- transformer train` starts several, and accelerate tells
them apart.
"""

import itertools
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor
from tqdm import tqdm

from transformer.evaluation import TeacherForced, teacher_forced
from transformer.model import Transformer
from transformer.runs.device import choose_device, has_fast_bf16
from transformer.runs.run import Run
from transformer.text.batches import Batch, Example, collate
from transformer.training import TrainingConfig, groups, learning_rate, summed_loss

WHEN_IT_DIVERGES = "lower peak_rate, lengthen warmup or use precision fp32, in a new run (--resume keeps the settings)"
"""what to do then, said by the error"""


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


class _Objective(torch.nn.Module):
    """The model and its loss as one module, so that several processes meet in one forward pass."""

    def __init__(self, model: Transformer, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> Tensor:
        """The summed loss of a batch."""
        return summed_loss(self.model, batch, self.label_smoothing)


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
