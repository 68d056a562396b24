"""What the Transformer is compared with: GRU translators, windows of attention, and reaches that are learned."""

from contextlib import nullcontext

import pytest
import torch

from transformer.attention import MultiHeadAttention, attention_weights, merge_heads, record_attention, split_heads
from transformer.config import TransformerConfig
from transformer.decoding import greedy
from transformer.evaluation import teacher_forced
from transformer.model import Transformer
from transformer.runs.loop import train
from transformer.text.symbols import BOS, EOS, PAD
from transformer.training import TrainingConfig
from transformer.tutor import baselines

V = 9
BOTH = pytest.mark.parametrize("attention", [False, True], ids=["without attention", "with attention"])


def translator(attention: bool) -> baselines.GRUTranslator:
    torch.manual_seed(0)
    return baselines.GRUTranslator(V, 6, attention)


def some_ids(*shape: int) -> torch.Tensor:
    return torch.randint(4, V, shape, generator=torch.Generator().manual_seed(1))


@BOTH
def test_logits_have_a_row_for_each_target_position(attention: bool):
    assert translator(attention)(some_ids(2, 5), some_ids(2, 3)).shape == (2, 3, V)


@BOTH
def test_later_target_words_change_nothing_before_them(attention: bool):
    model, source, target = translator(attention), some_ids(1, 5), some_ids(1, 4)
    other = target.clone()
    other[0, 2] = 4 + (other[0, 2] - 3) % (V - 4)
    assert torch.equal(model(source, target)[:, :2], model(source, other)[:, :2])
    assert not torch.equal(model(source, target)[:, 2], model(source, other)[:, 2])


@BOTH
def test_padding_of_the_source_changes_nothing(attention: bool):
    model, source, target = translator(attention), some_ids(1, 3), some_ids(2, 4)
    longer = some_ids(1, 6)
    padded = torch.cat([torch.nn.functional.pad(source, (0, 3), value=PAD), longer])  # (2, 6)
    alone = model(source, target[:1])
    assert torch.allclose(model(padded, target)[:1], alone, atol=1e-6)


@BOTH
def test_writing_on_from_a_state_gives_what_one_pass_gives(attention: bool):
    model, source, target = translator(attention), some_ids(2, 5), some_ids(2, 4)
    memory, mask, state = model.encode(source)
    steps = []
    for t in range(4):
        hidden, state = model.decode(target[:, t : t + 1], memory, mask, state)
        steps.append(hidden)
    assert torch.allclose(torch.cat(steps, 1), model.hidden(source, target), atol=1e-6)


def test_without_attention_only_the_first_state_tells_of_the_source():
    model, target = translator(attention=False), some_ids(1, 4)
    memory, mask, state = model.encode(some_ids(1, 5))
    assert torch.equal(model.decode(target, memory, mask, state)[0], model.decode(target, 0 * memory, mask, state)[0])


def test_weights_are_the_softmax_of_dot_products_without_a_scale():
    model = translator(attention=True)
    memory, mask, _ = model.encode(some_ids(1, 5))
    states = torch.randn(1, 3, 6)
    assert torch.allclose(model.weights(states, memory, mask), (states @ memory.mT).softmax(-1), atol=1e-6)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="expected an even number"):
        baselines.GRUTranslator(V, 7, attention=True)


@BOTH
def test_the_packages_loop_trains_it(attention: bool):
    examples = [([a, b], [a, b]) for a in range(4, V) for b in range(4, V)]
    config = TrainingConfig(
        steps=60, batch_size=8, schedule="linear", warmup=10, peak_rate=2e-2, label_smoothing=0, precision="fp32"
    )
    model = translator(attention)
    before = teacher_forced(model, examples).nll
    assert train(model, examples, examples, config, progress=False)[-1]["val_nll"] < 0.75 * before


def test_written_greedily_is_what_greedy_writes():
    torch.manual_seed(3)
    config = TransformerConfig(vocab_size=V, d_model=8, n_layers=1, n_heads=2, d_ff=16, dropout=0.0)
    model, source = Transformer(config), some_ids(6, 4)
    expected = [found.best.tokens for found in greedy(model, source, max_length=7)]
    assert baselines.write_greedily(model, source, limit=7) == expected


