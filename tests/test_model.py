"""The whole Transformer: equal to PyTorch's, blind to the future and to padding, and built as the paper says."""

import copy
import dataclasses
import json
import math
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from transformer.attention import MultiHeadAttention
from transformer.config import TransformerConfig
from transformer.files import CheckpointError, write_folder
from transformer.layers import Residual
from transformer.model import DecoderCache, Transformer, evaluation_mode
from transformer.runs import device as device_module
from transformer.runs.device import choose_device, has_fast_bf16
from transformer.text.symbols import PAD

Build = Callable[..., Transformer]

NORMS = pytest.mark.parametrize("norm", ["post", "pre"])
POSITIONS = pytest.mark.parametrize("positions", ["sinusoidal", "learned", "none"])


def random_ids(*shape: int) -> Tensor:
    """Words of the tiny model's vocabulary, no special tokens."""
    return torch.randint(4, 11, shape)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


# Against PyTorch


def copy_norm(ours: nn.LayerNorm, theirs: nn.LayerNorm) -> None:
    theirs.load_state_dict(ours.state_dict())


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    projections = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([linear.weight for linear in projections]))
        theirs.in_proj_bias.copy_(torch.cat([linear.bias for linear in projections]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    copy_attention(ours.self_attention, theirs.self_attn)
    if hasattr(ours, "cross_attention"):
        copy_attention(ours.cross_attention, theirs.multihead_attn)
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
    for i, residual in enumerate((m for m in ours.children() if isinstance(m, Residual)), 1):
        copy_norm(residual.norm, getattr(theirs, f"norm{i}"))


def pytorchs(ours: Transformer) -> nn.Transformer:
    """PyTorch's Transformer with our weights; it has a final norm even with post-norm, which we take out."""
    config = ours.config
    sizes = (config.d_model, config.n_heads, config.n_layers, config.n_layers, config.d_ff)
    pre = config.norm == "pre"
    theirs = nn.Transformer(*sizes, dropout=0.0, batch_first=True, norm_first=pre, dtype=torch.float64)
    for stack, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for layer, other_layer in zip(stack.layers, other.layers, strict=True):
            copy_layer(layer, other_layer)
        if pre:
            copy_norm(stack.norm, other.norm)
        else:
            other.norm = None
    return theirs


@NORMS
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # of no use with pre-norm, says PyTorch
@given(s=st.integers(1, 6), t=st.integers(1, 6), n_layers=st.integers(1, 3), padding=st.integers(0, 3))
def test_transformer_equals_pytorchs(tiny_model: Build, norm: str, s: int, t: int, n_layers: int, padding: int):
    ours = tiny_model(norm=norm, n_layers=n_layers).double()
    theirs = pytorchs(ours)
    source, target = random_ids(2, s + padding), random_ids(2, t)
    source[0, s:] = PAD
    embedded = [ours.positions(ours.source_embedding(ids)) for ids in (source, target)]
    hidden = theirs(
        *embedded,
        tgt_mask=torch.ones(t, t).triu(1).bool(),  # True is 'hidden' over there
        src_key_padding_mask=source == PAD,
        memory_key_padding_mask=source == PAD,
    )
    assert_equal(ours(source, target), hidden @ ours.source_embedding.weight.T)


# What must not matter


@NORMS
@POSITIONS
@pytest.mark.parametrize("training", [False, True])
def test_no_position_sees_the_future(tiny_model: Build, norm: str, positions: str, training: bool):
    """The mistake: a causal mask that is off in evaluation, so that validation sees the future."""
    model = tiny_model(norm=norm, positions=positions, dropout=0.0).train(training)
    source, target = random_ids(2, 5), random_ids(2, 8)
    logits = model(source, target)
    for t in range(8):
        changed = target.clone()
        changed[:, t] = 4 + (target[:, t] - 3) % 7  # another word
        others = model(source, changed)
        assert torch.equal(others[:, :t], logits[:, :t])
        assert (others[:, t] != logits[:, t]).any()


@NORMS
@given(source_padding=st.integers(0, 4), target_padding=st.integers(0, 4))
def test_padding_changes_nothing(tiny_model: Build, norm: str, source_padding: int, target_padding: int):
    model, source, target = tiny_model(norm=norm).double(), random_ids(2, 4), random_ids(2, 5)
    padded = [nn.functional.pad(ids, (0, n)) for ids, n in ((source, source_padding), (target, target_padding))]
    assert_equal(model(*padded)[:, :5], model(source, target))


@pytest.mark.parametrize("training", [False, True])
def test_sentences_of_a_batch_do_not_meet(tiny_model: Build, training: bool):
    model = tiny_model(dropout=0.0).double().train(training)
    source, target = random_ids(3, 4), random_ids(3, 5)
    alone = [model(source[i : i + 1], target[i : i + 1]) for i in range(3)]
    assert_equal(model(source, target), torch.cat(alone))


def test_encoder_without_positions_cannot_tell_order(tiny_model: Build):
    source, order = random_ids(2, 6), torch.tensor([3, 5, 0, 1, 4, 2])
    model = tiny_model(positions="none").double()
    assert_equal(model.encode(source[:, order]), model.encode(source)[:, order])
    model = tiny_model(positions="sinusoidal").double()
    assert not torch.allclose(model.encode(source[:, order]), model.encode(source)[:, order])


@NORMS
def test_without_dropout_training_equals_evaluation(tiny_model: Build, norm: str):
    model, source, target = tiny_model(norm=norm, dropout=0.0), random_ids(2, 5), random_ids(2, 4)
    assert torch.equal(model.train()(source, target), model.eval()(source, target))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_source_of_nothing_but_padding_gives_finite_results(tiny_model: Build, dtype: torch.dtype):
    model = tiny_model().to(dtype)
    source, target = torch.full((2, 4), PAD), random_ids(2, 3)
    source[0] = random_ids(4)
    logits = model(source, target)
    logits.float().logsumexp(-1).sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# Attention maps


def test_attention_maps_have_the_shapes_and_sums_they_should(tiny_model: Build):
    maps = tiny_model(n_layers=3).attention_maps(random_ids(2, 6), random_ids(2, 5))
    shapes = {name: tuple(getattr(maps, name).shape) for name in ("encoder", "decoder", "cross")}
    assert shapes == {"encoder": (3, 2, 2, 6, 6), "decoder": (3, 2, 2, 5, 5), "cross": (3, 2, 2, 5, 6)}
    for name in shapes:
        torch.testing.assert_close(getattr(maps, name).sum(-1), torch.ones(shapes[name][:-1]))


def test_products_are_what_the_weights_are_made_of(tiny_model: Build):
    model, source, target = tiny_model(d_k=4), random_ids(2, 6), random_ids(2, 5)
    weights, products = (model.attention_maps(source, target, products=products) for products in (False, True))
    for name in ("encoder", "cross"):
        torch.testing.assert_close((getattr(products, name) / 2).softmax(-1), getattr(weights, name))
    future = ~torch.ones(5, 5, dtype=torch.bool).tril()
    hidden = (products.decoder / 2).masked_fill(future, -torch.inf)
    torch.testing.assert_close(hidden.softmax(-1), weights.decoder)


def test_attention_maps_show_neither_future_nor_padding(tiny_model: Build):
    """The mistake: maps without the mask."""
    source, target = random_ids(1, 6), random_ids(1, 5)
    source[0, 4:] = target[0, 0] = PAD  # on the left, where the causal mask would let it be seen
    maps = tiny_model().attention_maps(source, target)
    for side in (maps.encoder, maps.cross):
        assert (side[..., 4:] == 0).all() and (side[..., :4] > 0).all()
    hidden = torch.ones(5, 5).triu(1).bool()
    hidden[:, 0] = True
    assert (maps.decoder[..., hidden] == 0).all() and (maps.decoder[..., ~hidden] > 0).all()


@pytest.mark.parametrize("i", range(3))
def test_attention_maps_stand_in_the_order_of_the_layers(tiny_model: Build, i: int):
    """A layer whose queries are all zero looks everywhere alike: its maps, and no others, must show it."""
    model = tiny_model(n_layers=3)
    for layer in (model.encoder.layers[i], model.decoder.layers[i]):
        for attention in (module for module in layer.modules() if isinstance(module, MultiHeadAttention)):
            nn.init.zeros_(attention.query.weight)
            nn.init.zeros_(attention.query.bias)
    maps = model.attention_maps(random_ids(1, 6), random_ids(1, 5))
    for side in (maps.encoder, maps.decoder, maps.cross):
        last_rows = side[:, 0, :, -1]  # (L, H, S), of a query that may look everywhere
        assert [bool((row - row.mean()).abs().max() < 1e-6) for row in last_rows] == [j == i for j in range(3)]


@pytest.mark.parametrize("training", [False, True])
def test_attention_maps_are_without_dropout_and_leave_the_model_as_it_was(tiny_model: Build, training: bool):
    model = tiny_model(dropout=0.5, attention_dropout=0.5)
    source, target = random_ids(1, 4), random_ids(1, 4)
    expected = model.attention_maps(source, target)
    maps = model.train(training).attention_maps(source, target)
    assert torch.equal(maps.cross, expected.cross) and not maps.cross.requires_grad
    assert all(module.training == training for module in model.modules())


def test_evaluation_mode_ends_with_the_block_whatever_happens(tiny_model: Build):
    model = tiny_model().train()
    with pytest.raises(KeyError), evaluation_mode(model):
        assert not model.training and not model.dropout.training
        raise KeyError
    assert model.training and model.dropout.training


def test_evaluation_mode_gives_each_part_its_own_mode_back(tiny_model: Build):
    model = tiny_model().train()
    model.encoder.eval()
    before = [module.training for module in model.modules()]
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


# Parameters


def test_one_matrix_serves_three_purposes(tiny_model: Build):
    model = tiny_model()
    assert model.source_embedding.weight is model.target_embedding.weight is model.output.weight
    assert model.output.bias is None


def test_tied_matrix_learns_from_all_its_uses(tiny_model: Build):
    tied, apart = tiny_model().double(), tiny_model(tie_embeddings=False).double()
    apart.load_state_dict(tied.state_dict())
    source, target = random_ids(2, 5), random_ids(2, 4)
    for model in (tied, apart):
        model(source, target).square().sum().backward()
    parts = [apart.source_embedding.weight, apart.target_embedding.weight, apart.output.weight]
    assert all(part.grad.abs().sum() > 0 for part in parts)
    assert len({id(part) for part in parts}) == 3
    torch.testing.assert_close(tied.output.weight.grad, sum(part.grad for part in parts))


def test_every_parameter_learns(tiny_model: Build):
    model = tiny_model(norm="pre", positions="learned", tie_embeddings=False, max_len=5)
    model(random_ids(2, 5), random_ids(2, 5)).logsumexp(-1).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("tie", [False, True])
def test_embeddings_and_output_start_small(tie: bool):
    model = Transformer(TransformerConfig(vocab_size=2_000, d_model=64, n_layers=1, n_heads=4, tie_embeddings=tie))
    for weight in (model.source_embedding.weight, model.target_embedding.weight, model.output.weight):
        assert weight.std().item() == pytest.approx(1 / 8, rel=0.01)  # 5 standard errors


@pytest.mark.parametrize(("size", "millions", "within"), [("base", 63.08, 0.1), ("big", 214.2, 0.2)])
def test_number_of_parameters_is_the_papers(size: str, millions: float, within: float):
    with torch.device("meta"):  # where a tensor is only its shape
        model = Transformer(getattr(TransformerConfig, size)(vocab_size=37_000))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=within)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": "learned"},
        {"positions": "none", "norm": "pre"},
        {"tie_embeddings": False, "d_k": 3, "d_v": 5, "n_layers": 3},
    ],
    ids=str,
)
def test_numbers_are_counted_before_there_is_a_model(tiny_model: Build, changes: dict[str, Any]):
    model = tiny_model(**changes)
    held = sum(p.numel() for p in model.parameters())
    if model.config.positions == "sinusoidal":
        held += model.config.max_len * model.config.d_model  # a table that is computed
    assert model.config.n_numbers == held


