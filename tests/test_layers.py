"""Norms, feed-forward and residuals are what the paper writes; a whole layer has the right gradients."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from transformer.attention import MultiHeadAttention, causal_mask
from transformer.config import TransformerConfig
from transformer.dropout import Dropout
from transformer.layers import DecoderLayer, EncoderLayer, FeedForward, Residual, layer_norm

SIZE = st.integers(1, 6)
CONFIG = {"vocab_size": 5, "d_model": 4, "n_heads": 2, "d_ff": 3, "dropout": 0.0}
NORMS = pytest.mark.parametrize("norm", ["post", "pre"])


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def randomized(module: nn.Module) -> nn.Module:
    """In float64, with parameters that are all random: gains of one and biases of zero would hide mistakes."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter)
    return module


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


# Layer normalisation


@given(b=SIZE, t=SIZE, d=SIZE, eps=st.sampled_from([1e-5, 1e-6, 0.1]))
def test_layer_norm_written_out_equals_pytorchs(b: int, t: int, d: int, eps: float):
    x, theirs = normal(b, t, d), randomized(nn.LayerNorm(d, eps))
    assert_equal(layer_norm(x, theirs.weight, theirs.bias, eps), theirs(x))


def test_layer_norm_has_pytorchs_default_of_eps():
    x, theirs = 1e-3 * normal(3, 8), nn.LayerNorm(8, dtype=torch.float64)
    assert_equal(layer_norm(x, *theirs.parameters()), theirs(x))


@pytest.mark.parametrize(
    "mistaken",
    [
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt(),
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + 1e-5),
    ],
    ids=["unbiased deviation", "eps outside the root"],
)
def test_layer_norm_is_not_what_others_made_of_it(mistaken: Callable[[Tensor], Tensor]):
    x = 0.01 * normal(4, 8)
    assert (mistaken(x) - layer_norm(x, torch.ones(8), torch.zeros(8))).abs().max() > 0.01


def test_layer_norm_gives_mean_and_deviation_by_its_bias_and_gain():
    x = 5 + 3 * normal(10, 32)
    y = layer_norm(x, torch.tensor(2.0), torch.tensor(-1.0), eps=0.0)
    assert_equal(y.mean(-1), torch.full((10,), -1.0, dtype=torch.float64))
    assert_equal(y.std(-1, correction=0), torch.full((10,), 2.0, dtype=torch.float64))


# Feed-forward


@given(t=SIZE, d=SIZE, d_ff=SIZE)
def test_feed_forward_follows_the_formula_at_every_position(t: int, d: int, d_ff: int):
    module, x = randomized(FeedForward(d, d_ff)), normal(2, t, d)
    w1, b1, w2, b2 = module.parameters()
    assert w1.shape == (d_ff, d)
    expected = [[(x[b, i] @ w1.T + b1).clamp(min=0) @ w2.T + b2 for i in range(t)] for b in range(2)]
    assert_equal(module(x), torch.stack([torch.stack(row) for row in expected]))


def test_feed_forward_starts_from_xavier_and_zero():
    for name, linear in FeedForward(64, 200).named_children():
        bound = math.sqrt(6 / 264)
        assert 0.99 * bound < linear.weight.abs().max() <= bound, name
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03), name
        assert (linear.bias == 0).all(), name


# Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float, dtype: torch.dtype):
    x = torch.ones(100, 100, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    y.sum().backward()
    assert y.dtype == dtype and torch.equal(x.grad, y.detach())
    assert set(y.unique().tolist()) <= {0.0, torch.tensor(1 / (1 - p), dtype=dtype).item() if p < 1 else 0.0}
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.02)  # 4 standard errors
    assert torch.equal(Dropout(p).eval()(x), x)


# Residual connections


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
def test_dropout_that_is_no_probability_is_refused(p: float):
    with pytest.raises(ValueError, match="dropout"):
        Dropout(p)
    with pytest.raises(ValueError, match=r"dropout is .*, expected 0 or more and below 1"):
        MultiHeadAttention(4, 2, dropout=p)


