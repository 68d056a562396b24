"""An interactive map of every attention of a model for one sentence, with the arithmetic of each cell."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import torch
from torch import Tensor

from transformer.model import Transformer
from transformer.text.batches import collate, encode_pairs
from transformer.text.pairs import Pair
from transformer.text.tokenizer import Tokenizer
from transformer.tutor import charts
from transformer.tutor.figures import PALETTE

Kind = Literal["encoder", "decoder", "cross"]
"""which of the three attentions"""
NAMES: dict[Kind, str] = {
    "encoder": "encoder: source at source",
    "decoder": "decoder: target at earlier target",
    "cross": "decoder: target at source",
}
"""and what the menu calls them: who looks at whom"""


@dataclass(frozen=True)
class LabelledAttention:
    """The products and weights of one kind of attention in one pass, in all layers and heads, with the tokens."""

    queries: list[str]
    """tokens that ask, T of them"""
    keys: list[str]
    """tokens that are asked, S of them"""
    products: Tensor
    """the raw dot products q · k, (L, H, T, S)"""
    weights: Tensor
    """what the mask and the softmax make of them, (L, H, T, S)"""


def labelled_attention(model: Transformer, tokenizer: Tokenizer, pair: Pair) -> dict[Kind, LabelledAttention]:
    """The three kinds of attention of one pass over a sentence pair, without dropout.

    A row of the decoder belongs to the token that is being chosen there, not to the one that was put in.
    """
    batch = collate(encode_pairs(tokenizer, [pair])).to(model.device)
    weights = model.attention_maps(batch.source, batch.target_in)
    products = model.attention_maps(batch.source, batch.target_in, products=True)
    source, written, shown = (
        tokenizer.tokens(ids[0].tolist()) for ids in (batch.source, batch.target_out, batch.target_in)
    )
    tokens: dict[Kind, tuple[list[str], list[str]]] = {
        "encoder": (source, source), "decoder": (written, shown), "cross": (written, source)
    }  # fmt: skip
    return {
        kind: LabelledAttention(*tokens[kind], getattr(products, kind)[:, 0].cpu(), getattr(weights, kind)[:, 0].cpu())
        for kind in NAMES
    }


def show_attention(
    model: Transformer,
    tokenizer: Tokenizer,
    pair: Pair,
    kinds: Sequence[Kind] = ("cross", "encoder", "decoder"),
    cell: tuple[int, int] = (0, 0),
    layer: int | None = None,
    head: int = 1,
) -> None:
    """Display the maps of one sentence pair: menus choose the kind, the layer and the head.

    A cell is chosen by pointing or with two sliders, which the keyboard moves too; its q · k, the scaled score and
    its share of the row stand above the map. At the start the map shows the first kind, `layer` (counted from 1; the
    last one where it is not given) and `head` (from 1), and `cell` is the chosen (row, column). Raises ValueError for
    kinds, a layer, a head or a cell that are not there.
    """
    _check_shown(model, kinds, layer, head)
    found = labelled_attention(model, tokenizer, pair)
    chosen = {NAMES[kind]: found[kind] for kind in kinds}
    root = math.sqrt(model.config.head_sizes[0])
    rows = max(len(one.queries) for one in chosen.values())
    columns = max(len(one.keys) for one in chosen.values())
    if not (0 <= cell[0] < rows and 0 <= cell[1] < columns):
        raise ValueError(f"cell is {cell}, expected a row below {rows} and a column below {columns}, from 0")
    menus = {
        "kind": list(chosen),
        "layer": list(range(model.config.n_layers, 0, -1)),  # the last first: it is the easiest to read
        "head": list(range(1, model.config.n_heads + 1)),
    }
    shown_first = {"layer": layer or model.config.n_layers, "head": head}
    parameters = [
        alt.param(name, value=shown_first.get(name, of[0]), bind=alt.binding_select(options=of, name=f"{name} "))
        for name, of in menus.items()
    ]
    sliders = {
        name: alt.binding_range(min=0, max=size - 1, step=1, name=f"{name} ")
        for name, size in (("row", rows), ("column", columns))
    }
    at = alt.selection_point(
        "cell",
        fields=["row", "column"],
        bind=sliders,
        value=[{"row": cell[0], "column": cell[1]}],
        on="pointerover",
        clear=False,
    )
    shown = alt.Chart(alt.Data(values=[row for name, one in chosen.items() for row in _cells(name, one)]))
    shown = shown.transform_filter("datum.kind == kind && datum.layer == layer && datum.head == head")
    heat = shown.mark_rect(fill=PALETTE[0]).encode(
        x=alt.X("column:O", title="keys", axis=_words({name: one.keys for name, one in chosen.items()}, -60)),
        y=alt.Y("row:O", title="queries", axis=_words({name: one.queries for name, one in chosen.items()}, 0)),
        # Ink grows with the weight, so that the map is right on a white ground and on a black one.
        fillOpacity=alt.FillOpacity("weight:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None),
        stroke=alt.condition(at, alt.value(PALETTE[1]), alt.value(None)),
        strokeWidth=alt.value(3),
    )
    arithmetic = shown.transform_filter(at).transform_calculate(
        line=f"'q·k = ' + format(datum.product, '.2f') + ',  ÷ {root:.4g} = ' + format(datum.product / {root}, '.2f')"
        " + '\\n' + 'share of the row: ' + format(datum.weight, '.3f')"
    )
    # Two lines, since one is wider than a phone.
    line = arithmetic.mark_text(align="left", lineBreak="\n").encode(x=alt.value(0), y=alt.value(-26), text="line:N")
    charts.show(
        heat.add_params(*parameters, at) + line,
        f"Heat map of attention weights for “{pair.source}” and “{pair.target}”. Menus choose the kind of attention, "
        "the layer and the head; two sliders choose a cell, whose arithmetic is written above the map.",
    )


def _check_shown(model: Transformer, kinds: Sequence[Kind], layer: int | None, head: int) -> None:
    if isinstance(kinds, str) or not kinds or any(kind not in NAMES for kind in kinds):
        raise ValueError(f"kinds is {kinds!r}, expected some of {', '.join(NAMES)} in a list")
    for name, number, most in (("layer", layer, model.config.n_layers), ("head", head, model.config.n_heads)):
        if number is not None and not 1 <= number <= most:
            raise ValueError(f"{name} is {number}, expected one from 1 to {most}")


def _cells(kind: str, one: LabelledAttention) -> Iterator[dict[str, Any]]:
    for layer, head, row, column in torch.ones_like(one.weights).nonzero().tolist():
        yield {
            "kind": kind,
            "layer": layer + 1,
            "head": head + 1,
            "row": row,
            "column": column,
            "product": round(one.products[layer, head, row, column].item(), 2),
            "weight": round(one.weights[layer, head, row, column].item(), 3),
        }


def _words(tokens: dict[str, list[str]], angle: int) -> alt.Axis:
    """An axis that writes, for each kind of attention, its tokens instead of their numbers."""
    return alt.Axis(
        labelExpr=f"({json.dumps(tokens, ensure_ascii=False)})[kind][datum.value]", labelAngle=angle, labelLimit=90
    )