def test_final_norms_belong_to_pre_norm_alone(tiny_model: Build):
    for stack in ("encoder", "decoder"):
        assert isinstance(getattr(tiny_model(norm="pre"), stack).norm, nn.LayerNorm)
        assert not list(getattr(tiny_model(norm="post"), stack).norm.parameters())


# Dropout


def test_dropout_falls_on_the_sum_of_embedding_and_position(tiny_model: Build):
    """The mistake: dropout on words alone, or on one side alone."""
    model = tiny_model(dropout=0.2).train()
    ids, entered = random_ids(40, 16), []
    for stack in (model.encoder, model.decoder):
        stack.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    model(ids, ids)
    whole = model.positions(model.source_embedding(ids))
    for x in entered:
        dropped = x == 0
        assert dropped.float().mean().item() == pytest.approx(0.2, abs=0.02)  # 5 standard errors
        torch.testing.assert_close(x[~dropped], whole[~dropped] / 0.8)
    assert len(entered) == 2 and not torch.equal(*entered)


@NORMS
def test_every_single_dropout_makes_a_difference(tiny_model: Build, norm: str):
    """The mistake: a dropout that is built and never used, or one that more than one place shares."""
    model, source, target = tiny_model(norm=norm, dropout=0.0).train(), random_ids(2, 5), random_ids(2, 5)
    expected = model(source, target)
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    attentions = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
    assert len(dropouts) == 1 + 2 * (2 + 3) and len(attentions) == 2 * (1 + 2)
    for module, name in [*((d, "p") for d in dropouts), *((a, "dropout") for a in attentions)]:
        setattr(module, name, 0.5)
        assert not torch.allclose(model(source, target), expected)
        setattr(module, name, 0.0)


