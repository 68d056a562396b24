"""A folder that keeps one training: its settings, its history, and its checkpoints."""

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file
from torch import Tensor

from transformer.files import (
    CheckpointError,
    best_checkpoint,
    check_unchanged,
    checkpoint_folder,
    last_checkpoint,
    noted_best,
    read_json,
    read_tensors,
    record_of,
    replace_text,
    saved_checkpoints,
    step_of,
    way_out,
    write_folder,
    write_json,
)
from transformer.model import Transformer
from transformer.text.tokenizer import Tokenizer

OWN = {"config.json", "metrics.jsonl", "best.json", "checkpoints", "lock"}
"""what a training puts into its folder"""
DELETED = ".deleted"
"""ends the name of a checkpoint that is being deleted, so that what is left half-way is none"""
CHECKPOINT = re.compile(rf"step-[0-9]{{8}}({re.escape(DELETED)}|\.draft)?")
"""the name of a checkpoint, or of what is left of one half-way"""


@dataclass
class Run:
    """The folder of one training.

    `config.json` has the settings, `metrics.jsonl` the history, one record a line, `checkpoints/step-…` a
    checkpoint each, and `best.json` names the one with the lowest validation loss. While a training goes on, it holds
    a lock on the file `lock`.
    """

    folder: Path
    """where everything is kept, a path or its name; made when the training starts"""
    tokenizer: Tokenizer | None = None
    """saved with every checkpoint, so that a checkpoint can translate on its own"""
    settings: dict[str, Any] = field(default_factory=dict)
    """what `config.json` is to tell"""

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)

    @contextmanager
    def claimed(self, resume: bool = False) -> Iterator[None]:
        """Keep every other training out of the folder, which is made for a new one, until the block ends.

        By a lock of the operating system on the file `lock`, which ends with its process: a crash leaves nothing that
        keeps others out. Raises CheckpointError where another training holds it, where there is none to resume, where
        the folder is no run and not empty, or cannot be written.
        """
        if resume:
            last_checkpoint(self.folder)
        elif not saved_checkpoints(self.folder):
            self._refuse_file()
            self._refuse_foreign()  # and leave not even a lock there
        lock = FileLock(self.folder / "lock")
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise CheckpointError(
                    f"another training is going on in {self.folder}, expected one at a time; stop it, let it end, or "
                    "choose another folder (one that crashed would not be in the way)"
                ) from error
        try:
            yield
        finally:
            lock.release()

    def start(self) -> None:
        """Make the folder for a new training.

        Raises CheckpointError where it holds one already or anything else, which would be written over, or cannot be
        written. What a training left that was stopped before its first checkpoint gives way.
        """
        self.refuse_taken()
        with self._writing():
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (self.folder / "metrics.jsonl").write_text("", encoding="utf-8")
            (self.folder / "best.json").unlink(missing_ok=True)
            write_json(self.folder / "config.json", self.settings)

    def refuse_taken(self) -> None:
        """Raise CheckpointError where no new training can be kept: a training, a file or something else is there."""
        if saved_checkpoints(self.folder):
            raise CheckpointError(f"{self.folder} already holds a training; resume it, or choose another folder")
        self._refuse_file()
        self._refuse_foreign()

    def _refuse_file(self) -> None:
        """Raise CheckpointError where a file, or a link that leads nowhere, stands in the place of the folder."""
        for path in (self.folder, *self.folder.parents):
            if os.path.lexists(path) and not path.is_dir():
                raise CheckpointError(
                    f"could not write to {self.folder}: {path} is a file or a link that leads to no folder; remove "
                    "it, or choose a folder that is writable"
                )

    def _refuse_foreign(self) -> None:
        """Raise CheckpointError where the folder holds something that no training has put there."""
        if foreign := self._foreign():
            raise CheckpointError(
                f"{self.folder} is no run, it holds {foreign}; a training would write over what is there. Choose a new "
                "folder, or an empty one"
            )

    def _foreign(self) -> str | None:
        """The name of something in the folder that no training has put there; None where there is nothing such."""
        checkpoints = self.folder / "checkpoints"
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if not checkpoints.is_dir():  # the first thing that a training makes
            return min(there - {"lock"}, default=None)
        own = OWN | {f"{name}.draft" for name in OWN}
        others = {path.name for path in checkpoints.iterdir() if not CHECKPOINT.fullmatch(path.name)}
        return min((there - own) | others, default=None)

    def restore(self, model: Transformer, optimizer: torch.optim.Optimizer) -> int:
        """Load the last checkpoint into model and optimiser, and return the number of its update.

        Raises CheckpointError for a folder without one, or one that is damaged or does not fit the model.
        """
        last = last_checkpoint(self.folder)
        advice = way_out(self.folder)
        self._refuse_other_model(last, model, advice)
        step = read_json(last / "state.json", advice).get("step")
        if type(step) is not int or step != step_of(last):  # True is an int, too
            raise CheckpointError(
                f"{last / 'state.json'} has step {step!r}, expected the number of an update, {step_of(last)} as the "
                f"folder's name says; it is damaged, {advice}"
            )
        model.load_weights(read_tensors(last / "model.safetensors", advice), origin=str(last))
        _load_optimizer(model, optimizer, last / "optimizer.safetensors", step, advice)
        names = "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"
        check_unchanged(last, *names, advice=advice)
        return step

    def _refuse_other_model(self, last: Path, model: Transformer, advice: str) -> None:
        """Raise CheckpointError where the run would go on with another model, or tokeniser, than its checkpoint has."""
        now, then = asdict(model.config), read_json(last / "config.json", advice)
        for name in now:
            if now[name] != then.get(name, now[name]):
                raise CheckpointError(
                    f"{last} is of a model with {name} {then[name]}, expected {now[name]} as it goes on; restore the "
                    "settings that it was trained with, or start a new run"
                )
        stored = last / "tokenizer.json"
        if self.tokenizer is None or not stored.is_file():
            return
        if self.last_tokenizer().to_json() != self.tokenizer.to_json():
            raise CheckpointError(
                f"{stored} is another tokenizer than the run goes on with, expected the same; give the one that the "
                "text was encoded with before, or start a new run"
            )

    def last_tokenizer(self) -> Tokenizer:
        """The tokeniser of the last checkpoint; raises CheckpointError where it is missing or damaged."""
        try:
            return Tokenizer.load(last_checkpoint(self.folder) / "tokenizer.json")
        except (FileNotFoundError, ValueError) as error:
            raise CheckpointError(f"{error}; {way_out(self.folder)}") from error

    def go_on(self, step: int) -> None:
        """Prepare the folder for a training that goes on from this update, and makes those after it anew.

        Their records are dropped, and what was left half deleted or half written. Settings, where there are any,
        replace those that were stored. Lines that are no records stop no training: the file as it was stays beside the
        new one, as `metrics.jsonl.damaged`.
        """
        path = self.folder / "metrics.jsonl"
        records, damaged = self._read_metrics()
        kept = [json.dumps(record) + "\n" for record in records if record["step"] <= step]
        with self._writing():
            if damaged:
                shutil.copyfile(path, path.with_name(path.name + ".damaged"))
            if self.settings:
                write_json(self.folder / "config.json", self.settings)
            replace_text(path, "".join(kept))
            for left in (self.folder / "checkpoints").iterdir():
                found = CHECKPOINT.fullmatch(left.name)
                if found and found[1] and left.is_dir():  # cut off while it was deleted or written
                    shutil.rmtree(left)

    def metrics(self) -> list[dict[str, float]]:
        """The records so far; a last line that was cut off in the middle is left out.

        Warns of other lines that are damaged, and of a missing file, and goes on: the checkpoints need none of it.
        """
        return self._read_metrics()[0]

    def _read_metrics(self) -> tuple[list[dict[str, float]], list[int]]:
        """The records, and the numbers of the lines that hold none; warns of them, and of a missing file."""
        path = self.folder / "metrics.jsonl"
        if not path.is_file():
            warnings.warn(f"{path} is missing, so the history until now is lost; the checkpoints are not", stacklevel=3)
            return [], []
        found = {i: record_of(line) for i, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1)}
        damaged = [i for i, record in found.items() if record is None]
        if damaged:
            named = ", ".join(map(str, damaged[:5])) + (f" and {len(damaged) - 5} more" if len(damaged) > 5 else "")
            warnings.warn(
                f"{path} is damaged in line {named}, expected a JSON object with a step; left out", stacklevel=3
            )
        return [record for record in found.values() if record is not None], damaged

    def record(self, record: dict[str, float]) -> None:
        """Add one line to `metrics.jsonl`."""
        with self._writing(), (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def made_with(self) -> dict[str, Any]:
        """What the last checkpoint says of how its updates were made, see `save`; nothing where it is older."""
        state = read_json(last_checkpoint(self.folder) / "state.json", way_out(self.folder))
        return {name: value for name, value in state.items() if name != "step"}

    def save(
        self,
        model: Transformer,
        optimizer: torch.optim.Optimizer,
        step: int,
        keep_last: int,
        made_with: dict[str, Any],
    ) -> None:
        """Write the checkpoint of this update, then delete those that are neither the last few nor the best.

        `made_with` is what a resumed training has to do alike, besides its settings.

        Raises CheckpointError where it cannot be written; the checkpoints before it stay as they are.
        """
        folder = checkpoint_folder(self.folder, step)

        def write(draft: Path) -> None:
            model.save_pretrained(draft)
            if self.tokenizer is not None:
                self.tokenizer.save(draft / "tokenizer.json")
            save_file(_optimizer_tensors(model, optimizer), draft / "optimizer.safetensors")
            write_json(draft / "state.json", {"step": step} | made_with)

        write_folder(folder, write)
        self.prune(keep_last)

    def prune(self, keep_last: int) -> None:
        """Delete the checkpoints that are neither the last few nor the best."""
        saved = saved_checkpoints(self.folder)
        for old in set(saved[:-keep_last]) - {best_checkpoint(self.folder)}:
            shutil.rmtree(old.rename(old.with_name(old.name + DELETED)))

    def note_best(self, step: int, nll: float) -> None:
        """Let `best.json` name this update's checkpoint if its validation loss (nats per token) is the lowest yet.

        Else it is written as it was, since it may have been damaged or gone.
        """
        best, least = noted_best(self.folder) or (None, math.inf)
        if best is None or nll < least:
            best, least = checkpoint_folder(self.folder, step), nll
        with self._writing():
            write_json(self.folder / "best.json", {"checkpoint": best.name, "val_nll": least})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"could not write to {self.folder} ({error}); make room or choose a folder that is writable. "
                "Checkpoints saved before are intact: resume from the last one"
            ) from error


