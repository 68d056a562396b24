"""What is trained, on which text, and how: the recipe of each corpus that has a name."""

from dataclasses import dataclass, replace
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
    """byte-pair encoding, or whole words, the vocab_size most frequent ones"""
    model: TransformerConfig
    """the model's sizes"""
    training: TrainingConfig
    """how it is trained"""


def recipe_for(corpus: str) -> Recipe:
    """The recipe that the corpus of that name declares; `ONE_HOUR` for a corpus of one's own."""
    named = NAMED.get(corpus)
    if named is None:
        return replace(ONE_HOUR, corpus=corpus)
    return Recipe(corpus, named.tokenizer, TransformerConfig(**named.model), TrainingConfig(**named.training))


MULTI30K = recipe_for("multi30k")
"""a small model with much dropout, a small vocabulary, large batches, and BPE-dropout: some three hours of one core"""
ONE_HOUR = replace(
    MULTI30K,
    training=replace(MULTI30K.training, batch_tokens=2_500, warmup=800, bpe_dropout=0.0),
)
"""the same in a third of the computation, with smaller batches and without BPE-dropout: an hour of one core"""
EMBEDDED = recipe_for("embedded")
"""a very small model, and small random batches: under a minute of one core"""