# The cache


@NORMS
@POSITIONS
@given(pieces=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_decoding_with_a_cache_equals_recomputation(tiny_model: Build, norm: str, positions: str, pieces: list[int]):
    model = tiny_model(norm=norm, positions=positions).double()
    source, target = random_ids(2, 5), random_ids(2, sum(pieces))
    source[0, 3:] = PAD
    mask, cache, end = model.source_mask(source), DecoderCache(2), 0
    memory = model.encode(source, mask)
    for piece in target.split(pieces, dim=1):
        end += piece.size(1)
        newest = model.output(model.decode(piece, memory, mask, cache))
        assert_equal(newest, model(source, target[:, :end])[:, -piece.size(1) :])
        assert cache.length == end


def test_cache_starts_empty():
    assert DecoderCache(3).length == 0 and len(DecoderCache(3).layers) == 3


def test_memory_is_projected_once_in_a_whole_decoding(tiny_model: Build):
    model, source, cache = tiny_model(), random_ids(2, 5), DecoderCache(2)
    calls = dict.fromkeys(("self_attention", "cross_attention"), 0)
    for layer in model.decoder.layers:
        for name in calls:
            for linear in (getattr(layer, name).key, getattr(layer, name).value):
                linear.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    memory = model.encode(source)
    for token in random_ids(2, 6).split(1, dim=1):
        model.decode(token, memory, cache=cache)
    assert calls == {"self_attention": 2 * 2 * 6, "cross_attention": 2 * 2}


@pytest.mark.parametrize("sentences", [None, [2, 0]])
def test_cache_selects_hypotheses_and_sentences(tiny_model: Build, sentences: list[int] | None):
    """The hypotheses of a sentence share its memory, which moves only when sentences leave."""
    model, source, cache = tiny_model(), random_ids(3, 5), DecoderCache(2)
    with torch.no_grad():
        model.decode(random_ids(6, 4), model.encode(source), cache=cache)
    before, hypotheses = copy.deepcopy(cache), torch.tensor([5, 0, 1, 1])
    cache.select(hypotheses, None if sentences is None else torch.tensor(sentences))
    for i, rows in ((0, hypotheses), (1, sentences or slice(None))):
        for old, new in zip(before.layers, cache.layers, strict=True):
            assert torch.equal(old[i].keys[rows], new[i].keys) and torch.equal(old[i].values[rows], new[i].values)


def test_hypotheses_of_a_sentence_are_decoded_as_if_each_had_a_sentence_of_its_own(tiny_model: Build):
    model, source, caches = tiny_model().double(), random_ids(2, 5), (DecoderCache(2), DecoderCache(2))
    source[0, 3:] = PAD
    copies = source.repeat_interleave(3, dim=0)
    for tokens in random_ids(6, 4).split(1, dim=1):
        shared, alone = (
            model.decode(tokens, model.encode(ids), model.source_mask(ids), cache)
            for ids, cache in zip((source, copies), caches, strict=True)
        )
        assert_equal(shared, alone)


def test_padding_is_hidden_in_the_first_call_of_a_cache_alone(tiny_model: Build):
    model, target = tiny_model(), torch.tensor([[4, PAD, 5]])
    assert model.decoder_mask(target)[0, 0].int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 1]]
    assert model.decoder_mask(target, past=1)[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert model.decoder_mask(target[:, :1], past=7) is None


# Saved models


@pytest.mark.parametrize("tie", [False, True])
@POSITIONS
def test_saved_model_gives_the_same_results_when_loaded(tmp_path: Path, tiny_model: Build, positions: str, tie: bool):
    model = tiny_model(positions=positions, tie_embeddings=tie, dropout=0.5, norm="pre")
    model.save_pretrained(tmp_path)
    loaded = Transformer.from_pretrained(tmp_path)
    source, target = random_ids(2, 5), random_ids(2, 4)
    assert torch.equal(loaded(source, target), model(source, target))
    assert loaded.config == model.config and not loaded.training
    assert (loaded.source_embedding.weight is loaded.output.weight) == tie


def test_saved_model_is_loaded_in_float32_whatever_it_was_saved_in(tmp_path: Path, tiny_model: Build):
    model = tiny_model()
    model.save_pretrained(tmp_path, torch.bfloat16)
    for name, parameter in Transformer.from_pretrained(tmp_path).named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).bfloat16().float())


