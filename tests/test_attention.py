"""Attention is what its formula says, whoever computes it: loops, our functions, PyTorch's modules."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from transformer.attention import (
    CrossAttention,
    KeyValueCache,
    MultiHeadAttention,
    attention_weights,
    causal_mask,
    merge_heads,
    padding_mask,
    record_attention,
    scaled_dot_product_attention,
    split_heads,
)

SIZE = st.integers(1, 5)


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return attention_weights(query, key, mask) @ value


BOTH = pytest.mark.parametrize("attention", [explicit_attention, scaled_dot_product_attention])


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def random_mask(*shape: int) -> Tensor:
    """A mask in which every query may look somewhere."""
    return (torch.rand(shape) < 0.5).scatter(-1, torch.randint(shape[-1], (*shape[:-1], 1)), True)


def random_attention(*sizes: int, kind: type = MultiHeadAttention, **options: float) -> MultiHeadAttention:
    """In float64, with parameters that are all random: biases of zero would hide mistakes."""
    module = kind(*sizes, **options).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


# The formula


@given(b=SIZE, h=SIZE, t=SIZE, s=SIZE, k=SIZE, v=SIZE, masked=st.booleans())
def test_explicit_fused_and_pytorchs_attention_agree(b: int, h: int, t: int, s: int, k: int, v: int, masked: bool):
    query, key, value = normal(b, h, t, k), normal(b, h, s, k), normal(b, h, s, v)
    mask = random_mask(b, 1, t, s) if masked else None
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert_equal(explicit_attention(query, key, value, mask), expected)
    assert_equal(scaled_dot_product_attention(query, key, value, mask), expected)


@given(t=SIZE, s=SIZE, k=SIZE)
def test_weights_follow_the_formula(t: int, s: int, k: int):
    query, key, mask = normal(t, k), normal(s, k), random_mask(t, s)

    def share(i: int, j: int) -> float:
        product = sum(float(a * b) for a, b in zip(query[i], key[j], strict=True))
        return math.exp(product / math.sqrt(k)) if mask[i, j] else 0.0

    expected = [[share(i, j) / sum(share(i, n) for n in range(s)) for j in range(s)] for i in range(t)]
    assert_equal(attention_weights(query, key, mask), torch.tensor(expected, dtype=torch.float64))


@BOTH
def test_one_hot_keys_return_the_value_they_point_at(attention: Callable[..., Tensor]):
    value, pointers = normal(6, 3), torch.tensor([4, 0, 5, 5])
    key = 100 * torch.eye(6, dtype=torch.float64)
    assert_equal(attention(key[pointers], key, value), value[pointers])


@BOTH
def test_order_of_the_keys_is_of_no_importance(attention: Callable[..., Tensor]):
    query, key, value, order = normal(4, 3), normal(6, 3), normal(6, 2), torch.randperm(6)
    assert_equal(attention(query, key[order], value[order]), attention(query, key, value))


@BOTH
def test_gradients_are_right(attention: Callable[..., Tensor]):
    tensors = [normal(2, 3, 4).requires_grad_() for _ in range(3)]
    mask = random_mask(2, 3, 3)
    mask[0, 1] = False  # a row that sees nothing
    assert torch.autograd.gradcheck(lambda *qkv: attention(*qkv, mask), tensors)


# Masks


def test_masked_keys_get_no_weight_and_the_rest_adds_up_to_one():
    mask = random_mask(2, 1, 5, 7)
    weights = attention_weights(normal(2, 3, 5, 4), normal(2, 3, 7, 4), mask)
    assert (weights.masked_select(~mask) == 0).all() and (weights.masked_select(mask) > 0).all()
    assert_equal(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fully_masked_rows_give_zeros_and_finite_gradients(attention: Callable[..., Tensor], dtype: torch.dtype):
    query, key, value = (torch.randn(2, 2, 4, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[0, :, 2] = mask[1] = False
    result = attention(query, key, value, mask)
    result.sum().backward()
    assert (result[0, :, 2] == 0).all() and (result[1] == 0).all()
    assert (result[0, :, [0, 1, 3]] != 0).all()
    assert all(tensor.grad.isfinite().all() for tensor in (query, key, value))


def test_rows_that_see_nothing_are_emptied_also_where_the_kernel_fills_them(monkeypatch: pytest.MonkeyPatch):
    """Seen with PyTorch 2.11 on an H200: its kernels for bfloat16 and float16 mix hidden values into such rows."""
    mask = torch.tensor([[True, False], [False, False]])
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv, **settings: torch.ones(2, 3))
    mixed = scaled_dot_product_attention(*(torch.randn(2, n, dtype=torch.float16) for n in (4, 4, 3)), mask)
    assert mixed.tolist() == [[1.0] * 3, [0.0] * 3]


def test_a_large_negative_number_is_no_substitute_for_infinity():
    """The mistake: −1e9 shares the weight of an empty row evenly among what is hidden."""
    scores, nothing = torch.randn(1, 3), torch.zeros(1, 3, dtype=torch.bool)
    assert (scores.masked_fill(~nothing, -1e9).softmax(-1) > 0.3).all()
    assert (attention_weights(torch.randn(1, 2), torch.randn(3, 2), nothing) == 0).all()


def test_padding_mask_is_true_at_words():
    ids = torch.tensor([[5, 0, 6], [7, 0, 0]])
    assert padding_mask(ids).tolist() == [[[[True, False, True]]], [[[True, False, False]]]]
    assert padding_mask(ids, pad_id=7).tolist() == [[[[True] * 3]], [[[False, True, True]]]]


@pytest.mark.parametrize("shape", [(1, 2, 3, 6), (2, 3, 6), (3, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("mask", [[True, False, True, True, False, True], [False] * 6, True, False], ids=str)
def test_mask_may_have_fewer_axes_than_the_scores(shape: tuple[int, ...], dtype: torch.dtype, mask: Any):
    query, (key, value) = torch.randn(shape).to(dtype), torch.randn(2, *shape[:-2], 6, shape[-1]).to(dtype)
    few = torch.tensor(mask)
    expected = attention_weights(query, key, few.expand(shape[-2], 6)) @ value
    for attention in (explicit_attention, scaled_dot_product_attention):
        torch.testing.assert_close(attention(query, key, value, few), expected)


def test_mask_may_belong_to_a_batch_that_only_the_keys_have():
    query, key, value = torch.randn(1, 2, 3, 4), torch.randn(5, 2, 6, 4), torch.randn(5, 2, 6, 4)
    mask = torch.rand(5, 1, 1, 6) < 0.5
    mixed = scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(mixed, attention_weights(query, key, mask) @ value)
    with pytest.raises(ValueError, match=r"expected one that broadcasts to the scores \(5, 2, 3, 6\)"):
        scaled_dot_product_attention(query, key, value, torch.ones(4, 1, 1, 6, dtype=torch.bool))


@given(n=st.integers(0, 6), past=st.integers(0, 6))
def test_causal_mask_is_true_at_keys_no_later_than_the_query(n: int, past: int):
    expected = [[s <= past + t for s in range(past + n)] for t in range(n)]
    assert causal_mask(n, past).shape == (1, 1, n, past + n)
    assert causal_mask(n, past)[0, 0].tolist() == expected


def test_causal_mask_has_no_past_and_is_on_the_cpu_unless_told_otherwise():
    assert torch.equal(causal_mask(3), causal_mask(3, past=0))
    assert causal_mask(3, device=torch.device("meta")).is_meta


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_mask_must_be_boolean(attention: Callable[..., Tensor], dtype: torch.dtype):
    x = torch.randn(2, 3, 4)
    with pytest.raises(TypeError, match=rf"dtype {dtype}, expected torch.bool .*; convert .* ~mask"):
        attention(x, x, x, torch.ones(3, 3, dtype=dtype))


@BOTH
def test_mask_must_be_a_tensor(attention: Callable[..., Tensor]):
    x = torch.randn(2, 3, 4)
    with pytest.raises(TypeError, match=r"the mask is a list, expected a tensor of torch\.bool; torch\.tensor"):
        attention(x, x, x, [True, False, True])


@BOTH
@pytest.mark.parametrize("shape", [(3, 4), (5, 3, 3), (1, 2, 3, 3)], ids=["keys", "batch", "too many axes"])
def test_mask_must_broadcast_to_the_scores(attention: Callable[..., Tensor], shape: tuple[int, ...]):
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"mask has shape \(.*, expected one that broadcasts .*\(2, 3, 3\)"):
        attention(x, x, x, torch.ones(shape, dtype=torch.bool))


def test_every_key_has_its_value():
    with pytest.raises(ValueError, match="got 5 keys and 4 values, expected a value for each key"):
        scaled_dot_product_attention(torch.randn(3, 8), torch.randn(5, 8), torch.randn(4, 8))


# Dropout


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)])
def test_dropout_drops_weights_and_scales_the_others(dtype: torch.dtype, tolerance: float):
    query, key, value = torch.randn(40, 4, dtype=dtype), torch.randn(50, 4, dtype=dtype), torch.eye(50, dtype=dtype)
    kept = scaled_dot_product_attention(query, key, value, dropout=0.2) / attention_weights(query, key)
    assert ((kept == 0) | ((kept - 1 / 0.8).abs() < tolerance)).all()
    assert (kept == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)  # 3.4 standard errors


@pytest.mark.parametrize("seed", range(3))
def test_bfloat16_has_the_gradients_of_float64(seed: int):
    """It takes a way of its own on a CPU, and rows in which nothing may be seen must not spoil the others."""
    torch.manual_seed(seed)
    mask = torch.rand(2, 1, 5, 7) < 0.6
    mask[0, :, 2] = False
    exact = [torch.randn(2, 3, n, 4, dtype=torch.float64).requires_grad_() for n in (5, 7, 7)]
    coarse = [x.detach().bfloat16().requires_grad_() for x in exact]
    for x in (exact, coarse):
        scaled_dot_product_attention(*x, mask).square().sum().backward()
    for a, b in zip(exact, coarse, strict=True):
        assert (b.grad - a.grad).norm() < 0.03 * a.grad.norm()  # NaN would fail too


def test_dropout_reaches_the_weights_in_training_only():
    """The mistake: an argument that never arrives, or one that stays on in evaluation."""
    attention, x = random_attention(8, 2, dropout=0.5), normal(2, 6, 8)
    assert not torch.allclose(attention(x, x), attention(x, x))
    assert torch.equal(attention.eval()(x, x), attention(x, x))
    without = random_attention(8, 2)
    assert torch.equal(without.train()(x, x), without.eval()(x, x))


# Several heads


@given(b=SIZE, t=SIZE, s=SIZE, h=SIZE, k=SIZE, masked=st.booleans())
def test_multi_head_attention_equals_pytorchs(b: int, t: int, s: int, h: int, k: int, masked: bool):
    ours, theirs = random_attention(h * k, h), nn.MultiheadAttention(h * k, h, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    queries, memory = normal(b, t, h * k), normal(b, s, h * k)
    mask = random_mask(b, h, t, s) if masked else None
    hidden = ~mask.flatten(0, 1) if masked else None  # True is 'hidden' over there
    expected, weights = theirs(queries, memory, memory, attn_mask=hidden, average_attn_weights=False)
    with record_attention(ours) as recorded:
        assert_equal(ours(queries, memory, mask), expected)
    assert_equal(recorded[ours][0].weights, weights)


@given(h=SIZE, k=SIZE, v=SIZE, d=SIZE, t=SIZE, s=SIZE)
def test_multi_head_attention_equals_a_loop_over_heads(h: int, k: int, v: int, d: int, t: int, s: int):
    attention, x, memory = random_attention(d, h, d_k=k, d_v=v), normal(1, t, d), normal(1, s, d)
    mask = random_mask(t, s)

    def project(linear: nn.Linear, x: Tensor, head: slice) -> Tensor:
        return x[0] @ linear.weight[head].T + linear.bias[head]

    heads = []
    for i in range(h):
        keys, values = slice(i * k, (i + 1) * k), slice(i * v, (i + 1) * v)
        q, key = project(attention.query, x, keys), project(attention.key, memory, keys)
        heads.append(explicit_attention(q, key, project(attention.value, memory, values), mask))
    expected = torch.cat(heads, dim=-1) @ attention.output.weight.T + attention.output.bias
    assert_equal(attention(x, memory, mask), expected[None])


def test_multi_head_attention_has_the_right_gradients():
    attention, x, memory = random_attention(4, 2), normal(1, 2, 4).requires_grad_(), normal(1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: attention(*args[:2]), (x, memory, *attention.parameters()))


def test_heads_are_neighbouring_features():
    x = torch.arange(2 * 3 * 8).view(2, 3, 8)
    heads = split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert all(torch.equal(heads[:, i], x[..., 2 * i : 2 * i + 2]) for i in range(4))
    assert torch.equal(merge_heads(heads), x)


def test_size_of_a_head_is_a_share_of_d_model_unless_given():
    def sizes(*args: int, **options: int) -> list[int]:
        attention = MultiHeadAttention(*args, **options)
        return [linear.out_features for linear in (attention.query, attention.key, attention.value)]

    assert sizes(12, 4) == [12, 12, 12]
    assert sizes(12, 4, d_k=2) == [8, 8, 12]
    assert sizes(12, 4, d_v=2) == [12, 12, 8]
    assert sizes(10, 4, d_k=1, d_v=2) == [4, 4, 8]


@pytest.mark.parametrize("given_size", [{}, {"d_k": 3}, {"d_v": 3}], ids=str)
def test_d_model_must_be_divisible_by_the_heads(given_size: dict[str, int]):
    with pytest.raises(ValueError, match=r"d_model 10 is not divisible by n_heads 4.*give d_k and d_v"):
        MultiHeadAttention(10, 4, **given_size)


@pytest.mark.parametrize("heads", [1, 2])
def test_vectors_without_a_batch_are_refused(heads: int):
    x = torch.randn(3, 8)
    for queries, memory in ((x, x), (x[None], x), (x, x[None])):
        for kind in (MultiHeadAttention, CrossAttention):
            said = re.escape(f"got queries {tuple(queries.shape)} and memory {tuple(memory.shape)}, expected (B, T, D)")
            with pytest.raises(ValueError, match=said):
                kind(8, heads)(queries, memory)


@pytest.mark.parametrize(("b", "others"), [(1, 3), (3, 1), (2, 4)])
def test_batches_of_unequal_size_are_refused(b: int, others: int):
    with pytest.raises(ValueError, match=f"got {b} rows of queries and {others} of memory, expected as many;"):
        MultiHeadAttention(8, 2)(torch.randn(b, 4, 8), torch.randn(others, 5, 8))


def test_there_is_at_least_one_head():
    for sizes in ({"d_k": 0}, {"d_v": -1}):
        with pytest.raises(ValueError, match=r"d_[kv] is (0|-1), expected at least 1"):
            MultiHeadAttention(16, 2, **sizes)
    with pytest.raises(ValueError, match="n_heads is 0, expected at least 1"):
        MultiHeadAttention(10, 0)
    assert MultiHeadAttention(10, 1).n_heads == 1


def test_projections_start_from_xavier_and_zero():
    for name, linear in MultiHeadAttention(64, 2, d_k=100, d_v=20).named_children():
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        assert 0.99 * bound < linear.weight.abs().max() <= bound, name
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03), name
        assert (linear.bias == 0).all(), name


# The cache


@given(pieces=st.lists(SIZE, min_size=1, max_size=4))
def test_attention_with_a_cache_equals_attention_over_everything(pieces: list[int]):
    attention, x = random_attention(4, 2, d_v=3), normal(2, sum(pieces), 4)
    cache, parts, past = KeyValueCache(), [], 0
    for piece in x.split(pieces, dim=1):
        parts.append(attention(piece, piece, causal_mask(piece.size(1), past), cache))
        past += piece.size(1)
    assert_equal(torch.cat(parts, dim=1), attention(x, x, causal_mask(past)))
    assert cache.keys.shape == (2, 2, past, 2) and cache.values.shape == (2, 2, past, 3)


def test_memory_is_projected_once_and_then_only_read():
    attention, memory, cache = random_attention(4, 2, kind=CrossAttention), normal(2, 5, 4), KeyValueCache()
    queries = normal(3, 2, 1, 4)
    expected = [attention(x, memory) for x in queries]
    projected = []
    for linear in (attention.key, attention.value):
        linear.register_forward_hook(lambda module, *_: projected.append(module))
    assert torch.equal(torch.stack([attention(x, memory, cache=cache) for x in queries]), torch.stack(expected))
    assert projected == [attention.key, attention.value]


@given(b=SIZE, w=SIZE, t=SIZE, s=SIZE, cached=st.booleans())
def test_hypotheses_share_the_memory_of_their_sentence(b: int, w: int, t: int, s: int, cached: bool):
    """As if each row of the queries had a copy of the memory for itself."""
    attention, queries, memory = random_attention(4, 2, kind=CrossAttention), normal(b * w, t, 4), normal(b, s, 4)
    mask, cache = random_mask(b, 1, 1, s), KeyValueCache()
    if cached:
        attention(normal(b, 1, 4), memory, mask, cache)
    copies = [x.repeat_interleave(w, dim=0) for x in (memory, mask)]
    assert_equal(attention(queries, memory, mask, cache), attention(queries, *copies))


def test_cache_selects_rows_in_the_order_asked_for():
    keys, values, cache = normal(3, 2, 4, 5), normal(3, 2, 4, 6), KeyValueCache()
    cache.select(torch.tensor([0]))  # nothing there yet: nothing to do
    cache.append(keys, values)
    cache.select(torch.tensor([2, 0, 2]))
    assert torch.equal(cache.keys, keys[[2, 0, 2]]) and torch.equal(cache.values, values[[2, 0, 2]])


# Recording


@pytest.mark.parametrize("masked", [False, True])
def test_recorded_products_and_weights_are_those_that_made_the_output(masked: bool):
    attention, x, memory = random_attention(8, 2, d_v=3), normal(2, 3, 8), normal(2, 5, 8)
    mask = random_mask(2, 1, 3, 5) if masked else None
    with record_attention(attention) as recorded:
        result = attention(x, memory, mask)
    assert torch.equal(result, attention(x, memory, mask))
    ((products, weights),) = recorded[attention]
    scores = products / 2  # √d_k
    assert_equal(weights, (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1))
    heads = weights @ split_heads(attention.value(memory), 2)
    assert_equal(attention.output(merge_heads(heads)), result)


def test_recorded_queries_and_keys_are_those_that_were_used():
    """The mistake: products made again from the projections, which miss what happens to q and k after them."""

    class Normalised(MultiHeadAttention):
        def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
            q, (k, v) = split_heads(self.query(queries), 2), self.keys_and_values(memory)
            return self.output(merge_heads(self.attend(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, None, 0.0)))

    attention, x = random_attention(8, 2, kind=Normalised), normal(1, 3, 8)
    with record_attention(attention) as recorded:
        attention(x, x)
    assert recorded[attention][0].products.abs().max() <= 1


def test_recorded_weights_are_masked_and_taken_before_dropout():
    """The mistake: maps read after dropout, or without the mask."""
    attention, x, mask = random_attention(8, 2, dropout=0.5), normal(2, 4, 8), causal_mask(4)
    with record_attention(attention.train()) as recorded:
        attention(x, x, mask)
        attention.eval()(x, x, mask)
    in_training, in_evaluation = (record.weights for record in recorded[attention])
    assert torch.equal(in_training, in_evaluation)
    assert (in_training.triu(1) == 0).all()
    assert_equal(in_training.sum(-1), torch.ones(2, 2, 4, dtype=torch.float64))


def test_recording_holds_every_attention_in_order_and_ends_with_the_block():
    modules = nn.ModuleDict({"first": random_attention(4, 1), "second": nn.Sequential(random_attention(4, 2))})
    first, second, x = modules["first"], modules["second"][0], normal(1, 3, 4)
    with record_attention(modules) as outer:
        with pytest.raises(KeyError), record_attention(first) as inner:
            first(x, x)
            raise KeyError
        second(x, x)
    first(x, x)
    assert [(attention, len(calls)) for attention, calls in outer.items()] == [(first, 1), (second, 1)]
    assert [(attention, len(calls)) for attention, calls in inner.items()] == [(first, 1)]
    assert first.attend is second.attend is scaled_dot_product_attention
