"""The layers of the encoder and of the decoder (paper §3.1 and §3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.attention import KeyValueCache, MultiHeadAttention
from transformer.config import TransformerConfig


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each vector over its own features: (…, D) → (…, D) with mean `bias` and deviation `gain`.

    The variance is the biased one and eps stands inside the root (Ba et al. 2016, cited in paper §3.1).
    Written out for reading; `LayerNorm` computes the same by PyTorch's fused kernel.
    """
    mean = x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, correction=0)
    return gain * (x - mean) / torch.sqrt(variance + eps) + bias


class LayerNorm(nn.Module):
    """`layer_norm` with a gain and a bias per feature that are learned, from 1 and 0: (…, D) → (…, D)."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class FeedForward(nn.Module):
    """max(0, xW₁ + b₁)W₂ + b₂, the same at every position (paper §3.3, equation 2): (B, T, D) → (B, T, D)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        for linear in (self.inner, self.outer):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Widen to d_ff, cut at zero, narrow again."""
        return self.outer(self.inner(x).relu())


class Dropout(nn.Dropout):
    """Set a share p of the features to zero while training, and scale the others by 1 / (1 − p) (paper §5.4).

    The same as `nn.Dropout`, which on a CPU draws its zeros one by one; uniform numbers come many at a time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to the same shape."""
        if x.device.type != "cpu" or not self.training or self.p == 0:
            return super().forward(x)
        keep = torch.rand(x.shape) >= self.p
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p) if self.p < 1 else 0.0)


class Residual(nn.Module):
    """The road around a sub-layer: LayerNorm(x + Dropout(Sublayer(x))), paper §3.1 and §5.4.

    With `pre_norm` the norm moves onto the branch, x + Dropout(Sublayer(LayerNorm(x))), and the road itself
    stays free from the first layer to the last.
    """

    def __init__(self, d_model: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.norm = LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def enter(self, x: Tensor) -> Tensor:
        """What the sub-layer gets to see of x (B, T, D)."""
        return self.norm(x) if self.pre_norm else x

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """Join the sub-layer's answer y (B, T, D) to x."""
        x = x + self.dropout(y)
        return x if self.pre_norm else self.norm(x)


def _attention(config: TransformerConfig) -> MultiHeadAttention:
    return MultiHeadAttention(config.d_model, config.n_heads, config.attention_dropout, config.d_k, config.d_v)


def _residual(config: TransformerConfig) -> Residual:
    return Residual(config.d_model, config.dropout, pre_norm=config.norm == "pre")


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each with its residual (paper Figure 1, left)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = _attention(config)
        self.self_attention_residual = _residual(config)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)
        self.feed_forward_residual = _residual(config)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map x (B, S, D) to (B, S, D) under a mask that broadcasts to (B, H, S, S)."""
        y = self.self_attention_residual.enter(x)
        x = self.self_attention_residual.leave(x, self.self_attention(y, y, mask))
        y = self.feed_forward_residual.enter(x)
        return self.feed_forward_residual.leave(x, self.feed_forward(y))


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention, feed-forward, each with its residual (paper Figure 1, right)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = _attention(config)
        self.self_attention_residual = _residual(config)
        self.cross_attention = _attention(config)
        self.cross_attention_residual = _residual(config)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)
        self.feed_forward_residual = _residual(config)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        caches: tuple[KeyValueCache, KeyValueCache] | None = None,
    ) -> Tensor:
        """Map x (B, T, D) to (B, T, D), reading memory (B, S, D), the encoder's output.

        The masks broadcast to (B, H, T, T) and (B, H, T, S). `caches` holds the keys and values of the
        self-attention and of the cross-attention when x is only the newest part of the target.
        """
        self_cache, memory_cache = caches or (None, None)
        y = self.self_attention_residual.enter(x)
        x = self.self_attention_residual.leave(x, self.self_attention(y, y, self_mask, self_cache))
        y = self.cross_attention_residual.enter(x)
        x = self.cross_attention_residual.leave(x, self.cross_attention(y, memory, memory_mask, memory_cache))
        y = self.feed_forward_residual.enter(x)
        return self.feed_forward_residual.leave(x, self.feed_forward(y))
