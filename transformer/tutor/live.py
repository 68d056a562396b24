"""Figures to take in hand: attention and softmax, drawn here and brought to life on the book's pages::

    from transformer.tutor import live
    live.attention_by_hand()

A notebook shows the opening state as a picture. On the pages the script of the same name in `book/assets/live` reads the
data that the figure carries, and moves the same drawing; what it computes at the beginning is what stands here.
"""

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transformer.tutor.figures import KEY, QUERY, VALUE

WORDS = ("woman", "suitcase", "it", "new")
"""of the sentence that the book carries through: the woman needs the suitcase because it is new"""
QUERIES = ((-0.6, 1.6), (1.2, 0.8), (0.6, 1.8), (1.8, 0.4))
"""an arrow for each word: what it looks for"""
KEYS = ((2.0, 0.4), (0.3, 2.2), (-1.4, 0.9), (-1.2, -1.3))
"""an arrow for each word: what it can be found by"""
VALUES = ((1.8, -1.4), (0.7, 1.9), (-0.9, -1.2), (-2.0, 0.6))
"""an arrow for each word: what it hands over"""
SCORES = (1.0, -0.4, 1.6, 0.3, -0.9)
"""of five words, after the division by √d_k: their spread is about 1"""

Arrows = Sequence[Sequence[float]] | Tensor
"""two numbers for each word"""


@dataclass(frozen=True)
class Live:
    """A figure that the pages bring to life; a notebook shows it as it opens."""

    kind: str
    """the name of the function that made it, and of the script that moves it"""
    description: str
    """what is to be seen, for those who cannot see it"""
    state: dict[str, Any]
    """what the script begins with, as JSON can hold it"""
    drawing: str
    """the opening state, as HTML"""

    def __repr__(self) -> str:
        return self.description

    def _repr_html_(self) -> str:
        state = html.escape(json.dumps(self.state, separators=(",", ":")))
        return (
            f'<figure class="live" data-live="{self.kind}" data-state="{state}" '
            f'aria-label="{html.escape(self.description)}">{self.drawing}</figure>'
        )


# Attention


def attention_by_hand(
    words: Sequence[str] = WORDS,
    queries: Arrows = QUERIES,
    keys: Arrows = KEYS,
    values: Arrows = VALUES,
    asking: str = "it",
) -> Live:
    """The attention of one word (paper §3.2.1) with arrows to drag: `asking` compares its query with all keys.

    `queries`, `keys` and `values` are (T, 2), for T different words. Raises ValueError for other shapes, for numbers
    that are not finite, and for an asking word that is not among the words.
    """
    if len(set(words)) < len(words) or asking not in words:
        raise ValueError(f"{asking!r} asks among {list(words)}, expected different words, and one of them to ask")
    given = {"queries": queries, "keys": keys, "values": values}
    vectors = {name: _arrows(name, arrows, len(words)) for name, arrows in given.items()}
    q, k, v = vectors["queries"][words.index(asking)], vectors["keys"], vectors["values"]  # (2,), (T, 2), (T, 2)
    scores = k @ q  # (T,)
    scaled = scores / math.sqrt(q.numel())
    weights = scaled.softmax(-1)
    mixed = weights @ v  # (2,)

    reach = 1.1 * max(arrows.abs().max().item() for arrows in vectors.values())
    unit = EXTENT / reach  # pixels
    compared = [_arrow("key", word, unit * arrow) for word, arrow in zip(words, k, strict=True)]
    compared.append(_arrow("query", f"{asking} asks", unit * q))
    handed = [
        _arrow("value", word, unit * arrow, THIN + THICK * weight.item())
        for word, arrow, weight in zip(words, v, weights, strict=True)
    ]
    hull = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(unit * corner) for corner in _hull(v)))
    x, y = _place(unit * mixed)
    mixture = f'<circle class="mixed" cx="{x:.1f}" cy="{y:.1f}" r="6" fill="currentColor"/>'
    mixture += _beside("mixed", f"{asking} gets", x, y)
    rows = zip(words, scores.tolist(), scaled.tolist(), weights.tolist(), strict=True)
    told = ", ".join(f"{word} {weight:.0%}" for word, weight in zip(words, weights.tolist(), strict=True))
    most = words[int(weights.argmax())]
    return Live(
        "attention_by_hand",
        f"The query of {asking}, compared with the keys of {len(words)} words. The shares are {told}. The mixture of the "
        "values lies inside the area between them.",
        {"words": list(words), "asking": asking, "unit": unit, "reach": reach}
        | {name: arrows.tolist() for name, arrows in vectors.items()},
        f'<p class="live-says"><b>{html.escape(asking)}</b> takes most from <b>{html.escape(most)}</b>: '
        f"{weights.max().item():.0%}</p>"
        '<div style="display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; justify-content: center">'
        + _plane("compare", "1  compare: q · k", "the query and the keys as arrows", "".join(compared))
        + _table(rows, q.numel())
        + _plane(
            "mix", "3  mix: the values by their shares", "the values as arrows, and their mixture",
            f'<polygon points="{hull}" fill="{VALUE}" fill-opacity="0.12"/>' + "".join(handed) + mixture,
        )
        + "</div>",
    )  # fmt: skip


