"""Figure 1 of the paper with a sentence inside: the drawing, and the place at which it opens.

`book/assets/live/inside.js` makes the boxes buttons and asks the model; what it shows has the same markup as here.
"""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from matplotlib.colors import Colormap
from PIL import Image
from torch import Tensor

from transformer.decoding import greedy
from transformer.model import Transformer
from transformer.text import grammar
from transformer.text.corpora import load_corpus
from transformer.text.symbols import BOS, EOS
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.figures import SHADES, SOURCE, TARGET, TWO_SHADES
from transformer.tutor.live import BAR, Live, signed

from .in_python import places

MODEL = "embedded-en-de"
SENTENCE = "women need the suitcase because it is new ."
"""the sentence of chapter 7"""
FOLLOWED = "weil"
"""the word at whose place the figure opens: there the next one is chosen, er"""
EXAMPLES = 12
"""sentences that the model has not been trained on"""
LIKELIEST = 5
LEGEND = (
    '<p class="inside-legend">Blue is above zero, orange below; the more colour, the farther from zero. A row of the '
    "decoder is named after the word that goes in; there the word after it is chosen.</p>"
)
ATTENTION = 0.4
"""how much ink fills a box in which words meet; others get a quarter of it"""


@dataclass(frozen=True)
class Inside:
    """A sentence, its translation, and every tensor on the way."""

    model: Transformer
    tokenizer: Tokenizer
    source: list[str]
    """the tokens that the encoder reads (S)"""
    target: list[str]
    """the tokens that the decoder reads (T); each is the place at which the next one is chosen"""
    text: str
    """the translation"""
    places: dict[str, Tensor]


@cache
def opened(sentence: str = SENTENCE) -> Inside:
    """The embedded model's pass over a sentence and its own translation, which greedy search has written."""
    model, tokenizer = Transformer.from_pretrained(MODEL), Tokenizer.from_pretrained(MODEL)
    source = [*tokenizer.encode(sentence), EOS]
    (written,) = greedy(model, torch.tensor([source]))
    target = [BOS, *written.best.tokens]
    tokens = (tokenizer.tokens(ids) for ids in (source, target))
    return Inside(model, tokenizer, *tokens, tokenizer.decode(target), places(model, source, target))


def inside(page: str = "") -> Live:
    """Figure 1 with the sentence of chapter 7, open at the decoder's last attention to the source.

    The sections that explain the boxes are those of the `page`, or of the one that the figure stands on.
    """
    one = opened()
    layer, row = one.model.config.n_layers - 1, one.target.index(FOLLOWED)
    name = f"decoder.layers.{layer}.cross_attention"
    weights = one.places[f"{name}.weights"]  # (H, T, S)
    head = int(weights[:, row].amax(-1).argmax())
    best = one.source[int(weights[head, row].argmax())]
    share, config = float(weights[head, row].max()), one.model.config
    chances = one.places["output"][row].softmax(-1)  # (V,)
    following = one.tokenizer.tokens([int(chances.argmax())])[0]
    state = {
        "sentence": SENTENCE,
        "box": "cross-attention",
        "layer": layer,
        "head": head,
        "rows": {"source": one.source.index(best), "target": row},
        "sizes": {"N": config.n_layers, "H": config.n_heads, "D": config.d_model, "d_ff": config.d_ff},
        "vocabulary": one.tokenizer.tokens(list(range(config.vocab_size))),
        "examples": examples(),
    }
    values = f"Smallest {float(weights[head].min()):.0%}, largest {float(weights[head].max()):.0%}."
    shape = f"(H, T, S) = ({', '.join(map(str, weights.shape))})"
    panel = (
        f'<div class="inside-panel"><p class="inside-place"><b>Decoder, layer {layer + 1}: attention to the source</b>'
        f'</p><p class="inside-shape">weights {shape}, head {head + 1}</p><div class="inside-view">'
        f"{heat(weights[head], one.target, one.source, row)}</div>"
        f'<p class="live-note">{values} Rows are queries, columns are keys.</p>{LEGEND}</div>'
    )
    return Live(
        "inside",
        f"Figure 1 of the paper as a map of boxes. Inside is the sentence: {SENTENCE} It is open at the decoder's last "
        f"attention to the source: at the place of {FOLLOWED}, head {head + 1} takes {share:.0%} from {best}, and the "
        f"likeliest next word is {following}, {float(chances.max()):.0%}.",
        state,
        f'<p class="live-says">{html.escape(SENTENCE)} <span class="arrow">→</span> <b data-says="text">'
        f"{html.escape(one.text)}</b></p>"
        f'<div class="inside-both">{figure_1(following, float(chances.max()), page)}{panel}</div>'
        f'<div class="inside-numbers">{by_the_numbers(one, layer, head, row)}</div>'
        f'<div class="inside-stream">{"" if page else stream(one, row)}</div>{"" if page else known()}',
        model=MODEL,
    )


