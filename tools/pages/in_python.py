"""What the engine of the pages computes, computed by the package: every place, and one thing done otherwise."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transformer import attention
from transformer.attention import MultiHeadAttention, record_attention, scaled_dot_product_attention
from transformer.layers import Residual
from transformer.model import Transformer
from transformer.text.symbols import BOS, PAD

SWITCHES = ("positions", "embeddingScale", "scale", "causalMask", "paddingMask", "headSplit", "residual", "norm")
"""what can be switched off in all layers at once; single heads are called as "encoder.layers.0.self_attention.1" """


def places(model: Transformer, source: list[int], target: list[int]) -> dict[str, Tensor]:
    """What each module put out in one pass, and the products and weights of each attention, without the batch.

    The source ends in EOS, the target begins with BOS. Names are those of `engine.trace`, as far as it has them.
    """
    found: dict[str, Tensor] = {}
    names = {module: name for name, module in model.named_modules()}

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        found[names[module]] = output[0]

    hooks = [module.register_forward_hook(keep) for module in names]
    with torch.inference_mode(), record_attention(model) as recorded:
        model(torch.tensor([source]), torch.tensor([target]))
    for hook in hooks:
        hook.remove()
    for module, (record,) in recorded.items():
        found |= {f"{names[module]}.products": record.products[0], f"{names[module]}.weights": record.weights[0]}
    return found


def heads(model: Transformer) -> list[str]:
    """The names of all heads, as switches have them."""
    named = (name for name, part in model.named_modules() if isinstance(part, MultiHeadAttention))
    return [f"{name}.{head}" for name in named for head in range(model.config.n_heads)]


@contextmanager
def wrong_split() -> Iterator[None]:
    """Cut the positions into heads, and glue them, as chapter 5 warns."""
    right = attention.split_heads, attention.merge_heads
    attention.split_heads = lambda x, n_heads: x.reshape(x.size(0), n_heads, x.size(1), -1)
    attention.merge_heads = lambda x: x.reshape(x.size(0), x.size(2), -1)
    try:
        yield
    finally:
        attention.split_heads, attention.merge_heads = right


def changed(sound: Transformer, switch: str) -> Transformer:
    """A model with the same weights in which one thing is done differently; "headSplit" takes `wrong_split` besides."""
    config = replace(sound.config, positions="none") if switch == "positions" else sound.config
    model = Transformer(config).eval()
    model.load_weights(dict(sound.named_parameters()))
    attentions = {name: part for name, part in model.named_modules() if isinstance(part, MultiHeadAttention)}
    root = math.sqrt(config.d_model // config.n_heads)
    if switch == "embeddingScale":
        model.source_embedding.scale = model.target_embedding.scale = 1.0
    elif switch == "scale":
        for part in attentions.values():
            part.attend = lambda q, k, v, mask, p: scaled_dot_product_attention(q * root, k, v, mask, p)
    elif switch == "causalMask":
        model.decoder_mask = lambda target, past=0: None
    elif switch == "paddingMask":
        model.source_mask = lambda source: torch.ones(len(source), 1, 1, source.size(1), dtype=torch.bool)
    elif switch == "residual":
        for part in (part for part in model.modules() if isinstance(part, Residual)):
            part.forward = lambda x, sublayer, norm=part.norm: norm(sublayer(x))
    elif switch == "norm":
        for part in (part for part in model.modules() if isinstance(part, Residual)):
            part.norm = nn.Identity()
    elif switch in heads(model):
        name, _, head = switch.rpartition(".")
        keep = (torch.arange(config.n_heads) != int(head))[:, None, None]
        attentions[name].attend = lambda q, k, v, mask, p: keep * scaled_dot_product_attention(q, k, v, mask, p)
    return model


def rewritten(sound: Transformer, switch: str, source: Tensor, n: int) -> Tensor:
    """The likeliest token at each of n steps for source ids (B, S), with one thing done differently: (B, n)."""
    with wrong_split() if switch == "headSplit" else nullcontext():
        return written(changed(sound, switch), source, n)[0]


def written(model: Transformer, source: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The likeliest token at each of n steps, in source ids (B, S) → (B, n), and the logits (B, n, V).

    All is computed anew at each step: without the causal mask a new token changes the earlier ones.
    """
    target = torch.full((len(source), 1), BOS)
    logits = []
    with torch.inference_mode():
        for _ in range(n):
            logits.append(model(source, target)[:, -1])  # (B, V)
            choice = logits[-1].clone()
            choice[:, [PAD, BOS]] = -math.inf
            target = torch.cat([target, choice.argmax(-1, keepdim=True)], dim=1)
    return target[:, 1:], torch.stack(logits, dim=1)