EXTENT = 100
"""pixels from the middle of a plane to where its arrows end at most"""
THIN, THICK = 1.5, 5.0
"""pixels: the width of a value's arrow is THIN, and THICK more at a share of 1"""
HEAD = 9
"""pixels of an arrow's head"""
SVG = 'role="img" fill="none" font-size="13" font-family="inherit" xmlns="http://www.w3.org/2000/svg"'
"""attributes of all drawings"""


def _arrows(name: str, arrows: Arrows, number: int) -> Tensor:
    """As a tensor (T, 2) of finite numbers."""
    tensor = torch.as_tensor(arrows, dtype=torch.float64)
    if tuple(tensor.shape) != (number, 2) or not tensor.isfinite().all():
        raise ValueError(
            f"the {name} have shape {tuple(tensor.shape)}, expected ({number}, 2): two finite numbers for each word"
        )
    return tensor


def _place(vector: Tensor) -> tuple[float, float]:
    """In SVG, where y grows downwards."""
    x, y = vector.tolist()
    return x + 0.0, 0.0 - y


def _arrow(kind: str, label: str, vector: Tensor, width: float = 2.5) -> str:
    """An arrow from the middle of a plane, with its label."""
    x, y = _place(vector)
    angle = math.atan2(y, x)
    left, right = ((x - HEAD * math.cos(a), y - HEAD * math.sin(a)) for a in (angle - 0.45, angle + 0.45))
    path = f"M0 0L{x:.1f} {y:.1f}M{left[0]:.1f} {left[1]:.1f}L{x:.1f} {y:.1f}L{right[0]:.1f} {right[1]:.1f}"
    color = {"query": QUERY, "key": KEY, "value": VALUE}[kind]
    line = f'<path class="{kind}" d="{path}" stroke="{color}" stroke-width="{width:.2f}"/>'
    if kind == "query":
        return line + _beside(kind, label, x, y)
    return line + _text(kind, label, x, y + (22 if y > 0 else -12), "middle")


def _beside(kind: str, words: str, x: float, y: float) -> str:
    """Words on the side of a point where there is more room."""
    return _text(kind, words, x + (13 if x >= 0 else -13), y + 5, "start" if x >= 0 else "end")


def _text(kind: str, words: str, x: float, y: float, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">'
        f"{html.escape(words)}</text>"
    )


def _plane(name: str, title: str, label: str, inside: str) -> str:
    """A plane with the origin in its middle."""
    axes = '<path d="M-118 0H118M0 -118V118" stroke="currentColor" stroke-opacity="0.25"/>'
    return (
        f'<svg class="{name}" viewBox="-128 -150 256 278" width="256" {SVG} aria-label="{label}" '
        f'style="flex: 1 1 12.5rem; max-width: 19rem; height: auto">'
        f'<text x="-128" y="-136" fill="currentColor" font-weight="bold">{title}</text>{axes}{inside}</svg>'
    )


def _hull(points: Tensor) -> list[Tensor]:
    """The corners of the convex hull of points (T, 2), by Andrew's monotone chain."""

    def half(points: list[Tensor]) -> list[Tensor]:
        chain: list[Tensor] = []
        for point in points:
            while len(chain) > 1 and torch.det(torch.stack([chain[-1] - chain[-2], point - chain[-1]])) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    ordered = sorted(points, key=Tensor.tolist)
    return half(ordered) + half(ordered[::-1])


def _table(rows: Any, d_k: int) -> str:
    """Scores and shares: a row for each word."""
    head = f'<tr><th scope="col">2&ensp;weigh</th><th scope="col">q · k</th><th scope="col">÷ √{d_k}</th>'
    head += '<th scope="col">softmax</th></tr>'
    body = "".join(
        f'<tr><th scope="row">{html.escape(word)}</th><td>{signed(score)}</td><td>{signed(scaled)}</td>'
        f'<td><span style="display: block; height: 0.5em; background: currentColor; width: {100 * weight:.1f}%"></span>'
        f"<span>{weight:.0%}</span></td></tr>"
        for word, score, scaled, weight in rows
    )
    return f'<table style="flex: 1 1 11rem; border-collapse: collapse"><thead>{head}</thead><tbody>{body}</tbody></table>'


def signed(number: float) -> str:
    """A number with two decimals and a minus that is as wide as a plus."""
    return f"{number:.2f}".replace("-", "−")


# Softmax


