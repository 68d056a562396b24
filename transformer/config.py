"""The sizes and choices that make one Transformer (paper Table 3)."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

Positions = Literal["sinusoidal", "learned", "none"]
"""what is added to the embeddings (paper §3.5): rows of a computed table, of a trained one (Table 3, row E), or none"""


@dataclass(frozen=True)
class TransformerConfig:
    """Everything that must be known to build a model; the defaults are the paper's base model.

    Raises ValueError for sizes that do not fit together, TypeError for what is no number.
    """

    vocab_size: int = 37_000
    """V: tokens in the vocabulary, which source and target share"""
    d_model: int = 512
    """width of every vector that travels through the model"""
    n_layers: int = 6
    """N: layers of the encoder, and of the decoder"""
    n_heads: int = 8
    """h: attention heads in each layer"""
    d_ff: int = 2048
    """inner width of the feed-forward network"""
    d_k: int | None = None
    """size of one head's keys; None: d_model / n_heads"""
    d_v: int | None = None
    """size of one head's values; None: d_model / n_heads"""
    dropout: float = 0.1
    """P_drop on the sum of embedding and position and on every sub-layer's output (paper §5.4)"""
    attention_dropout: float = 0.0
    """dropout on attention weights, which the paper does not mention and its published code used"""
    positions: Positions = "sinusoidal"
    """what is added to the embeddings to say where a word stands (paper §3.5)"""
    max_len: int = 512
    """rows of the position table; sinusoids grow beyond it, learned positions end there"""
    norm: Literal["post", "pre"] = "post"
    """normalise after the residual sum (the paper) or before the sub-layer (most later models)"""
    tie_embeddings: bool = True
    """one matrix for source embedding, target embedding and pre-softmax layer (paper §3.4)"""

    def __post_init__(self) -> None:
        check_types(self)
        check_sizes(vocab_size=self.vocab_size, d_model=self.d_model, n_layers=self.n_layers, n_heads=self.n_heads)
        check_sizes(d_ff=self.d_ff, d_k=self.d_k, d_v=self.d_v, max_len=self.max_len)
        check_shares(dropout=self.dropout, attention_dropout=self.attention_dropout)
        check_heads(self.d_model, self.n_heads, self.d_k, self.d_v)
        if self.positions == "sinusoidal":
            check_even(self.d_model)

    @property
    def head_sizes(self) -> tuple[int, int]:
        """d_k and d_v, the sizes of one head's keys and values: d_model / n_heads where not given (paper §3.2.2)."""
        return self.d_k or self.d_model // self.n_heads, self.d_v or self.d_model // self.n_heads

    @property
    def n_numbers(self) -> int:
        """How many numbers the model holds: its parameters, and the rows of the position table."""
        d_k, d_v = self.head_sizes
        inner = self.n_heads * (2 * d_k + d_v)  # queries, keys and values of all heads
        attention = (self.d_model + 1) * inner + (self.n_heads * d_v + 1) * self.d_model
        feed_forward = 2 * self.d_model * self.d_ff + self.d_ff + self.d_model
        n_norms = 5 * self.n_layers + 2 * (self.norm == "pre")  # 2 in an encoder layer, 3 in a decoder layer
        norms = 2 * n_norms * self.d_model  # gain and bias
        layers = self.n_layers * (3 * attention + 2 * feed_forward) + norms  # an encoder and a decoder layer each
        embeddings = (1 if self.tie_embeddings else 3) * self.vocab_size * self.d_model
        return layers + embeddings + (self.max_len * self.d_model if self.positions != "none" else 0)

    @classmethod
    def base(cls, **changes: Any) -> "TransformerConfig":
        """The paper's base model (Table 3, first row), with changes."""
        return cls(**changes)

    @classmethod
    def big(cls, **changes: Any) -> "TransformerConfig":
        """The paper's big model (Table 3, last row), with changes; its dropout is that of English–German."""
        return cls(**{"d_model": 1024, "n_heads": 16, "d_ff": 4096, "dropout": 0.3, **changes})


def check_sizes(**sizes: int | None) -> None:
    """Raise ValueError for a size below 1; None passes."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} is {size}, expected at least 1")


def check_shares(**shares: float) -> None:
    """Raise ValueError for a share of what is to be dropped or spread that is below 0, or is all of it."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name} is {share}, expected 0 or more and below 1")


def check_heads(d_model: int, n_heads: int, d_k: int | None, d_v: int | None) -> None:
    """Raise ValueError where the sizes of a head are not given and d_model cannot be shared out among the heads."""
    if d_model % n_heads and None in (d_k, d_v):
        raise ValueError(
            f"d_model {d_model} is not divisible by n_heads {n_heads}, expected {n_heads} heads of equal "
            "size; change one of the two, or give d_k and d_v yourself"
        )


def check_even(d_model: int) -> None:
    """Raise ValueError for an odd d_model, which would leave a sinusoidal position with a sine without its cosine."""
    if d_model % 2:
        raise ValueError(
            f"d_model is {d_model}, expected an even number: sinusoidal positions pair a sine with a cosine; "
            "use an even d_model, or learned positions"
        )


KINDS = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "a name"),
}
"""what a setting of each type may be, and how that is called"""


def check_types(config: Any) -> None:
    """Check against its annotation each field of a dataclass that is to be a number, a name, or true or false.

    Raises TypeError for another type (an int may stand for a float, a bool for neither), ValueError for a value that
    its `Literal` lacks, and for a whole number of 2⁶³ or more. NumPy's numbers that JSON cannot write become Python's.
    """
    for name, hint in get_type_hints(type(config)).items():
        value, choices = getattr(config, name), get_args(hint)
        if get_origin(hint) is Literal and value not in choices:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
        kind = next((kind for kind in (hint, *choices) if kind in KINDS), None)
        if kind is None or (value is None and type(None) in choices):
            continue
        check_type(name, value, kind)
        if not isinstance(value, int | float | str):
            object.__setattr__(config, name, kind(value))  # in a file of settings, JSON holds no other numbers


def check_whole(**values: Any) -> None:
    """Raise TypeError for an argument that is no whole number, ValueError for one of 2⁶³ or more.

    None passes; a bool is refused.
    """
    for name, value in values.items():
        if value is not None:
            check_type(name, value, int)


def check_type(name: str, value: Any, kind: type) -> None:
    """Raise TypeError for a value that is not of this kind, one of `KINDS`; ValueError for a number of 2⁶³ or more."""
    allowed, expected = KINDS[kind]
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} is {value!r}, expected {expected}")
    if kind in (int, float) and isinstance(value, Integral) and abs(value) >= 2**63:  # more than PyTorch can count
        raise ValueError(f"{name} is a number of {len(str(abs(value)))} digits, expected one below 2⁶³")
