"""Loading a trained model: the best checkpoint of its run, or the mean of the last few (paper §6.1)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer.config import check_whole
from transformer.files import CheckpointError, check_unchanged, read_tensors, resolve, saved_checkpoints
from transformer.model import Transformer
from transformer.runs.device import choose_device
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
        saved = saved_checkpoints(Path(name))
        if len(saved) < average_last:
            raise CheckpointError(
                f"{name} has {len(saved)} checkpoints, expected a run with the {average_last} to average; "
                f"average fewer, or train with keep_last {average_last}"
            )
        model.load_weights(average(saved[-average_last:]), origin=str(name))
    return model.to(choose_device(device)), tokenizer


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
