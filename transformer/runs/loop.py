"""The training loop: update after update, on one process or several, recorded, interruptible and resumable."""

import itertools
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from transformer.config import check_whole
from transformer.evaluation import TeacherForced, teacher_forced
from transformer.model import Transformer
from transformer.runs.device import has_fast_bf16, seed_generators
from transformer.runs.notes import Notes
from transformer.runs.processes import Processes
from transformer.runs.run import Run
from transformer.text.batches import Example, collate, too_long
from transformer.text.resegmented import Resegmented
from transformer.training import TrainingConfig, batches_of_updates, learning_rate, paper_adam, training_step

WHEN_IT_DIVERGES = "lower peak_rate, lengthen warmup or use precision fp32, in a new run: a resumed one diverges again"
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
    """Train the model in place and return the records of this call, one after the other.

    A record has "step", "cpu_seconds" (this process's, since the record before), and either "loss" (nats per
    token, smoothed), "learning_rate" and "tokens_per_second" (target tokens, padding not counted), or "val_loss",
    "val_nll", "val_perplexity" and "val_accuracy". With a `run`, everything is kept in its folder, and `resume`
    goes on from its last checkpoint: on a CPU the weights become bit for bit those of a training that never stopped.
    `until` stops after that update, to be resumed; Ctrl-C does so at once. Either leaves one more checkpoint. Random
    numbers are drawn from seeds of their own: the caller's generators, of the CPU and of CUDA, are left as they were.
    Warns of a linear schedule whose warm-up lasts to the end.

    Raises ValueError for an empty corpus, for an example longer than the model's learned positions, an `until` below
    1, `resume` without a run, BPE-dropout without a run that has a byte-pair encoding, or a run that is already beyond
    `until` or `config.steps` or made its updates of another number of batches; TypeError for pairs that were not
    encoded, a folder in place of a `Run`, or an `until` that is no whole number; CheckpointError where the run cannot
    be read or written, or another training is going on in it; FloatingPointError when the loss is no longer a number,
    KeyboardInterrupt after Ctrl-C, when all is saved.
    """
    if not examples or not validation:
        raise ValueError(f"got {len(examples)} training and {len(validation)} validation pairs, expected some of each")
    for pair in (examples[0], validation[0]):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"got {pair!r:.80} to learn, expected ids of source and target, as `encode_pairs` gives them"
            )
    if run is not None and not isinstance(run, Run):
        raise TypeError(
            f"run is {run!r}, expected a Run, which has a tokenizer beside its folder: Run(folder, tokenizer)"
        )
    text = examples if not config.bpe_dropout else _resegmented(examples, config, run)
    if text is examples:
        _check_lengths(model, {"training pair": examples, "validation pair": validation})
    else:
        longest = "cut into most tokens by bpe_dropout, training pair"
        _check_lengths(model, {longest: text.longest(), "validation pair": validation})
    check_until(until)
    if resume and run is None:
        raise ValueError("resume is True without a run, expected the run to go on with; give one, or leave resume out")
    processes = Processes(device)
    if processes.is_main and config.schedule == "linear" and config.warmup >= config.steps:
        warnings.warn(
            f"warmup is {config.warmup} of {config.steps} updates: the learning rate rises to the end and never falls; "
            "lower warmup",
            stacklevel=2,
        )
    with run.claimed(resume) if run is not None and processes.is_main else nullcontext():
        return _train(model, text, validation, config, run, resume, until, processes, progress)