def test_residual_normalises_the_sum_or_what_the_sub_layer_sees():
    x = normal(2, 3, 4)
    post, pre = (randomized(Residual(TransformerConfig(**CONFIG, norm=norm))) for norm in ("post", "pre"))
    assert_equal(post(x, torch.sin), layer_norm(x + x.sin(), *post.parameters()))
    assert_equal(pre(x, torch.sin), x + layer_norm(x, *pre.parameters()).sin())


@NORMS
def test_residual_drops_what_the_sub_layer_made_and_never_x(norm: str):
    residual = Residual(TransformerConfig(d_model=40, dropout=0.2, norm=norm))
    residual.norm = nn.Identity()
    x = torch.full((50, 40), 3.0)
    dropped = residual(x, torch.ones_like) - x
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1.25]))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)  # 3.4 standard errors
    assert torch.equal(residual(x, torch.zeros_like), x)
    assert torch.equal(residual.eval()(x, torch.ones_like), x + 1)


# Whole layers


@NORMS
def test_layers_are_their_sub_layers_in_the_papers_order(norm: str):
    config = TransformerConfig(**CONFIG, norm=norm)
    layer, x, memory = randomized(DecoderLayer(config)), normal(2, 3, 4), normal(2, 5, 4)
    mask, memory_mask = causal_mask(3), torch.rand(2, 1, 1, 5) < 0.8

    def around(residual: Residual, x: Tensor, sub_layer: Callable[[Tensor], Tensor]) -> Tensor:
        if norm == "post":
            return residual.norm(x + sub_layer(x))
        return x + sub_layer(residual.norm(x))

    y = around(layer.self_attention_residual, x, lambda z: layer.self_attention(z, z, mask))
    y = around(layer.cross_attention_residual, y, lambda z: layer.cross_attention(z, memory, memory_mask))
    assert_equal(layer(x, memory, mask, memory_mask), around(layer.feed_forward_residual, y, layer.feed_forward))

    layer = randomized(EncoderLayer(config))
    y = around(layer.self_attention_residual, x, lambda z: layer.self_attention(z, z, mask))
    assert_equal(layer(x, mask), around(layer.feed_forward_residual, y, layer.feed_forward))


@NORMS
def test_layers_have_the_right_gradients(norm: str):
    config = TransformerConfig(**CONFIG, norm=norm)
    encoder, decoder = randomized(EncoderLayer(config)), randomized(DecoderLayer(config))
    x, memory = normal(1, 3, 4).requires_grad_(), normal(1, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: encoder(x), (x, *encoder.parameters()))
    both = (x, memory, *decoder.parameters())
    assert torch.autograd.gradcheck(lambda x, memory, *_: decoder(x, memory, causal_mask(3)), both)


@pytest.mark.parametrize("layer", [EncoderLayer, DecoderLayer])
def test_configuration_reaches_every_part_of_a_layer(layer: Callable[[TransformerConfig], nn.Module]):
    """The mistake: a dropout that is asked for and never arrives."""
    config = TransformerConfig(d_model=8, n_heads=2, d_ff=5, d_k=3, d_v=7, dropout=0.2, attention_dropout=0.3)

    def parts(kind: type, *names: str) -> list[Any]:
        found = [module for module in layer(config).modules() if isinstance(module, kind)]
        return [tuple(getattr(module, name) for name in names) for module in found]

    n_attentions = 1 if layer is EncoderLayer else 2
    assert parts(MultiHeadAttention, "n_heads", "dropout") == [(2, 0.3)] * n_attentions
    assert parts(nn.Dropout, "p") == [(0.2,)] * (n_attentions + 1)
    sizes = [(8, 6), (8, 6), (8, 14), (14, 8)] * n_attentions + [(8, 5), (5, 8)]
    assert parts(nn.Linear, "in_features", "out_features") == sizes
