"""Loading a trained model: the best checkpoint of its run, or the mean of the last few (paper §6.1)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from transformer.config import check_whole
from transformer.files import CheckpointError, check_unchanged, read_tensors, resolve, saved_checkpoints, step_of
from transformer.model import Transformer
from transformer.runs.device import choose_device
from transformer.runs.run import Run
from transformer.text.tokenizer import Tokenizer


def load(
    name: str | Path, average_last: int = 1, device: str | torch.device | None = None
) -> tuple[Transformer, Tokenizer]:
    """The model and the tokeniser of a run, a checkpoint or a shipped model.

    Of a run it is the best checkpoint, or the mean of the last few. Raises CheckpointError for what is not there
    or does not fit together, ValueError for `average_last` below 1, TypeError for one that is no whole number.
    """
    check_whole(average_last=average_last)
    folder = resolve(name)
    model = Transformer.from_pretrained(folder)
    tokenizer = Tokenizer.from_pretrained(folder)
    if len(tokenizer) != model.config.vocab_size:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} has {len(tokenizer)} tokens, expected the {model.config.vocab_size} of the "
            "model; restore the tokenizer that it was trained with"
        )
    if average_last < 1:
        raise ValueError(f"average_last is {average_last}, expected 1 (the best checkpoint) or how many of the last")
    if average_last > 1:
        saved = _following_each_other(Path(name))
        if len(saved) < average_last:
            raise CheckpointError(
                f"{name} has {len(saved)} checkpoints that follow each other, expected a run with the {average_last} "
                f"to average; average fewer, or train with keep_last {average_last}"
            )
        model.load_weights(average(saved[-average_last:]), origin=str(name))
    return model.to(choose_device(device)), tokenizer


def _following_each_other(run: Path) -> list[Path]:
    """The last checkpoints of a run without an older one that is kept only as the best, oldest first."""
    saved = saved_checkpoints(run)
    if not (run / "metrics.jsonl").is_file():
        return saved
    validated = [record["step"] for record in Run(run).metrics() if "val_nll" in record]  # each had a checkpoint
    first = 0
    for i, (before, after) in enumerate(pairwise(map(step_of, saved)), 1):
        if any(before < step < after for step in validated):
            first = i
    return saved[first:]


def average(checkpoints: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the checkpoints' weights, tensor by tensor (paper §6.1).

    Raises CheckpointError for checkpoints of different models, ValueError for an empty list.
    """
    if not checkpoints:
        raise ValueError("got no checkpoints to average, expected at least one")
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        tensors = read_tensors(checkpoint / "model.safetensors")
        check_unchanged(checkpoint, "model.safetensors")
        if total and {k: t.shape for k, t in tensors.items()} != {k: t.shape for k, t in total.items()}:
            raise CheckpointError(
                f"{checkpoint} is of another model than {checkpoints[0]}; average checkpoints of one run"
            )
        for name, tensor in tensors.items():
            total[name] = total.get(name, torch.zeros(())) + tensor.double()
    return {name: (tensor / len(checkpoints)).float() for name, tensor in total.items()}