def english() -> list[str]:
    """The English words that the model has been trained on."""
    sentences = (pair.source for pair in load_corpus("embedded")["train"])
    return sorted({word for sentence in sentences for word in sentence.split() if word[0].isalpha()})


def known() -> str:
    """These words, folded."""
    words = english()
    return (
        f'<details class="inside-known"><summary>The {len(words)} English words that the model knows</summary>'
        f"<p>{', '.join(map(html.escape, words))}</p></details>"
    )


def examples() -> list[str]:
    """Sentences of the test split, short enough for a phone."""
    short = (pair.source for pair in grammar.generate(400, seed=1, split="test") if 6 <= len(pair.source.split()) <= 11)
    return list(dict.fromkeys(short))[:EXAMPLES]


# Figure 1


ENCODER, DECODER = 82, 270  # the middles of the columns, in pixels
BOXES = {  # each box: what is written in it, its middle, and the section of the page that explains it
    "source": ("Source", ENCODER, 440, "tokens"),
    "source-embedding": ("Embedding", ENCODER, 400, "embedding"),
    "source-positions": ("+ Positions", ENCODER, 364, "positions"),
    "self-attention": ("Self-attention", ENCODER, 306, "self-attention"),
    "encoder-add-1": ("Add, normalise", ENCODER, 274, "add-normalise"),
    "encoder-network": ("Feed-forward", ENCODER, 230, "feed-forward"),
    "encoder-add-2": ("Add, normalise", ENCODER, 198, "add-normalise"),
    "memory": ("Memory", ENCODER, 138, "memory"),
    "target": ("Target so far", DECODER, 440, "tokens"),
    "target-embedding": ("Embedding", DECODER, 400, "embedding"),
    "target-positions": ("+ Positions", DECODER, 364, "positions"),
    "masked-attention": ("Masked attention", DECODER, 306, "masked-attention"),
    "decoder-add-1": ("Add, normalise", DECODER, 274, "add-normalise"),
    "cross-attention": ("Cross-attention", DECODER, 230, "cross-attention"),
    "decoder-add-2": ("Add, normalise", DECODER, 198, "add-normalise"),
    "decoder-network": ("Feed-forward", DECODER, 154, "feed-forward"),
    "decoder-add-3": ("Add, normalise", DECODER, 122, "add-normalise"),
    "linear": ("Linear", DECODER, 70, "linear"),
    "softmax": ("Softmax", DECODER, 34, "softmax"),
}


def figure_1(following: str, chance: float, page: str) -> str:
    """The drawing; without a script each box leads to its section of a page."""
    drawn = [frame(ENCODER, 180), frame(DECODER, 104), *map(arrow, ARROWS), *(box(name, page) for name in BOXES)]
    word = f'<tspan data-says="following">{html.escape(following)}</tspan>'
    chances = f'<tspan data-says="chance">{chance:.0%}</tspan>'
    place = f'x="{DECODER}" y="10" text-anchor="middle" font-size="13" fill="currentColor"'
    return (
        '<svg class="inside-map" viewBox="0 -4 360 464" fill="none" font-family="inherit" role="group" '
        'aria-label="Figure 1 of the paper, from below: encoder on the left, decoder on the right" '
        f'xmlns="http://www.w3.org/2000/svg">{TIP}{"".join(drawn)}<text {place}>{word} {chances}</text></svg>'
    )


