"""What is trained, on which text, and how: the two recipes of the book."""

from dataclasses import dataclass
from typing import Literal

from transformer.config import TransformerConfig
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
