"""The loss: cross-entropy against smoothed targets (paper §5.4), without ever holding all the logits."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}
"""How many logits are computed together: what stays in a CPU's cache, what fills a GPU."""


def smoothed_cross_entropy(hidden: Tensor, matrix: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Label-smoothed cross-entropy of the logits hidden · matrixᵀ, summed; a scalar, in nats.

    hidden (n, D) and matrix (V, D) give logits (n, V); targets (n,) are the right tokens. The target is ε/V on
    every token and 1 − ε more on the right one (paper §5.4). Equals
    `F.cross_entropy(hidden @ matrix.T, targets, label_smoothing=ε, reduction="sum")`, several times faster.
    """
    return _SmoothedCrossEntropy.apply(hidden, matrix, targets, label_smoothing)


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one go, a few rows after the other.

    The logits are by far the largest tensor of a training, V numbers for every token. Autograd would keep them
    until the backward pass. But the gradient by the logits, softmax − smoothed target, is known as soon as they
    are: it is used while they are still in the cache, and forgotten.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, hidden: Tensor, matrix: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Sum up the loss, and keep its gradients by hidden and matrix where they are asked for."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        wide = torch.promote_types(hidden.dtype, torch.float32)  # where sums are formed
        n_rows = max(1, LOGITS_AT_ONCE.get(kind, 2**24) // len(matrix))
        factor = matrix.to(dtype)
        loss = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_grad = torch.empty_like(hidden)
        matrix_grad = torch.zeros_like(matrix, dtype=wide)
        for rows in range(0, len(hidden), n_rows):
            rows = slice(rows, rows + n_rows)
            x, target = hidden[rows].to(dtype), targets[rows, None]  # (r, D), (r, 1)
            log_p = torch.log_softmax(x @ factor.T, -1, dtype=wide)  # (r, V)
            loss -= (1 - smoothing) * log_p.gather(1, target).sum() + smoothing * log_p.mean(-1).sum()
            if not any(ctx.needs_input_grad):
                continue
            gradient = log_p.exp_().sub_(smoothing / len(matrix))
            gradient.scatter_add_(1, target, torch.full_like(target, smoothing - 1, dtype=wide))
            gradient = gradient.to(dtype)
            hidden_grad[rows] = gradient @ factor
            matrix_grad += gradient.T @ x
        ctx.save_for_backward(hidden_grad, matrix_grad.to(matrix.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients by that of the loss."""
        hidden_grad, matrix_grad = ctx.saved_tensors
        return hidden_grad * upstream, matrix_grad * upstream, None, None