def test_written_stops_at_the_end_mark():
    class Fixed(torch.nn.Module):
        """Writes 5, 6 and the end mark to the first source, 5s for ever to the second."""

        def hidden(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            assert target[0, 0] == BOS
            first = [5, 6, EOS, 7, 7, 7][target.size(1) - 1]
            words = torch.tensor([[first], [5]]).expand(-1, target.size(1))
            return torch.nn.functional.one_hot(words, V).float()

        def output(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    assert baselines.write_greedily(Fixed(), some_ids(2, 3), limit=5) == [[5, 6], [5, 5, 5, 5, 5]]


def test_window_lies_around_each_word():
    assert baselines.window_mask(4, 3)[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize("r", [0, 2, -1])
def test_window_without_a_middle_is_refused(r: int):
    with pytest.raises(ValueError, match="expected an odd number"):
        baselines.window_mask(4, r)


def test_restricted_attention_is_attention_under_both_masks():
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(8, 2), torch.randn(2, 6, 8)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    expected = attention(x, x, causal & baselines.window_mask(6, 3))
    unmasked = attention(x, x, baselines.window_mask(6, 3))
    baselines.restrict([attention], 3)
    assert torch.allclose(attention(x, x, causal), expected, atol=1e-6)
    assert torch.allclose(attention(x, x), unmasked, atol=1e-6)


def test_wide_reach_changes_nothing_and_a_narrow_one_is_a_window():
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(8, 2), torch.randn(2, 6, 8)
    whole, near = attention(x, x), attention(x, x, baselines.window_mask(6, 3))
    (reach,) = baselines.learn_reach([attention], start=6, ramp=1, scale=4)
    assert reach.shape == (2, 1, 1) and torch.allclose(attention(x, x), whole, atol=1e-6)
    reach.data.fill_(1 / 4)  # one position: distance 1 counts whole, distance 2 not at all
    assert torch.allclose(attention(x, x), near, atol=1e-6)


def test_between_reach_and_ramp_weights_fade():
    attention = MultiHeadAttention(4, 1)
    baselines.learn_reach([attention], start=0, ramp=2)
    q = k = torch.zeros(1, 1, 4, 4)
    mixed = attention.attend(q, k, torch.eye(4)[None, None], None)[0, 0]
    assert torch.allclose(mixed[0], torch.tensor([1, 0.5, 0, 0]) / 1.5)


def test_reach_is_learned_with_the_other_parameters():
    attention, x = MultiHeadAttention(8, 2), torch.randn(1, 6, 8)
    (reach,) = baselines.learn_reach([attention], start=1)
    assert any(parameter is reach for parameter in attention.parameters())
    attention(x, x).square().sum().backward()
    assert reach.grad.abs().min() > 0


def test_reach_keeps_the_mask():
    attention, x = MultiHeadAttention(8, 2), torch.randn(1, 5, 8)
    baselines.learn_reach([attention], start=9)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    weights = attention_weights(*(torch.randn(1, 2, 5, 4) for _ in "qk"), causal)
    assert weights.shape == (1, 2, 5, 5)
    other = x.clone()
    other[:, -1] += 1
    assert torch.equal(attention(x, x, causal)[:, :-1], attention(other, other, causal)[:, :-1])


@pytest.mark.parametrize("make", ["a window", "a reach", "a window in a recorder"])
def test_recorded_weights_are_those_of_the_restricted_attention(make: str):
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(8, 2), torch.randn(2, 6, 8)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    if make == "a reach":
        baselines.learn_reach([attention], start=1, ramp=2)
    else:
        baselines.restrict([attention], 3)
    around = record_attention(attention) if make == "a window in a recorder" else nullcontext({attention: [None]})
    with around as outer, record_attention(attention) as recorded:
        result = attention(x, x, causal)
    ((products, weights),) = recorded[attention]
    assert products.shape == weights.shape == (2, 2, 6, 6) and len(outer[attention]) == 1
    far = baselines.distances(6, 6) > (2 if make == "a reach" else 1)
    assert (weights[..., far] == 0).all() and torch.allclose(weights.sum(-1), torch.ones(2, 2, 6))
    mixed = merge_heads(weights @ split_heads(attention.value(x), 2))
    assert torch.allclose(attention.output(mixed), result, atol=1e-6)


@pytest.mark.parametrize("width", [2, 3])
def test_dilated_layers_reach_their_width_to_the_power_of_their_number(width: int):
    layers, reached = baselines.dilated_masks(width**3 + 1, width), torch.eye(width**3 + 1)
    for depth in (1, 2, 3):
        reached = next(layers).float() @ reached
        assert (reached[-1] > 0).sum() == width**depth, "itself and the words before it, without a gap"


def test_dilated_layers_go_on_for_ever():
    layers = baselines.dilated_masks(3, 2)
    for _ in range(200):
        last = next(layers)
    assert torch.equal(last, torch.eye(3, dtype=torch.bool))
