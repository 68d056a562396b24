"""Attention (paper §3.2): scaled dot products, masks, several heads, and the cache that decoding needs.

Shapes are written in one notation throughout: B batch, T queries (target length), S keys (source length),
D d_model, H heads, K d_k, the size of a head's queries and keys; d_v is that of its values. A mask is boolean, True
where a query *may* attend to a key, and broadcasts to (B, H, T, S): the convention of
`torch.nn.functional.scaled_dot_product_attention`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.config import TransformerConfig, check_heads, check_shares, check_sizes
from transformer.text.symbols import PAD


def padding_mask(ids: Tensor, pad_id: int = PAD) -> Tensor:
    """The mask that hides padding from every query: (B, S) token ids → (B, 1, 1, S), True at real tokens."""
    return (ids != pad_id)[:, None, None, :]


def causal_mask(n: int, past: int = 0, device: torch.device | None = None) -> Tensor:
    """The mask that hides the future (paper §3.2.3): (1, 1, n, past + n), True at keys no later than the query.

    `past` counts the keys that stand in a cache before the first of the n queries.
    """
    return torch.ones(n, past + n, dtype=torch.bool, device=device).tril(past)[None, None]


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(QKᵀ/√d_k), the explicit weights of paper §3.2.1, equation 1.

    query (…, T, K) and key (…, S, K) give weights (…, T, S): row t says where query t looks, and sums to 1.
    A row in which everything is masked is all zeros. `scaled_dot_product_attention` mixes values with the same
    weights and, where PyTorch has a fused kernel for it, never stores them.

    Raises TypeError for a mask that is not boolean, ValueError for one that does not fit the scores.
    """
    scores = query @ key.mT / math.sqrt(query.size(-1))  # (…, T, S)
    if mask is None:
        return scores.softmax(-1)
    _check_mask(mask, scores.shape)
    # −inf, not a large number: −1e9 overflows in float16 and gives padding equal shares of an empty row.
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)  # (…, T, S)
    return weights.masked_fill(~mask, 0.0)  # an empty row is 0/0 = NaN: nothing was seen, so nothing is mixed


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """softmax(QKᵀ/√d_k)V (paper §3.2.1, equation 1) by PyTorch's fused kernel, where that is fast.

    query (…, T, K), key (…, S, K), value (…, S, d_v) → (…, T, d_v); `dropout` is the probability of dropping a
    weight. Equals `attention_weights(query, key, mask) @ value` for finite numbers; fully masked rows give zeros. The
    fused kernel stores no weights; on a CPU they are stored where numbers are bfloat16, weights are dropped, d_v ≠ d_k,
    or tensors are not (B, H, T, K).

    Raises TypeError for a mask that is not boolean, ValueError for one that does not fit the scores, and where not
    every key has its value.
    """
    if key.size(-2) != value.size(-2):
        raise ValueError(f"got {key.size(-2)} keys and {value.size(-2)} values, expected a value for each key")
    if mask is not None:
        batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        _check_mask(mask, (*batch, query.size(-2), key.size(-2)))
        mask = torch.atleast_2d(mask)  # the fused kernel takes no mask (S,)
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":  # the fused kernel is ten times slower there
        return F.dropout(attention_weights(query, key, mask), dropout, training=dropout > 0) @ value
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)  # (…, T, d_v)
    if mask is None or query.dtype in (torch.float32, torch.float64):
        return mixed
    return mixed.masked_fill(~mask.any(-1, keepdim=True), 0.0)  # a GPU's half-precision kernels fill empty rows


def _check_mask(mask: Tensor, scores_shape: tuple[int, ...]) -> None:
    if not isinstance(mask, Tensor):
        raise TypeError(f"the mask is a {type(mask).__name__}, expected a tensor of torch.bool; torch.tensor makes one")
    if mask.dtype != torch.bool:
        raise TypeError(
            f"the mask has dtype {mask.dtype}, expected torch.bool with True where a query may attend; "
            "convert zeros and ones with mask.bool(), and invert a mask in which True means 'hidden' with ~mask"
        )
    try:
        mask.expand(scores_shape)
    except RuntimeError as error:
        raise ValueError(
            f"the mask has shape {tuple(mask.shape)}, expected one that broadcasts to the scores "
            f"{tuple(scores_shape)}, that is (batch, heads, queries, keys); "
            "padding_mask gives (B, 1, 1, S), causal_mask (1, 1, T, T)"
        ) from error


