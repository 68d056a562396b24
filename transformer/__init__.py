"""The Executable Transformer: the model of *Attention Is All You Need*, small enough to read in an evening.

The plan of the package. A module imports from its own floor and from the floors below it, never from one above:

    __init__, __main__                              what a user imports, and the command line
    tutor/                                          what the chapters teach with: claims, exercises, figures
    runs/                                           the training loop, the folder that keeps a run, recipes, checkpoints
    training, loss, decoding, evaluation            learning (paper §5) and translating (paper §6.1)
    attention, embeddings, layers, model, config    the model (paper §3)
    text/                                           corpora, tokens and batches (paper §5.1)
    files, dropout                                  checkpoints on disk, and a dropout that is fast on a CPU
"""

import warnings
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# accelerate imports tqdm.auto, which asks for Jupyter widgets; the progress bars here are plain text.
warnings.filterwarnings("ignore", message="IProgress not found")

_HOMES = {
    "Transformer": "model",
    "TransformerConfig": "config",
    "Tokenizer": "text.tokenizer",
    "load_corpus": "text.corpora",
    "encode_pairs": "text.batches",
    "TrainingConfig": "training",
    "train": "runs.loop",
    "Run": "runs.run",
    "load": "runs.checkpoints",
    "DecodingConfig": "decoding",
    "translate": "decoding",
    "evaluate": "evaluation",
    "bleu": "evaluation",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for: `import transformer` alone loads nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The names that `dir` and the Tab key find, those not imported yet among them."""
    return sorted([*globals(), *__all__])
