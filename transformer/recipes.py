"""What is trained, on which text, and how: the two recipes of the book, and what their trainings leave behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from transformer.checkpoints import CheckpointError, average, resolve, saved_checkpoints
from transformer.config import TransformerConfig
from transformer.device import choose_device
from transformer.model import Transformer
from transformer.text.tokenizer import Tokenizer
from transformer.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """A corpus, how it is cut into tokens, a model (its vocab_size is the most that there may be), a training."""

    corpus: str
    """embedded or multi30k"""
    tokenizer: Literal["bpe", "words"]
    """byte-pair encoding, or every word of the training texts"""
    model: TransformerConfig
    """the model's sizes"""
    training: TrainingConfig
    """how it is trained"""


MULTI30K = Recipe(
    corpus="multi30k",
    tokenizer="bpe",
    model=TransformerConfig(vocab_size=5_000, d_model=160, n_layers=3, n_heads=4, d_ff=512, dropout=0.2),
    training=TrainingConfig(
        steps=8_000,
        batch_tokens=2_500,
        schedule="linear",
        warmup=800,
        peak_rate=2.5e-3,
        validate_every=250,
        keep_last=10,
    ),
)
"""a small model with much dropout: on 29,000 sentences it ends up above larger ones (Wu et al. 2021, "Good for
misconceived reasons"); a small vocabulary leaves more of the parameters to the layers"""

EMBEDDED = Recipe(
    corpus="embedded",
    tokenizer="words",
    model=TransformerConfig(vocab_size=1_000, d_model=64, n_layers=2, n_heads=2, d_ff=128, dropout=0.0),
    training=TrainingConfig(
        steps=1_500, batch_size=32, schedule="linear", warmup=100, peak_rate=5e-3, precision="fp32", validate_every=500
    ),
)
"""small random batches and no dropout: the text is generated, and there is no end of it"""


def load(
    name: str | Path, average_last: int = 1, device: str | torch.device | None = None
) -> tuple[Transformer, Tokenizer]:
    """The model and the tokeniser of a run, a checkpoint or a shipped model.

    Of a run it is the best checkpoint, or the mean of the last few. Raises CheckpointError for what is not there
    or does not fit together, ValueError for `average_last` below 1.
    """
    folder = resolve(name)
    model = Transformer.from_pretrained(folder)
    tokenizer = Tokenizer.from_pretrained(folder)
    if len(tokenizer) != model.config.vocab_size:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} has {len(tokenizer)} tokens, expected the {model.config.vocab_size} of the "
            "model; restore the tokenizer that it was trained with"
        )
    if average_last < 1:
        raise ValueError(f"average is {average_last}, expected 1 (the best checkpoint) or how many of the last")
    if average_last > 1:
        saved = saved_checkpoints(Path(name))
        if len(saved) < average_last:
            raise CheckpointError(
                f"{name} has {len(saved)} checkpoints, expected the {average_last} to average; "
                f"train with --keep-last {average_last}"
            )
        model.load_weights(average(saved[-average_last:]), origin=str(name))
    return model.to(choose_device(device)), tokenizer