def _train(
    model: Transformer,
    examples: Sequence[Example] | Resegmented,
    validation: Sequence[Example],
    config: TrainingConfig,
    run: Run | None,
    resume: bool,
    until: int | None,
    processes: Processes,
    progress: bool,
) -> list[dict[str, float]]:
    """What `train` does once the folder is its own."""
    model.to(processes.device).train()
    optimizer = paper_adam(model)
    processes.synchronize(model, optimizer)
    done, before = 0, {}
    if run is not None and resume:
        done, before = run.restore(model, optimizer), run.made_with()
    processes.agree(done, "updates made before")
    made_with = _made_with(config, processes, before)
    last = min(until or config.steps, config.steps)
    if done > last:
        raise ValueError(
            f"the run has made {done} updates and is to stop after {last}; expected steps and until of {done} or more"
        )
    show = progress and processes.is_main
    history = _History(run if processes.is_main else None, done, last, show, made_with)
    upcoming = itertools.islice(batches_of_updates(examples, config, processes.count, done), last - done)
    gpus = [processes.device] if processes.device.type == "cuda" else []
    with history, _interruptible() as interrupted, torch.random.fork_rng(gpus):
        if history.run is not None and done:
            history.run.prune(config.keep_last)  # which may be fewer than before, and no other update may come
        if history.owes_validation(config):  # cut off between the checkpoint and its validation
            history.log_validation(done, teacher_forced(model, validation, config.label_smoothing))
        for step, update in enumerate(upcoming, done + 1):
            # Dropout depends on seed, update and process alone: a resumed run repeats it exactly.
            seed_generators((config.seed * 1_000_003 + step) * 1_009 + processes.index, processes.device)
            rate = learning_rate(step, config, model.config.d_model)
            optimizer.param_groups[0]["lr"] = rate
            n_tokens = sum(len(target) + 1 for batch in update for _, target in batch)  # with EOS
            batches = [collate(batch).to(processes.device) for batch in update[processes.index :: processes.count]]
            loss = training_step(model, batches, optimizer, config.label_smoothing, n_tokens, made_with["bf16"])
            history.add(processes.sum(loss), n_tokens)
            stop = processes.any(interrupted())
            due = step % config.validate_every == 0 or step == last
            if step % config.log_every == 0 or due or stop:
                history.log_training(step, rate)
            if due or stop:
                history.save(model, optimizer, step, config.keep_last)
            if due:
                history.log_validation(step, teacher_forced(model, validation, config.label_smoothing))
            if stop:
                raise KeyboardInterrupt(f"stopped after update {step}" + (f", saved in {run.folder}" if run else ""))
    return history.records


def _made_with(config: TrainingConfig, processes: Processes, before: dict[str, Any]) -> dict[str, Any]:
    """What the machine decides about the updates: kept with each checkpoint, so that a resumed run makes them alike.

    Raises ValueError where an update would have another number of batches than those `before`.
    """
    n_batches = config.accumulate * processes.count
    if (expected := before.get("batches_per_update", n_batches)) != n_batches:
        raise ValueError(
            f"an update would be made of {n_batches} batches (accumulate {config.accumulate}, processes "
            f"{processes.count}), expected {expected} as in the updates before; change accumulate or the processes"
        )
    bf16 = config.precision == "bf16"
    if config.precision == "auto":  # on a CPU by a measurement, which need not come out the same again
        bf16 = before["bf16"] if "bf16" in before else processes.any(has_fast_bf16(processes.device))
    return {"bf16": bf16, "batches_per_update": n_batches}


def check_until(until: int | None) -> None:
    """Raise for an update to stop after that is none: TypeError for no whole number, ValueError for one below 1."""
    check_whole(until=until)
    if until is not None and until < 1:
        raise ValueError(f"until is {until}, expected the number of an update, from 1")


def _resegmented(examples: Sequence[Example], config: TrainingConfig, run: Run | None) -> Resegmented:
    """The training text for BPE-dropout, which cuts it anew, and needs the tokeniser for that."""
    if run is None or run.tokenizer is None:
        raise ValueError(
            f"bpe_dropout is {config.bpe_dropout} without a tokenizer, expected a run with the one that cut the text: "
            "Run(folder, tokenizer)"
        )
    return Resegmented(run.tokenizer, examples, config.bpe_dropout, config.seed)


