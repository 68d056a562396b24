"""Folders on disk that hold a model: written whole or not at all, and read with errors that can be understood.

A checkpoint is a folder of `config.json`, `model.safetensors` and, beside a trained model, `tokenizer.json` and, in a
run, `checksums.json`; without one nothing is compared.
Nothing here is ever unpickled: a checkpoint from a stranger cannot run code.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file
from torch import Tensor

CHECKSUMS = "checksums.json"
"""the file in a folder that tells the SHA-256 of the others, as they were written"""
SHIPPED = Path(__file__).parent / "pretrained"
"""checkpoints that come with the package, one folder each"""


class CheckpointError(RuntimeError):
    """A checkpoint could not be read or written; the message says which, why, and what to do."""


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a draft beside `folder`, then give it its name: a folder of that name is complete.

    Raises CheckpointError when anything goes wrong on the way (disk full, folder not writable, `folder` already
    there); every checkpoint that was there before is then as it was.
    """
    draft = folder.with_name(folder.name + ".draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of an earlier attempt that was cut off
        draft.mkdir(parents=True)
        write(draft)
        write_json(draft / CHECKSUMS, {path.name: _sha256(path) for path in sorted(draft.iterdir())})
        _sync(draft)
        draft.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(
            f"could not save {folder} ({error}); checkpoints saved before are intact. "
            "Make room or make the folder writable, then resume from the last one, or start anew where there is none"
        ) from error


def check_unchanged(folder: Path, *names: str, advice: str = "use another checkpoint") -> None:
    """Compare files of a folder with the checksums that were written with them, where there are any.

    A tokenizer in another order, a flipped bit or another number of heads fits the model, and makes nonsense of it.
    Raises CheckpointError, with the advice, for a file that is another one.
    """
    written = read_json(folder / CHECKSUMS, advice) if (folder / CHECKSUMS).is_file() else {}
    for name in names:
        if name in written and written[name] != _sha256(folder / name):
            raise CheckpointError(
                f"{folder / name} is not as it was saved, its SHA-256 is another one than in {CHECKSUMS}; "
                f"{advice}, or delete {CHECKSUMS} if the change is meant"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Force the files to the disk, so that a full disk speaks up before an old checkpoint goes."""
    for path in folder.iterdir():
        with path.open("rb+") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as readable JSON, replacing the file in one step."""
    replace_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all: until the new one is complete, the old one stays."""
    draft = path.with_name(path.name + ".draft")
    # File names that are not UTF-8 arrive as lone surrogates: write them as escapes.
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        draft.replace(path)
    except (Exception, KeyboardInterrupt):
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path, advice: str | None = None) -> dict[str, Any]:
    """Read a JSON object; raises CheckpointError, with the advice, where it is missing, cut off or something else."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing, expected it in the folder of a checkpoint; "
            + (advice or "name such a folder, or that of a run")
        )
    advice = advice or "use another checkpoint"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets in brackets
        raise CheckpointError(f"{path} is not valid JSON ({error}); the file is damaged, {advice}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected an object of settings; {advice}")
    return content


def read_settings(run: Path) -> dict[str, Any]:
    """What a run was started with, its `config.json`; raises CheckpointError where that is missing or damaged."""
    advice = "restore it, or start a new run; evaluate needs none of it with --corpus, --source and --target"
    if not (run / "config.json").is_file():
        raise CheckpointError(f"{run / 'config.json'} is missing, expected the settings of the run; {advice}")
    return read_json(run / "config.json", advice)


def read_tensors(path: Path, advice: str = "use another checkpoint") -> dict[str, Tensor]:
    """Read a safetensors file; raises CheckpointError, with the advice, where it is missing, cut off or another."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the checkpoint is incomplete, {advice}")
    try:
        return load_file(path) if _is_utf8(path) else load_bytes(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); it was cut off or damaged, {advice}"
        ) from error


def _is_utf8(path: Path) -> bool:
    """Whether the name can be given to safetensors, which opens no other; on Linux a name is any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def resolve(name: str | os.PathLike[str]) -> Path:
    """The checkpoint folder that is meant: a folder itself, a run (its best checkpoint), or a shipped model.

    Raises CheckpointError where there is none.
    """
    folder = Path(name)
    if os.fspath(name) and folder.is_dir():  # an empty name would be the current folder
        return best_checkpoint(folder) if (folder / "checkpoints").is_dir() else folder
    shipped = sorted(path.name for path in SHIPPED.glob("*") if path.is_dir())
    if str(folder) in shipped:  # without the slash that a name may end in
        return SHIPPED / folder
    raise CheckpointError(
        f"there is no model {str(name)!r}, expected the folder of a run or of a checkpoint"
        + (f", or one of {', '.join(shipped)}" if shipped else "; python -m transformer train makes one")
    )


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where a run keeps the checkpoint of update `step`."""
    return run / "checkpoints" / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The update after which a run wrote this checkpoint, as the folder's name says."""
    return int(checkpoint.name.removeprefix("step-"))


def saved_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-" + "[0-9]" * 8))


def best_checkpoint(run: Path) -> Path:
    """The checkpoint of a run with the lowest validation loss, or its last one where none was validated.

    Raises CheckpointError for a run without checkpoints.
    """
    saved = saved_checkpoints(run)
    if not saved:
        raise CheckpointError(f"{run} holds no finished checkpoint, expected one under {run / 'checkpoints'}")
    noted = noted_best(run)
    return noted[0] if noted else saved[-1]


def noted_best(run: Path) -> tuple[Path, float] | None:
    """The best checkpoint so far and its validation loss, as `best.json` tells them.

    Where there is no such file, it is the best of those on record. So it is for a damaged one, or one that names no
    checkpoint that is there, which is warned of: the next validation writes it anew.
    """
    path = run / "best.json"
    if not path.is_file():
        return _best_on_record(run)
    try:
        noted = read_json(path)
        name, nll = noted.get("checkpoint"), noted.get("val_nll")
        told = f"it names {name!r} and a val_nll of {nll!r}"
    except CheckpointError as error:
        name, nll, told = None, None, str(error.__cause__ or "it holds no object")
    best = {checkpoint.name: checkpoint for checkpoint in saved_checkpoints(run)}.get(str(name))
    if best is not None and type(nll) in (int, float) and nll >= 0:  # NaN is not; true and false are int, too
        return best, nll
    warnings.warn(
        f"{path} does not tell which checkpoint is the best ({told}), expected the name of one that is there and its "
        "validation loss; instead the best one on record is used, or else the last, name another one where that is not "
        "meant",
        stacklevel=3,
    )
    return _best_on_record(run)


def _best_on_record(run: Path) -> tuple[Path, float] | None:
    """Of the checkpoints that are there, the one with the least validation loss in `metrics.jsonl`; None for none."""
    path, losses = run / "metrics.jsonl", {}
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        record = record_of(line) or {}
        nll = record.get("val_nll")
        if type(nll) in (int, float) and nll >= 0:
            losses[record["step"]] = nll
    return min(
        ((saved, losses[step_of(saved)]) for saved in saved_checkpoints(run) if step_of(saved) in losses),
        key=lambda one: one[1],
        default=None,
    )


def record_of(line: bytes) -> dict[str, float] | None:
    """One line of a run's `metrics.jsonl`; None for a damaged one."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None  # True is an int, too


def way_out(run: Path) -> str:
    """What to do where the last checkpoint of a run is damaged."""
    *before, last = saved_checkpoints(run)
    return f"delete {last} to go on from the checkpoint before it" if before else "start a new run"


def last_checkpoint(run: Path) -> Path:
    """The newest checkpoint of a run; raises CheckpointError where there is none to resume from, or an empty one."""
    saved = saved_checkpoints(run)
    if not saved:
        raise CheckpointError(
            f"there is no run to resume in {run}, expected a checkpoint under {run / 'checkpoints'}; "
            "start a new one, or name the folder of an earlier run"
        )
    if not (saved[-1] / "state.json").is_file():
        raise CheckpointError(
            f"{saved[-1] / 'state.json'} is missing, expected the number of an update; no training has left it like "
            f"that, {way_out(run)}"
        )
    return saved[-1]