class KeyValueCache:
    """Keys and values of one attention, kept from one decoding step to the next; empty at first."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None  # (B, H, S, K)
        self.values: Tensor | None = None  # (B, H, S, d_v)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys (B, H, n, K) and values (B, H, n, d_v) behind those already there, and return all of them."""
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], dim=2)  # (B, H, S + n, K)
            values = torch.cat([self.values, values], dim=2)  # (B, H, S + n, d_v)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows: Tensor) -> None:
        """Keep these rows (n,) of the batch, in this order: drops finished sentences, reorders hypotheses."""
        if self.keys is not None:
            self.keys = self.keys.index_select(0, rows)
            self.values = self.values.index_select(0, rows)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Cut the features into heads: (B, T, H·n) → (B, H, T, n), for n = K or d_v."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Lay the heads side by side again: (B, H, T, d_v) → (B, T, H·d_v)."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1, …, head_h)·W^O (paper §3.2.2).

    Keys and values come from the same vectors, the *memory*: the sentence itself in self-attention, the
    encoder's output in cross-attention. `d_k` and `d_v`, the sizes of one head's keys and values, are
    d_model / n_heads unless given. Matrices start from Xavier's uniform distribution and biases from zero;
    the paper does not say how its own were drawn.

    Raises ValueError for fewer than one head or a size below 1, where d_model is not divisible by n_heads and the sizes
    of a head are not given, and for a dropout outside [0, 1).
    """

    def __init__(
        self, d_model: int, n_heads: int, dropout: float = 0.0, d_k: int | None = None, d_v: int | None = None
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, n_heads=n_heads, d_k=d_k, d_v=d_v)
        check_shares(dropout=dropout)
        check_heads(d_model, n_heads, d_k, d_v)
        d_k, d_v = d_k or d_model // n_heads, d_v or d_model // n_heads
        self.n_heads, self.dropout = n_heads, dropout
        self.query = nn.Linear(d_model, n_heads * d_k)  # W^Q of all heads, and so on
        self.key = nn.Linear(d_model, n_heads * d_k)
        self.value = nn.Linear(d_model, n_heads * d_v)
        self.output = nn.Linear(n_heads * d_v, d_model)
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.attend = scaled_dot_product_attention  # record_attention puts another in its place

    @classmethod
    def from_config(cls, config: TransformerConfig) -> Self:
        """The attention that a model of this configuration has in its layers."""
        return cls(config.d_model, config.n_heads, config.attention_dropout, config.d_k, config.d_v)

    def forward(
        self, queries: Tensor, memory: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Attention of queries (B, T, D) to memory (B, S, D) under a mask that broadcasts to (B, H, T, S).

        Returns (B, T, D). With a cache, the memory's keys and values join those of the steps before. Raises ValueError
        for vectors without a batch, and for two batches of unequal size.
        """
        _check_batches(queries, memory)
        if len(queries) != len(memory):
            raise ValueError(
                f"got {len(queries)} rows of queries and {len(memory)} of memory, expected as many; `expand` repeats a "
                "row, and CrossAttention shares it"
            )
        q = split_heads(self.query(queries), self.n_heads)  # (B, H, T, K)
        k, v = self.keys_and_values(memory, cache)  # (B, H, S, K), (B, H, S, d_v)
        heads = self.attend(q, k, v, mask, self.dropout if self.training else 0.0)  # (B, H, T, d_v)
        return self.output(merge_heads(heads))  # (B, T, D)

    def keys_and_values(self, memory: Tensor, cache: KeyValueCache | None = None) -> tuple[Tensor, Tensor]:
        """Project memory (B, n, D): keys (B, H, S, K) and values (B, H, S, d_v), behind those of the cache."""
        k = split_heads(self.key(memory), self.n_heads)  # (B, H, n, K)
        v = split_heads(self.value(memory), self.n_heads)  # (B, H, n, d_v)
        return (k, v) if cache is None else cache.append(k, v)