def box(name: str, page: str) -> str:
    """A box that leads to its section of a page; dark where words meet."""
    words, x, y, section = BOXES[name]
    colour, height = SOURCE if x == ENCODER else TARGET, 20 if section == "add-normalise" else 28
    ink = ATTENTION if "attention" in name else ATTENTION / 4
    look = f'rx="4" fill="{colour}" fill-opacity="{ink}" stroke="{colour}"'
    return (
        f'<a href="{page}#{section}" data-box="{name}"><rect x="{x - 66}" y="{y - height / 2:g}" width="132" '
        f'height="{height}" {look}/><text x="{x}" y="{y + 4.5:g}" text-anchor="middle" font-size="13" '
        f'fill="currentColor">{words}</text></a>'
    )


def frame(x: int, top: int) -> str:
    """The frame around a layer, and how many of them there are."""
    place = f'x="{x - 78}" y="{top}" width="160" height="{336 - top}" rx="8"'
    layers = opened().model.config.n_layers
    return (
        f'<rect {place} stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="4 3"/><text x="{x - 76}" '
        f'y="{top - 6}" font-size="13" fill="currentColor">{layers} ×</text>'
    )


def arrow(path: str) -> str:
    """A path that ends in a tip."""
    return f'<path d="{path}" stroke="currentColor" marker-end="url(#inside-tip)"/>'


def upwards(x: int, *middles: tuple[int, int]) -> list[str]:
    """Arrows from box to box, for the lower edge of one and the upper edge of the next."""
    return [f"M{x} {below} V{above}" for below, above in middles]


def around(x: int, below: int, above: int) -> str:
    """The residual path around a sub-layer."""
    return f"M{x} {below} H{x + 76} V{above} H{x + 68}"


TIP = (
    '<marker id="inside-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker>'
)
ARROWS = [
    *upwards(ENCODER, (426, 415), (386, 379), (350, 321), (292, 285), (264, 245), (216, 209), (188, 153)),
    *upwards(DECODER, (426, 415), (386, 379), (350, 321), (292, 285), (264, 245), (216, 209), (188, 169), (140, 133)),
    *upwards(DECODER, (112, 85), (56, 49), (20, 14)),
    *(around(ENCODER, below, above) for below, above in [(343, 274), (256, 198)]),
    *(around(DECODER, below, above) for below, above in [(343, 274), (256, 198), (180, 122)]),
    f"M{ENCODER + 66} 138 H176 V230 H{DECODER - 67}",
]


# Heat maps, in the markup of book/assets/live/heat.js


def picture(rows: Tensor, colours: Colormap, description: str) -> str:
    """Numbers (n, m) from 0 to 1 as an image of n × m pixels, which the page stretches."""
    pixels = Image.fromarray(colours(rows.numpy(), bytes=True), "RGBA")
    file = io.BytesIO()
    pixels.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img class="heat-map" src="data:image/png;base64,{data}" alt="{html.escape(description)}">'


def strip(numbers: Tensor, largest: float, description: str) -> str:
    """Numbers with signs (n,) as a strip."""
    return picture((numbers[None] / largest + 1) / 2, TWO_SHADES, description)


def heat(shares: Tensor, rows: Sequence[str], columns: Sequence[str], chosen: int) -> str:
    """Shares (T, S) with their words; one row is chosen."""
    map_ = picture(shares, SHADES, f"attention weights of {len(rows)} queries and {len(columns)} keys")
    labels = "".join(
        f"<span{' class=is-chosen' if i == chosen else ''}>{html.escape(word)}</span>" for i, word in enumerate(rows)
    )
    heads = "".join(f"<span>{html.escape(word)}</span>" for word in columns)
    return (
        f'<div class="heat" style="--rows: {len(rows)}; --columns: {len(columns)}">'
        f'<div class="heat-rows">{labels}</div>{map_}<div class="heat-columns">{heads}</div></div>'
    )


# Attention by the numbers