def test_checkpoint_that_was_loaded_and_changed_can_be_saved_over(tmp_path: Path, tiny_model: Build):
    folder = tmp_path / "checkpoint"
    write_folder(folder, tiny_model().save_pretrained)
    model = Transformer.from_pretrained(folder)
    torch.nn.init.ones_(model.output.weight)
    model.save_pretrained(folder)
    assert torch.equal(Transformer.from_pretrained(folder).output.weight, model.output.weight)


def test_checkpoint_that_cannot_be_saved_over_is_whole(
    tmp_path: Path, tiny_model: Build, monkeypatch: pytest.MonkeyPatch
):
    folder, before = tmp_path / "checkpoint", tiny_model(n_heads=2)
    write_folder(folder, before.save_pretrained)
    with monkeypatch.context() as disk_is_full:
        disk_is_full.setattr("transformer.model.save_file", lambda _, path: path.write_bytes(b"half") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tiny_model(n_heads=4).save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "checksums.json"}
    after = Transformer.from_pretrained(folder)
    assert after.config == before.config and torch.equal(after.output.weight, before.output.weight)


@pytest.mark.parametrize(("dtype", "number"), [(torch.float16, 1e6), (torch.float32, math.nan), (torch.int8, 1.0)])
def test_weights_that_could_not_be_loaded_are_not_saved(
    tmp_path: Path, tiny_model: Build, dtype: torch.dtype, number: float
):
    folder, model = tmp_path / "checkpoint", tiny_model()
    write_folder(folder, model.save_pretrained)
    before = model.output.weight.detach().clone()
    with torch.no_grad():
        model.output.weight[3, 0] = number
    with pytest.raises(ValueError, match=rf"cannot be stored as {dtype}, expected a floating-point format"):
        model.save_pretrained(folder, dtype)
    assert torch.equal(Transformer.from_pretrained(folder).output.weight, before)


