"""From token ids to vectors, the sum of one for the token and one for its position (paper §3.4 and §3.5)."""

import math
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.config import Positions, check_even


class TokenEmbedding(nn.Module):
    """One vector per token, multiplied by √d_model (paper §3.4): ids (B, T) → (B, T, D).

    The table starts from a normal distribution of standard deviation d_model^-½, so that after the
    multiplication a word's features have unit variance, twice that of a sinusoid beside it. The same table can
    serve as the pre-softmax matrix, where that small scale is the right one.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))  # (V, D)
        self.scale = math.sqrt(d_model)
        nn.init.normal_(self.weight, std=d_model**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Look the ids up and scale.

        Raises IndexError for an id outside the vocabulary. The check is left out on a GPU, where reading a
        value back would stall every step; CUDA stops with an assertion of its own there.
        """
        if ids.device.type == "cpu" and ids.numel():
            low, high = ids.aminmax()
            if low < 0 or high >= len(self.weight):
                raise IndexError(
                    f"token ids run from {low} to {high}, expected 0 to {len(self.weight) - 1}; "
                    "was the text encoded with another tokenizer than the model's?"
                )
        return F.embedding(ids, self.weight) * self.scale  # (B, T, D)


def sinusoids(n: int, d_model: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(the same), paper §3.5: (n, d_model).

    Sine and cosine of one frequency stand side by side. Computed in float64 and rounded once.

    Raises ValueError for an odd d_model, which would leave a sine without its cosine.
    """
    check_even(d_model)
    position = torch.arange(n, dtype=torch.float64)[:, None]  # (n, 1)
    frequency = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)  # (D/2,)
    angle = position * frequency  # (n, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(dtype)  # (n, D/2, 2) → (n, D)


class PositionalEncoding(nn.Module):
    """Add to each vector one that says where it stands (paper §3.5): (B, T, D) → (B, T, D).

    `kind` is "sinusoidal" (a table that grows on demand, and is neither trained nor saved) or "learned" (a trained
    table of `max_len` rows, row (E) of the paper's Table 3); the others of `Positions` add nothing.

    Raises ValueError for a kind that `Positions` does not have.
    """

    def __init__(self, d_model: int, kind: Positions = "sinusoidal", max_len: int = 512) -> None:
        super().__init__()
        if kind not in get_args(Positions):
            raise ValueError(f"positions are {kind!r}, expected one of {', '.join(get_args(Positions))}")
        self.kind = kind
        if kind == "sinusoidal":
            self.register_buffer("table", sinusoids(max_len, d_model), persistent=False)  # (max_len, D)
        elif kind == "learned":
            self.table = nn.Parameter(torch.empty(max_len, d_model))  # (max_len, D)
            nn.init.normal_(self.table, std=0.5**0.5)  # as large as a sinusoid, whose rms is √½
        else:
            self.table = None

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add positions start, start + 1, … to x.

        Raises ValueError for a sentence that runs past the end of a learned table.
        """
        if self.table is None:
            return x
        end = start + x.size(1)
        if end > len(self.table):
            self._grow(end)
        return x + self.table[start:end]  # (B, T, D) + (T, D)

    def _grow(self, n: int) -> None:
        if self.kind == "learned":
            raise ValueError(
                f"the sentence has {n} tokens, expected at most {len(self.table)}, the number of learned positions; "
                "shorten it, or train with a larger max_len or with sinusoidal positions"
            )
        with torch.inference_mode(False):  # it may grow during a search, but training will use it too
            table = sinusoids(2 * n, self.table.size(1))  # twice: decoding asks for one position more each step
            self.table = table.to(self.table)