def softmax_by_hand(
    words: Sequence[str] = ("woman", "needs", "suitcase", "it", "new"),
    scores: Sequence[float] | Tensor = SCORES,
    factor: float = 8.0,
) -> Live:
    """The softmax (paper §3.2.1) of scores to drag, and of the same scores times a factor from 1 to 12 beside it.

    Each share p carries an arrow, its slope p (1 − p). Raises ValueError for scores that are not one number between
    −3 and 3 for each word, and for another factor.
    """
    s = torch.as_tensor(scores, dtype=torch.float64)  # (T,)
    if tuple(s.shape) != (len(words),) or not (s.abs() <= HIGHEST).all():
        raise ValueError(f"the scores are {s.tolist()}, expected {len(words)} numbers from −{HIGHEST} to {HIGHEST}")
    if not 1 <= factor <= LARGEST:
        raise ValueError(f"the factor is {factor}, expected one from 1 to {LARGEST}")
    shares = torch.stack([s.softmax(-1), (factor * s).softmax(-1)])  # (2, T): divided by √d_k, and not
    slopes = shares * (1 - shares)
    rows = "".join(
        _score(word, score, TOP + ROW * i) + "".join(_share(x, p, TOP + ROW * i) for x, p in zip(COLUMNS, pair, strict=True))
        for i, (word, score, pair) in enumerate(zip(words, s.tolist(), shares.mT.tolist(), strict=True))
    )
    steepest, before = slopes[1].max().item(), slopes[0].max().item()
    height = TOP + ROW * len(words)
    return Live(
        "softmax_by_hand",
        f"The shares that softmax gives {len(words)} scores, and those that it gives the scores times {factor:g}, where "
        f"the largest is {shares[1].max().item():.0%}. The steepest slope is {before:.2f} there, and {steepest:.2f} here.",
        {"words": list(words), "scores": s.tolist(), "factor": factor, "unit": STEP, "full": FULL},
        f'<p class="live-says">Scores × <b>{factor:g}</b>: a small nudge of a score moves its share at most '
        f"<b>{steepest:.2f}</b> times as far (× 1: {before:.2f})</p>"
        f'<svg viewBox="0 0 340 {height}" width="340" {SVG} aria-label="Bars for the scores, and for both kinds of shares" '
        f'style="display: block; width: 100%; max-width: 30rem; height: auto; margin: auto">'
        f'<g fill="currentColor"><text x="{ZERO}" y="13" text-anchor="middle">scores s</text>'
        f'<text x="{COLUMNS[0]}" y="13">softmax(s)</text>'
        f'<text class="factor" x="{COLUMNS[1]}" y="13">softmax({factor:g} s)</text></g>'
        f'<path d="M{ZERO} {TOP - 8}V{height}" stroke="currentColor" stroke-opacity="0.25"/>{rows}</svg>'
        '<p class="live-note">The arrow at a share p is its slope p (1 − p): how far the share moves for each unit by '
        "which its number in the softmax is nudged.</p>",
    )


HIGHEST = 3
"""the largest score"""
LARGEST = 12
"""the largest factor: scores of d_k = 144 that are not divided by √d_k"""
TOP, ROW = 32, 36
"""pixels: where the first row begins, and how high a row is"""
ZERO, STEP = 108, 14
"""pixels: where a score of 0 is, and how far 1 reaches"""
COLUMNS, FULL = (166, 258), 80
"""pixels: where the columns of shares begin, and how long a share of 1 is"""


def _score(word: str, score: float, y: float) -> str:
    """A word, and the bar of its score."""
    return (
        f'<text x="0" y="{y + 21}" fill="currentColor">{html.escape(word)}</text>'
        f'<path class="score" d="M{ZERO} {y + 17}h{STEP * score:.1f}" stroke="{KEY}" stroke-width="12"/>'
    )


def _share(x: float, p: float, y: float) -> str:
    """The bar of a share, its number above it, and its slope as an arrow that begins where the bar ends."""
    bar, slope = FULL * p, FULL * p * (1 - p)
    head = min(5.0, slope)
    tip = f"m{-head:.1f} {-head:.1f}l{head:.1f} {head:.1f}l{-head:.1f} {head:.1f}"
    return (
        f'<g class="share" fill="currentColor"><text x="{x}" y="{y + 9}" font-size="12">{p:.0%}</text>'
        f'<text class="slope" x="{x + FULL}" y="{y + 9}" font-size="12" text-anchor="end">{p * (1 - p):.2f}</text>'
        f'<path class="bar" d="M{x} {y + 18}h{bar:.1f}" stroke="currentColor" stroke-opacity="0.35" stroke-width="12"/>'
        f'<path class="nudge" d="M{x + bar:.1f} {y + 18}h{slope:.1f}{tip}" fill="none" stroke="currentColor" '
        'stroke-width="2"/></g>'
    )