def test_numbers_of_numpy_become_python_s_and_can_be_saved(tmp_path: Path, tiny_model: Build):
    model = tiny_model(d_model=np.int64(16), d_k=np.int32(4), dropout=np.float32(0.5))
    assert {type(getattr(model.config, name)) for name in ("d_model", "d_k")} == {int}
    assert type(model.config.dropout) is float
    model.save_pretrained(tmp_path)
    assert Transformer.from_pretrained(tmp_path).config == model.config == tiny_model(d_k=4, dropout=0.5).config


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_model_are_refused_and_nothing_is_touched(tiny_model: Build, change: str):
    model, name = tiny_model(), "decoder.layers.1.feed_forward.inner.bias"
    tensors = {key: torch.zeros_like(p) for key, p in model.named_parameters()}
    match change:
        case "missing":
            del tensors[name]
            message = rf"the weights is a checkpoint of another configuration: {name} is nothing, expected \(32,\)"
        case "unknown":
            tensors["decoder.gate"] = torch.zeros(3)
            message = r"decoder.gate is \(3,\), expected nothing; build the model from the config.json"
        case "shape":
            tensors[name] = torch.zeros(31)
            message = rf"{name} is \(31,\), expected \(32,\)"
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=message):
        model.load_weights(tensors)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "setting",
    [{"d_model": 15}, {"n_experts": 8}, {"norm": "no"}, {"d_model": "16"}, {"n_layers": 10**7}, {"max_len": 10**12}],
    ids=str,
)
def test_settings_that_build_no_model_are_refused(tmp_path: Path, tiny_model: Build, setting: dict[str, object]):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**dataclasses.asdict(model.config), **setting}))
    with pytest.raises(CheckpointError, match=r"config.json does not describe a Transformer of this package: .+"):
        Transformer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["n_heads", "norm"])
