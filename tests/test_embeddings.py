"""Words become vectors of the right size and scale, and positions follow the paper's formula."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from transformer.embeddings import PositionalEncoding, TokenEmbedding, sinusoids


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


# Words


def test_embedding_is_the_row_of_the_id_times_the_root_of_d_model():
    embedding, ids = TokenEmbedding(7, 16), torch.tensor([[0, 6, 3], [3, 3, 1]])
    assert torch.equal(embedding(ids), 4 * embedding.weight[ids])


def test_words_start_as_loud_as_positions_need_them():
    """The mistakes: √d_model missing, or a table that starts from deviation 1 and is scaled all the same."""
    embedding = TokenEmbedding(2_000, 64)
    vectors = embedding(torch.arange(2_000))
    assert embedding.weight.std().item() == pytest.approx(1 / 8, rel=0.01)  # 5 standard errors
    assert vectors.std().item() == pytest.approx(1, rel=0.01)
    assert vectors.mean().item() == pytest.approx(0, abs=0.015)


@pytest.mark.parametrize(("ids", "got"), [([2, 7], "from 2 to 7"), ([-1, 6], "from -1 to 6")])
def test_ids_must_be_in_the_vocabulary(ids: list[int], got: str):
    with pytest.raises(IndexError, match=f"token ids run {got}, expected 0 to 6; was the text encoded"):
        TokenEmbedding(7, 4)(torch.tensor([ids]))


def test_no_ids_have_no_embeddings():
    assert TokenEmbedding(7, 4)(torch.empty(2, 0, dtype=torch.long)).shape == (2, 0, 4)


def test_ids_are_not_read_back_from_an_accelerator():
    embedding = TokenEmbedding(7, 4).to("meta")  # where there is nothing to read
    assert embedding(torch.empty(2, 3, dtype=torch.long, device="meta")).shape == (2, 3, 4)


# Sinusoids


@given(n=st.integers(0, 40), half=st.integers(1, 20))
def test_sinusoids_follow_the_formula(n: int, half: int):
    """The mistakes: another layout (all sines first), another exponent."""
    d = 2 * half
    expected = torch.zeros(n, d, dtype=torch.float64)
    for pos in range(n):
        for i in range(half):
            angle = pos / 10000 ** (2 * i / d)
            expected[pos, 2 * i], expected[pos, 2 * i + 1] = math.sin(angle), math.cos(angle)
    assert_equal(sinusoids(n, d, torch.float64), expected)


@given(pos=st.integers(0, 200), k=st.integers(0, 100))
def test_a_shift_of_position_is_a_rotation_that_is_the_same_everywhere(pos: int, k: int):
    sine, cosine = sinusoids(301, 8, torch.float64).unflatten(1, (4, 2)).unbind(-1)  # (301, D/2) each
    angle = k * 10000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    assert_equal(sine[pos + k], angle.cos() * sine[pos] + angle.sin() * cosine[pos])
    assert_equal(cosine[pos + k], angle.cos() * cosine[pos] - angle.sin() * sine[pos])


def test_sinusoids_are_rounded_only_once():
    """The mistake: angles in float32, which are 2e-4 off at position 5,000."""
    table = sinusoids(5_001, 8)
    assert table.dtype == torch.float32
    assert table[5_000, 2].item() == pytest.approx(math.sin(5_000 / 10), abs=1e-7)


def test_sinusoids_need_an_even_d_model():
    with pytest.raises(ValueError, match=r"d_model is 7, expected an even number.* or learned positions"):
        sinusoids(3, 7)


# Positions

KINDS = pytest.mark.parametrize("kind", ["sinusoidal", "learned", "none"])


@KINDS
def test_each_vector_gets_its_position_added(kind: str):
    encoding, x = PositionalEncoding(6, kind, max_len=5), torch.randn(2, 5, 6)
    added = torch.zeros(5, 6) if kind == "none" else encoding.table
    assert torch.equal(encoding(x), x + added)


@KINDS
def test_positions_can_start_anywhere(kind: str):
    encoding, x = PositionalEncoding(6, kind, max_len=5), torch.randn(2, 5, 6)
    assert torch.equal(encoding(x[:, 3:], start=3), encoding(x)[:, 3:])


def test_kind_of_positions_must_be_known():
    with pytest.raises(ValueError, match="positions are 'alibi', expected one of sinusoidal, learned, none"):
        PositionalEncoding(6, "alibi")


def test_sinusoids_are_the_default_and_are_neither_trained_nor_saved():
    encoding = PositionalEncoding(6)
    assert torch.equal(encoding.table, sinusoids(512, 6))
    assert not list(encoding.parameters()) and not encoding.state_dict()


@pytest.mark.parametrize("n", [4, 5, 100])
def test_sinusoids_grow_on_demand(n: int):
    encoding = PositionalEncoding(6, max_len=4)
    assert torch.equal(encoding(torch.zeros(1, n, 6))[0], sinusoids(n, 6))


def test_sinusoids_grow_rarely():
    """Decoding asks for one position more at every step: a new table each time would be slow."""
    encoding, tables = PositionalEncoding(6, max_len=4), set()
    for start in range(64):
        encoding(torch.zeros(1, 1, 6), start)
        tables.add(len(encoding.table))
    assert len(tables) <= 6


@pytest.mark.parametrize("to", [{"dtype": torch.bfloat16}, {"dtype": torch.float64}, {"device": "meta"}], ids=str)
def test_sinusoids_move_with_the_module_and_grow_where_they_are(to: dict[str, Any]):
    encoding = PositionalEncoding(6, max_len=4).to(**to)
    grown = encoding(torch.zeros(1, 9, 6, **to))
    assert (grown.dtype, grown.device) == (encoding.table.dtype, encoding.table.device)
    assert encoding.table.dtype == to.get("dtype", torch.float32)
    assert encoding.table.device.type == to.get("device", "cpu")


def test_table_that_grew_in_inference_mode_serves_in_training_too():
    encoding = PositionalEncoding(6, max_len=4)
    with torch.inference_mode():
        encoding(torch.zeros(1, 9, 6))
    encoding.table.copy_(encoding.table.clone())  # as training on several processes does, to keep buffers equal


def test_learned_positions_are_trained_and_saved():
    encoding = PositionalEncoding(200, "learned", max_len=100)
    assert list(encoding.state_dict()) == ["table"] and encoding.table.requires_grad
    assert encoding.table.shape == (100, 200)
    assert encoding.table.std().item() == pytest.approx(sinusoids(100, 200).square().mean().sqrt().item(), rel=0.02)


def test_learned_positions_end():
    encoding = PositionalEncoding(6, "learned", max_len=4)
    assert encoding(torch.zeros(1, 4, 6)).shape == (1, 4, 6)
    message = "the sentence has 5 tokens, expected at most 4, the number of learned positions; shorten it, or train"
    with pytest.raises(ValueError, match=message):
        encoding(torch.zeros(1, 5, 6))
    with pytest.raises(ValueError, match=message):
        encoding(torch.zeros(1, 1, 6), start=4)


def test_without_positions_there_is_no_table():
    assert not list(PositionalEncoding(6, "none").parameters()) and not list(PositionalEncoding(6, "none").buffers())