def _optimizer_tensors(model: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and counters by parameter name, since `model.parameters()` came in that order."""
    state = optimizer.state_dict()["state"]
    names = [name for name, _ in model.named_parameters()]
    return {f"{names[i]}/{key}": tensor.contiguous() for i, moments in state.items() for key, tensor in moments.items()}


def _load_optimizer(model: Transformer, optimizer: torch.optim.Optimizer, path: Path, step: int, advice: str) -> None:
    """Give the optimiser the moments and counters of update `step` in a file.

    Raises CheckpointError, with the advice, where they do not fit the model or no training has computed them.
    """
    state: dict[int, dict[str, Tensor]] = {}
    parameters = dict(model.named_parameters())
    index = {name: i for i, name in enumerate(parameters)}
    for key, tensor in read_tensors(path, advice).items():
        name, _, moment = key.rpartition("/")
        if name not in index:
            raise CheckpointError(
                f"{path} knows a parameter {name!r} that the model has not; it is of another run, restore this "
                f"run's own, or {advice}"
            )
        shape = parameters[name].shape if moment != "step" else torch.Size()
        if fault := _fault_of(moment, tensor, shape, step):
            raise CheckpointError(f"{path} has {key} {fault}; it is damaged, {advice}")
        state.setdefault(index[name], {})[moment] = tensor
    moments = {"step", "exp_avg", "exp_avg_sq"}
    trained = [name for name in index if parameters[name].requires_grad]  # Adam knows nothing of frozen ones
    if missing := [name for name in trained if state.get(index[name], {}).keys() < moments]:
        raise CheckpointError(
            f"{path} lacks the parameter {missing[0]!r}; it is of another run, or was frozen there: freeze it again, "
            f"or {advice}"
        )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _fault_of(moment: str, tensor: Tensor, shape: torch.Size, step: int) -> str:
    """What is wrong with a moment or counter of update `step`, and what was expected; nothing for one that is right."""
    if tensor.shape != shape or not tensor.is_floating_point():
        got = f"of shape {tuple(tensor.shape)} and type {tensor.dtype}"
        return f"{got}, expected floating-point numbers of shape {tuple(shape)}"
    if not tensor.isfinite().all():
        return "with NaN or infinite numbers, expected finite ones"
    if moment == "step" and tensor != step:
        return f"with {tensor.item():g}, expected {step}, the update that it was saved after"
    if moment == "exp_avg_sq" and tensor.min() < 0:
        return f"with {tensor.min().item():g}, expected squares, 0 or more"
    return ""