def test_no_setting_is_guessed(tmp_path: Path, tiny_model: Build, name: str):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    settings = dataclasses.asdict(model.config)
    del settings[name]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=f"it lacks {name}"):
        Transformer.from_pretrained(tmp_path)


def test_model_knows_where_it_is(tiny_model: Build):
    assert tiny_model().device == torch.device("cpu") and tiny_model().to("meta").device == torch.device("meta")


# Devices


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_device_is_the_one_asked_for_or_the_best(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.delenv("TRANSFORMER_DEVICE", raising=False)
    assert choose_device() == torch.device(best)
    monkeypatch.setenv("TRANSFORMER_DEVICE", "")  # as good as not set
    assert choose_device() == torch.device(best)
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("TRANSFORMER_DEVICE", "cpu")
    assert choose_device() == torch.device("cpu")
    if cuda:
        assert choose_device(torch.device("cuda:1")) == torch.device("cuda:1")
        with pytest.raises(ValueError, match="device 'cuda:2' is not available here"):
            choose_device("cuda:2")
        return
    monkeypatch.setenv("TRANSFORMER_DEVICE", "cuda:1")
    with pytest.raises(
        ValueError, match=r"device 'cuda:1', which \$TRANSFORMER_DEVICE asks for, is not available here; use 'cpu'"
    ):
        choose_device()


@pytest.mark.parametrize(
    ("name", "problem"), [("abacus", "is unknown, expected for example"), ("meta", "not available")]
)
def test_device_must_exist(name: str, problem: str):
    with pytest.raises(ValueError, match=f"device '{name}' .*{problem}"):
        choose_device(name)


@pytest.mark.parametrize("fast", [False, True])
def test_bf16_is_fast_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch, fast: bool):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": fast}, raising=False)
    monkeypatch.setattr(device_module, "bf16_gain", lambda: 2.0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast or including_emulation)
    assert [has_fast_bf16(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [fast, fast, False]


@pytest.mark.parametrize("gain", [0.6, 1.1, 2.2])
def test_bf16_of_a_cpu_is_tried(monkeypatch: pytest.MonkeyPatch, gain: float):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(device_module, "bf16_gain", lambda: gain)
    assert has_fast_bf16(torch.device("cpu")) == (gain > 2)


def test_bf16_is_tried_with_both_formats(monkeypatch: pytest.MonkeyPatch):
    times = {torch.float32: [3.0, 2.0, 9.0], torch.bfloat16: [8.0, 1.0, 4.0]}

    def repeat(multiply: Callable[[], torch.Tensor], **_: int) -> list[float]:
        return times.pop(multiply().dtype)

    monkeypatch.setattr(timeit, "repeat", repeat)
    assert device_module.bf16_gain.__wrapped__() == 2 and not times


# Bad input


@pytest.mark.parametrize(("side", "ids"), [(0, [4, 11]), (1, [11, 4]), (0, [-1, 4]), (1, [4, -1])])
def test_ids_must_be_in_the_vocabulary(tiny_model: Build, side: int, ids: list[int]):
    inputs = [random_ids(1, 2), random_ids(1, 2)]
    inputs[side] = torch.tensor([ids])
    with pytest.raises(IndexError, match=f"token ids run from {min(ids)} to {max(ids)}, expected 0 to 10"):
        tiny_model()(*inputs)


@pytest.mark.parametrize("shapes", [((3,), (1, 3)), ((1, 3), (3,)), ((1, 3, 1), (1, 3))], ids=str)
def test_ids_must_come_in_a_batch(tiny_model: Build, shapes: tuple[tuple[int, ...], ...]):
    with pytest.raises(ValueError, match=r"token ids have shape \(.*\), expected \(batch, length\); add a batch"):
        tiny_model()(*(random_ids(*shape) for shape in shapes))


@pytest.mark.parametrize("ids", [[[4, 5]], torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), None], ids=str)
@pytest.mark.parametrize("side", [0, 1])
def test_ids_must_be_whole_numbers_in_a_tensor(tiny_model: Build, side: int, ids: object):
    inputs = [random_ids(1, 2), random_ids(1, 2)]
    inputs[side] = ids
    with pytest.raises(TypeError, match=r"token ids are .*, expected a tensor of whole numbers \(batch, length\)"):
        tiny_model()(*inputs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16], ids=str)
