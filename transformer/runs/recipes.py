"""What is trained, on which text, and how: the recipe of each corpus that has a name."""

from dataclasses import dataclass
from typing import Literal

from transformer.config import TransformerConfig
from transformer.text.corpora import NAMED
from transformer.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """A corpus, how it is cut into tokens, a model (its vocab_size is the most that there may be), a training."""

    corpus: str
    """a name, or the path of a folder"""
    tokenizer: Literal["bpe", "words"]
    """byte-pair encoding, or every word of the training texts"""
    model: TransformerConfig
    """the model's sizes"""
    training: TrainingConfig
    """how it is trained"""


def recipe_for(corpus: str) -> Recipe:
    """The recipe that the corpus of that name declares; that of Multi30k for a folder."""
    named = NAMED.get(corpus, NAMED["multi30k"])
    return Recipe(corpus, named.tokenizer, TransformerConfig(**named.model), TrainingConfig(**named.training))


MULTI30K = recipe_for("multi30k")
"""a small model with much dropout, and a small vocabulary: an hour of one core"""
EMBEDDED = recipe_for("embedded")
"""a very small model, and small random batches: under a minute of one core"""