def _check_batches(queries: Tensor, memory: Tensor) -> None:
    if not queries.dim() == memory.dim() == 3:
        raise ValueError(
            f"got queries {tuple(queries.shape)} and memory {tuple(memory.shape)}, expected (B, T, D) and (B, S, D); "
            "x[None] makes a batch of one sentence"
        )


class CrossAttention(MultiHeadAttention):
    """Attention of the decoder to the encoder's output, the memory, which stays the same while a target is written.

    Its keys and values are projected at the first step and then only read from the cache. Several hypotheses may
    translate one sentence: their rows stand together, W for each row of the memory, and share its keys and values.
    """

    def forward(
        self, queries: Tensor, memory: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Attention of queries (B·W, T, D) to memory (B, S, D); the mask broadcasts to (B, H, W·T, S).

        Raises ValueError for vectors without a batch, and where the queries' rows are no multiple of the memory's.
        """
        _check_batches(queries, memory)
        if not len(memory) or len(queries) % len(memory):
            raise ValueError(
                f"got {len(queries)} rows of queries and {len(memory)} of memory, expected as many, or W times as many"
            )
        together = queries.reshape(len(memory), -1, queries.size(-1))  # (B, W·T, D)
        return super().forward(together, memory, mask, cache).view_as(queries)  # (B·W, T, D)

    def keys_and_values(self, memory: Tensor, cache: KeyValueCache | None = None) -> tuple[Tensor, Tensor]:
        """Keys (B, H, S, K) and values (B, H, S, d_v) of memory (B, S, D), from the cache if it has any."""
        if cache is None or cache.keys is None:
            return super().keys_and_values(memory, cache)
        return cache.keys, cache.values


class AttentionRecord(NamedTuple):
    """What one call of an attention computed on its way to the output."""

    products: Tensor
    """q · k of each query and key, before scaling and mask, (B, H, T, S)"""
    weights: Tensor
    """the weights that values are mixed with, under the mask and before dropout, (B, H, T, S)"""


@contextmanager
def record_attention(module: nn.Module) -> Iterator[dict[MultiHeadAttention, list[AttentionRecord]]]:
    """Record every call of every `MultiHeadAttention` inside `module` while the block runs.

    Yields a dict from each attention, in the order of `module.modules()`, to the records of its calls, made of the
    very queries and keys that it used. Where `attend` was replaced, for instance by a window, the weights are those of
    the replacement. Recording costs what the fused kernel saves; outside the block it costs nothing.
    """
    kernels = {m: m.attend for m in module.modules() if isinstance(m, MultiHeadAttention)}
    innermost = {m: getattr(kernel, "kernel", kernel) for m, kernel in kernels.items()}  # one recorder may hold another
    recorded: dict[MultiHeadAttention, list[AttentionRecord]] = {attention: [] for attention in kernels}

    def attend(attention: MultiHeadAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
        kernel = innermost[attention]
        if kernel is scaled_dot_product_attention:
            weights = attention_weights(q, k, mask)
        else:  # its weights are what it makes of unit vectors as values
            units = torch.eye(k.size(-2), dtype=k.dtype, device=k.device).expand(*k.shape[:-1], -1)  # (B, H, S, S)
            weights = kernel(q, k, units, mask, 0.0)
        recorded[attention].append(AttentionRecord(q @ k.mT, weights))
        return kernels[attention](q, k, v, mask, p)

    for attention, kernel in innermost.items():
        attention.attend = partial(attend, attention)
        attention.attend.kernel = kernel
    try:
        yield recorded
    finally:
        for attention, kernel in kernels.items():
            attention.attend = kernel