def test_ids_must_be_of_a_type_that_pytorch_looks_up(tiny_model: Build, dtype: torch.dtype):
    model, ids = tiny_model(), random_ids(1, 3)
    with pytest.raises(TypeError, match=rf"token ids are {dtype}, expected .*int64 or int32; `\.long\(\)` makes int64"):
        model(ids.to(dtype), ids)
    assert torch.equal(model(ids.int(), ids.int()), model(ids, ids))


@pytest.mark.parametrize(("n_sources", "n_targets"), [(2, 4), (4, 2), (3, 1), (0, 0)])
def test_each_source_needs_its_target(tiny_model: Build, n_sources: int, n_targets: int):
    with pytest.raises(ValueError, match=f"got {n_sources} sources and {n_targets} targets, expected a target for"):
        tiny_model()(random_ids(n_sources, 3), random_ids(n_targets, 2))


def test_hypotheses_are_as_many_for_each_memory(tiny_model: Build):
    model = tiny_model()
    with pytest.raises(ValueError, match="got 3 rows of queries and 2 of memory, expected as many, or W times as many"):
        model.decode(random_ids(3, 4), model.encode(random_ids(2, 5)))
    with pytest.raises(ValueError, match="got 4 rows of queries and 0 of memory"):
        model.decode(random_ids(4, 4), torch.zeros(0, 5, model.config.d_model))


@pytest.mark.parametrize("lengths", [(17, 3), (3, 17)])
def test_sentence_must_fit_the_learned_positions(tiny_model: Build, lengths: tuple[int, int]):
    with pytest.raises(ValueError, match="the sentence has 17 tokens, expected at most 16"):
        tiny_model(positions="learned")(*(random_ids(1, length) for length in lengths))


def test_base_and_big_are_the_papers():
    """Table 3: N, d_model, d_ff, h, P_drop; base and big differ in nothing else."""
    base, big = TransformerConfig.base(), TransformerConfig.big()
    assert (base.n_layers, base.d_model, base.d_ff, base.n_heads, base.dropout) == (6, 512, 2048, 8, 0.1)
    assert (big.n_layers, big.d_model, big.d_ff, big.n_heads, big.dropout) == (6, 1024, 4096, 16, 0.3)
    assert (base.positions, base.norm, base.tie_embeddings, base.attention_dropout) == ("sinusoidal", "post", True, 0.0)
    sizes = {"d_model": 1024, "d_ff": 4096, "n_heads": 16, "dropout": 0.3}
    assert dataclasses.replace(base, **sizes) == big == TransformerConfig(**dataclasses.asdict(big))
    assert TransformerConfig.big(dropout=0.1).dropout == TransformerConfig.base(d_model=64, dropout=0.1).dropout == 0.1


SIZES = ["vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "d_k", "d_v", "max_len"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *((({name: 0}), f"{name} is 0, expected at least 1") for name in SIZES),
        *(
            ({name: p}, f"{name} is {p}, expected 0 or more and below 1")
            for name in ("dropout", "attention_dropout")
            for p in (-0.1, 1.0)
        ),
        ({"positions": "rotary"}, "positions is 'rotary', expected one of sinusoidal, learned, none"),
        ({"norm": "batch"}, "norm is 'batch', expected one of post, pre"),
        ({"d_model": 10, "n_heads": 3}, "d_model 10 is not divisible by n_heads 3, .* or give d_k and d_v yourself"),
        ({"d_model": 10, "n_heads": 3, "d_k": 4}, "d_model 10 is not divisible by n_heads 3"),
        ({"d_model": 9, "n_heads": 3}, "d_model is 9, expected an even number.* or learned positions"),
    ],
    ids=str,
)
def test_configuration_refuses_what_makes_no_sense(setting: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**setting)


def test_smallest_sizes_are_allowed():
    smallest = {**dict.fromkeys(SIZES, 1), "dropout": 0, "attention_dropout": 0}
    assert TransformerConfig(**smallest, positions="learned").d_model == 1
    assert TransformerConfig(**smallest | {"d_model": 10, "n_heads": 3}).head_sizes == (1, 1)


def test_learned_positions_take_an_odd_d_model(tiny_model: Build):
    source = random_ids(1, 4)
    odd = tiny_model(d_model=15, n_heads=3, positions="learned")
    assert odd(source, source).shape == (1, 4, 11)