def _check_lengths(model: Transformer, splits: dict[str, Sequence[Example]]) -> None:
    """Find a sentence that the model cannot read before the first update, not when its turn comes."""
    if model.config.positions != "learned":
        return
    for name, examples in splits.items():
        if left_out := too_long(examples, model.config.max_len):
            i, n = next(iter(left_out.items()))
            raise ValueError(
                f"{name} {i + 1} has {n} tokens with EOS, expected at most {model.config.max_len}, the number of "
                "learned positions; leave it out, or train with a larger max_len or with sinusoidal positions"
            )


class _History:
    """The records of a training, shown as a progress bar and kept, like the checkpoints, in its run."""

    def __init__(self, run: Run | None, done: int, last: int, show: bool, made_with: dict[str, Any]) -> None:
        self.run, self.done, self.made_with = run, done, made_with
        if run is not None and done:
            run.go_on(done)
        elif run is not None:
            run.start()
        self.records: list[dict[str, float]] = []
        self.told = Notes(sys.stderr)
        self.bar = tqdm(total=last, initial=done, unit="update", disable=not show, file=self.told, dynamic_ncols=True)
        self._start_over()

    def _start_over(self) -> None:
        self.loss: Tensor | float = 0.0
        self.n_tokens = 0
        self.started = time.perf_counter()
        self.cpu_started = time.process_time()

    def owes_validation(self, config: TrainingConfig) -> bool:
        """Whether the checkpoint resumed from was to be validated, and no record of that was kept."""
        if self.run is None or not self.done or (self.done % config.validate_every and self.done < config.steps):
            return False
        return not any(record["step"] == self.done and "val_nll" in record for record in self.run.metrics())

    def add(self, loss: Tensor, n_tokens: int) -> None:
        """Count one update, its loss in nats per token, which stays on its device until it is asked for."""
        self.loss, self.n_tokens = self.loss + loss * n_tokens, self.n_tokens + n_tokens
        self.bar.update()

    def log_training(self, step: int, rate: float) -> None:
        """Record the mean loss and the speed since the last record."""
        mean = float(self.loss) / self.n_tokens
        speed = self.n_tokens / (time.perf_counter() - self.started)
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean} at update {step}, expected a number; {WHEN_IT_DIVERGES}")
        self._record({"step": step, "loss": mean, "learning_rate": rate, "tokens_per_second": speed})
        self.bar.set_postfix_str(f"loss {mean:.3f}, {speed:,.0f} tokens/s, learning rate {rate:.1e}")

    def save(self, model: Transformer, optimizer: torch.optim.Optimizer, step: int, keep_last: int) -> None:
        """Leave a checkpoint, unless weights are not finite: no run is to be resumed from those."""
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            raise FloatingPointError(f"weights are not finite after update {step}; {WHEN_IT_DIVERGES}")
        if self.run is not None:
            self.run.save(model, optimizer, step, keep_last, self.made_with)

    def log_validation(self, step: int, scores: TeacherForced) -> None:
        """Record how well the model predicts sentences that it was not trained on."""
        values = {"loss": scores.loss, "nll": scores.nll, "perplexity": scores.perplexity, "accuracy": scores.accuracy}
        if self.run is not None:
            self.run.note_best(step, scores.nll)  # first: what has no record is validated again on resuming
        self._record({"step": step} | {f"val_{name}": value for name, value in values.items()})
        if not self.bar.disable:
            self.bar.write(
                f"update {step}: validation loss {scores.loss:.3f} smoothed, {scores.nll:.3f} unsmoothed, "
                f"perplexity {scores.perplexity:.2f}, token accuracy {scores.accuracy:.3f}",
                file=self.told,
            )

    def _record(self, record: dict[str, float]) -> None:
        record["cpu_seconds"] = time.process_time() - self.cpu_started
        self.records.append(record)
        if self.run is not None:
            self.run.record(record)
        self._start_over()

    def __enter__(self) -> "_History":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only raise a flag, to be looked at between updates; the second one stops at once."""
    # Signals reach the main thread alone, and a job in the background of a script is told to ignore this one.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
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
