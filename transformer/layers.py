"""The layers of the encoder and of the decoder (paper §3.1 and §3.3); shapes are those of `transformer.attention`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from transformer.attention import CrossAttention, KeyValueCache, MultiHeadAttention
from transformer.config import TransformerConfig
from transformer.dropout import Dropout


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each vector to mean 0 and variance 1 over its own features: (…, D) → (…, D).

    Then multiply by gain and add bias, (D,) each, feature by feature. The variance is the biased one and eps stands
    inside the root (Ba et al. 2016, cited in paper §3.1). Written out for reading; the model uses `nn.LayerNorm`,
    which computes the same in one fused kernel.
    """
    mean = x.mean(-1, keepdim=True)  # (…, 1)
    variance = x.var(-1, keepdim=True, correction=0)  # (…, 1)
    return gain * (x - mean) / torch.sqrt(variance + eps) + bias  # (…, D)


class FeedForward(nn.Module):
    """max(0, xW₁ + b₁)W₂ + b₂, the same at every position (paper §3.3, equation 2): (…, D) → (…, D)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        for linear in (self.inner, self.outer):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Widen to d_ff, cut at zero, narrow again."""
        return self.outer(self.inner(x).relu())  # (…, D), from (…, d_ff)


class Residual(nn.Module):
    """A residual connection around a sub-layer, with dropout and layer normalisation (paper §3.1 and §5.4).

    Post-norm, the paper's, normalises the sum. Pre-norm normalises what the sub-layer sees, and x itself is passed
    on from the first layer to the last without meeting a norm.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Add to x (B, T, D) what the sub-layer, a function (B, T, D) → (B, T, D), makes of it."""
        if self.pre_norm:
            return x + self.dropout(sublayer(self.norm(x)))  # (B, T, D)
        return self.norm(x + self.dropout(sublayer(x)))  # (B, T, D)


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each with its residual connection (paper Figure 1, left)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention.from_config(config)
        self.self_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map x (B, S, D) to (B, S, D) under a mask that broadcasts to (B, H, S, S)."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, x, mask))  # (B, S, D)
        return self.feed_forward_residual(x, self.feed_forward)  # (B, S, D)


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention, feed-forward, each with its residual connection (Figure 1, right)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention.from_config(config)
        self.self_attention_residual = Residual(config)
        self.cross_attention = CrossAttention.from_config(config)
        self.cross_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)
        self.feed_forward_residual = Residual(config)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        self_cache: KeyValueCache | None = None,
        memory_cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Map x (B, T, D) to (B, T, D), reading memory (B, S, D), the encoder's output.

        `self_mask` broadcasts to (B, H, T, past + T), where the cached positions come first, and `memory_mask` to
        (B, H, T, S). With caches, x is only the newest part of the target.
        `CrossAttention` says when x may have more rows than memory.
        """
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, x, self_mask, self_cache))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask, memory_cache))
        return self.feed_forward_residual(x, self.feed_forward)  # (B, T, D), as after each line