def by_the_numbers(one: Inside, layer: int, head: int, row: int) -> str:
    """One query of the target to the source: products with all keys, divided, as shares, and the mixture."""
    name = f"decoder.layers.{layer}.cross_attention"
    config = one.model.config
    d_k = config.d_model // config.n_heads
    part = slice(head * d_k, (head + 1) * d_k)
    q, k, v = (one.places[f"{name}.{kind}"][:, part] for kind in ("query", "key", "value"))  # (T, K), (S, K), (S, K)
    products, weights = (one.places[f"{name}.{kind}"][head, row] for kind in ("products", "weights"))  # (S,) each
    mixed = weights @ v  # (K,)
    of_keys, of_values = (float(numbers.abs().max()) for numbers in (torch.cat([q[row, None], k]), v))
    rows = "".join(
        f'<tr style="background: {BAR} / {float(weight):.1%} 4px"><th scope="row">{html.escape(word)}</th>'
        f"<td>{strip(k[s], of_keys, f'the key of {word}')}</td><td>{signed(float(product))}</td>"
        f"<td>{signed(float(product) / math.sqrt(d_k))}</td><td>{float(weight):.0%}</td>"
        f"<td>{strip(v[s], of_values, f'the value of {word}')}</td></tr>"
        for s, (word, product, weight) in enumerate(zip(one.source, products, weights, strict=True))
    )
    return (
        f'<p class="live-says"><b>{html.escape(one.target[row])}</b> asks in head {head + 1} of layer {layer + 1}</p>'
        f'<table class="by-numbers"><thead><tr><th scope="col">key</th><th scope="col">k</th><th scope="col">q · k</th>'
        f'<th scope="col">÷ √{d_k}</th><th scope="col">softmax</th><th scope="col">v</th></tr></thead><tbody>'
        f'<tr class="asks"><th scope="row">q</th><td>{strip(q[row], of_keys, "the query")}</td>'
        f'<td colspan="4"></td></tr>{rows}<tr class="gets"><th scope="row" colspan="5">sum of softmax × v</th>'
        f"<td>{strip(mixed, of_values, 'the mixture of the values')}</td></tr></tbody></table>"
    )


# One token, from bottom to top


PARTS = {"self_attention": "masked attention", "cross_attention": "cross-attention", "feed_forward": "feed-forward"}
"""the sub-layers of a decoder layer"""


def stream(one: Inside, row: int) -> str:
    """The vector of a target token after each sub-layer, and the likeliest tokens at the end."""
    vectors = [("embedding", one.places["target_embedding"][row]), ("+ position", one.places["positions"][row])]
    for layer in range(one.model.config.n_layers):
        ways = {f"{layer + 1}: {words}": f"decoder.layers.{layer}.{part}_residual" for part, words in PARTS.items()}
        vectors += [(words, one.places[name][row]) for words, name in ways.items()]
    largest = max(float(vector.abs().max()) for _, vector in vectors)
    rows = "".join(
        f'<tr><th scope="row">{words}</th><td>{strip(vector, largest, f"the vector behind {words}")}</td>'
        f"<td>{float(vector.norm()):.1f}</td></tr>"
        for words, vector in vectors
    )
    chances = one.places["output"][row].softmax(-1).topk(LIKELIEST)
    following = zip(one.tokenizer.tokens(chances.indices.tolist()), chances.values.tolist(), strict=True)
    return (
        f'<p class="live-says">The place of <b>{html.escape(one.target[row])}</b>, from embedding to logits</p>'
        f'<table class="stream"><thead><tr><th scope="col">behind</th><th scope="col">its vector</th>'
        f'<th scope="col">length</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="live-note">The likeliest next tokens:</p>{likeliest(following)}'
    )


def likeliest(chances: Iterable[tuple[str, float]]) -> str:
    """Tokens with the bars of their probabilities."""
    items = "".join(
        f'<li style="background: {BAR} / {chance:.1%} 4px"><span>{html.escape(word)}</span> {chance:.1%}</li>'
        for word, chance in chances
    )
    return f'<ol class="likeliest">{items}</ol>'
