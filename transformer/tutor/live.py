"""Figures to take in hand: attention, softmax, byte-pair encoding; drawn here, and brought to life on the pages::

    from transformer.tutor import live
    live.attention_by_hand()

A notebook shows the opening state as a picture. On the pages a script, `book/assets/live/attention_by_hand.js`, moves
the same drawing: it begins with the data that the figure carries, and a test compares its first numbers with these.
"""

import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from transformer.attention import attention_weights
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

EXTENT = 100
"""pixels from the middle of a plane to where its arrows end at most"""
THIN, THICK = 1.5, 5.0
"""pixels: the width of a value's arrow is THIN, and THICK more at a share of 1"""
HEAD = 9
"""pixels of an arrow's head"""
PLANE = 128
"""pixels from the middle of a plane to its sides"""
LETTER, ASCENT, DESCENT = 7.6, 12, 4
"""pixels: how wide a letter is, about, and how far a line of them reaches above and below where it stands"""
BAR = "linear-gradient(currentColor, currentColor) no-repeat 0 100%"
"""a bar in the ink of the text along the lower edge, of the length and height that follow"""
SVG = 'role="img" fill="none" font-size="14" font-family="inherit" xmlns="http://www.w3.org/2000/svg"'
"""attributes of every drawing"""

HIGHEST, LARGEST = 2.5, 12
"""the largest score, and the largest factor: that of d_k = 144 without the division by √d_k"""
TOP, ROW = 32, 36
"""pixels: where the first row begins, and how high a row is"""
ZERO, STEP = 112, 20
"""pixels: where a score of 0 is, and how far 1 reaches"""
COLUMNS, FULL = (174, 262), 78
"""pixels: where the columns of shares begin, and how long a share of 1 is"""
GREY = 'stroke="currentColor" stroke-opacity="0.35" stroke-width="12"'
"""attributes of a bar"""

Arrows = Sequence[Sequence[float]] | Tensor
"""two numbers for each word"""
Spot = tuple[float, float, str]
"""where a label stands, in pixels: x and y, and which part of it is there, its start, middle or end"""
Box = tuple[float, float, float, float]
"""left, top, right and bottom, in pixels"""


@dataclass(frozen=True)
class Live:
    """A figure that readers can change on the pages; a notebook shows it as it opens."""

    kind: str
    """the name of the function that made it, and of the script that moves it"""
    description: str
    """what is to be seen, for those who cannot see it"""
    state: dict[str, Any]
    """what the script begins with, as JSON can hold it"""
    drawing: str
    """the opening state, as HTML"""
    model: str = ""
    """the shipped model that its script asks, if it asks one"""

    def __repr__(self) -> str:
        return self.description

    def _repr_html_(self) -> str:
        state = html.escape(json.dumps(self.state, separators=(",", ":")))
        asks = f' data-model="{self.model}"' if self.model else ""
        return (
            f'<figure class="live" data-live="{self.kind}" data-state="{state}"{asks} '
            f'aria-label="{html.escape(self.description)}">{self.drawing}</figure>'
        )


def field(name: str, text: str, tag: str = "span") -> str:
    """Text that the script replaces."""
    return f'<{tag} data-says="{name}">{html.escape(text)}</{tag}>'


def chance(p: float) -> str:
    """A probability in per cent, as HTML; of what may happen, so never 0."""
    return "&lt;1%" if p < 0.005 else f"{p:.0%}"


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
    weights = attention_weights(q[None], k)[0]  # (T,)
    mixed = weights @ v  # (2,)

    reach = 1.1 * max(arrows.abs().max().item() for arrows in vectors.values()) or 1.0
    unit = EXTENT / reach  # pixels
    shares = dict(zip(words, weights.tolist(), strict=True))
    most = max(shares, key=shares.__getitem__)
    told = ", ".join(f"{word} {share:.0%}" for word, share in shares.items())
    return Live(
        "attention_by_hand",
        f"Arrows: the query of {asking} and the keys of {len(words)} words. The shares of their values are {told}. "
        f"What {asking} gets is a point inside the area between the values.",
        {"words": list(words), "asking": asking, "unit": unit, "reach": reach}
        | {name: arrows.tolist() for name, arrows in vectors.items()},
        f'<p class="live-says"><b>{field("asking", asking)}</b> takes most from <b>{field("most", most)}</b>: '
        f"{field('share', f'{shares[most]:.0%}')}</p>"
        '<div style="display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; justify-content: center">'
        f"{_compare(asking, unit * q, dict(zip(words, unit * k, strict=True)))}"
        f"{_weigh(zip(words, scores.tolist(), scaled.tolist(), weights.tolist(), strict=True), q.numel())}"
        f"{_mix(asking, unit * mixed, dict(zip(words, unit * v, strict=True)), shares)}</div>",
    )


def _arrows(name: str, arrows: Arrows, number: int) -> Tensor:
    """As a tensor (T, 2) of finite numbers."""
    tensor = torch.as_tensor(arrows, dtype=torch.float64)
    if tuple(tensor.shape) != (number, 2) or not tensor.isfinite().all():
        raise ValueError(
            f"the {name} have shape {tuple(tensor.shape)}, expected ({number}, 2): two finite numbers for each word"
        )
    return tensor


def _compare(asking: str, query: Tensor, keys: dict[str, Tensor]) -> str:
    """A query and all keys in their plane, in pixels."""
    arrows = "".join(_arrow("key", key) + _named("key", word, key) for word, key in keys.items())
    arrows += _arrow("query", query) + _does("query", asking, "asks", query, keys)
    return _plane("compare", "1. Compare: q · k", "the query and the keys as arrows", arrows)


def _mix(asking: str, mixed: Tensor, values: dict[str, Tensor], shares: dict[str, float]) -> str:
    """All values in their plane, in pixels, their hull, and what the shares make of them."""
    arrows = "".join(
        _arrow("value", value, THIN + THICK * shares[word]) + _named("value", word, value)
        for word, value in values.items()
    )
    corners = (_place(corner) for corner in _hull(torch.stack([*values.values()])))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    hull = f'<polygon points="{points}" fill="{VALUE}" fill-opacity="0.12"/>'
    x, y = _place(mixed)
    mixture = f'<circle class="mixed" cx="{x:.1f}" cy="{y:.1f}" r="6" fill="currentColor"/>'
    mixture += _does("mixed", asking, "gets", mixed, values)
    return _plane("mix", "3. Mix the values", "the values as arrows, and their mixture", hull + arrows + mixture)


def _place(vector: Tensor) -> tuple[float, float]:
    """In SVG, where y grows downwards."""
    x, y = vector.tolist()
    return x + 0.0, 0.0 - y


def _arrow(kind: str, vector: Tensor, width: float = 2.5) -> str:
    """An arrow from the middle of a plane."""
    x, y = _place(vector)
    angle = math.atan2(y, x)
    left, right = ((x - HEAD * math.cos(a), y - HEAD * math.sin(a)) for a in (angle - 0.45, angle + 0.45))
    path = f"M0 0L{x:.1f} {y:.1f}M{left[0]:.1f} {left[1]:.1f}L{x:.1f} {y:.1f}L{right[0]:.1f} {right[1]:.1f}"
    color = {"query": QUERY, "key": KEY, "value": VALUE}[kind]
    return f'<path class="{kind}" d="{path}" stroke="{color}" stroke-width="{width:.2f}"/>'


def _named(kind: str, word: str, vector: Tensor) -> str:
    """The word of an arrow, beyond its tip."""
    return _text(kind, html.escape(word), _beyond(*_place(vector)))


def _does(kind: str, asking: str, does: str, vector: Tensor, others: dict[str, Tensor]) -> str:
    """What the asking word does, beside a point, and clear of the tips and the words of the other arrows."""
    tips = [(word, *_place(other)) for word, other in others.items()]
    taken = [_box(word, _beyond(x, y)) for word, x, y in tips]
    taken += [(x - HEAD, y - HEAD, x + HEAD, y + HEAD) for _, x, y in tips]
    spot = _beside(f"{asking} {does}", *_place(vector), taken)
    return _text(kind, f"{field('asking', asking, 'tspan')} {does}", spot)


def _beyond(x: float, y: float) -> Spot:
    """Where the label of an arrow stands that ends at (x, y)."""
    return x, y + (22 if y > 0 else -12), "middle"


def _beside(words: str, x: float, y: float, taken: Sequence[Box]) -> Spot:
    """The first place around (x, y) at which words stay within their plane and lie on nothing that is taken."""
    outwards, inwards = (x + 13, y + 5, "start"), (x - 13, y + 5, "end")
    if x < 0:
        outwards, inwards = inwards, outwards
    before = (x, y + (-12 if y > 0 else 22), "middle")
    for spot in (outwards, _beyond(x, y), before, inwards):
        left, top, right, bottom = _box(words, spot)
        free = all(right <= a or c <= left or bottom <= b or d <= top for a, b, c, d in taken)
        if free and left >= -PLANE and right <= PLANE:
            return spot
    return _beyond(x, y)


def _box(words: str, spot: Spot) -> Box:
    """How far words reach, about."""
    x, y, anchor = spot
    width = LETTER * len(words)
    left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return left, y - ASCENT, left + width, y + DESCENT


def _text(kind: str, words: str, spot: Spot) -> str:
    x, y, anchor = spot
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{words}</text>'


def _plane(name: str, title: str, label: str, inside: str) -> str:
    """A plane with the origin in its middle."""
    axes = '<path d="M-118 0H118M0 -118V118" stroke="currentColor" stroke-opacity="0.25"/>'
    return (
        f'<svg class="{name}" viewBox="-128 -150 256 278" width="256" {SVG} aria-label="{label}" '
        f'style="flex: 1 1 12.5rem; min-width: 0; max-width: 17.5rem; height: auto">'
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


def _weigh(rows: Iterable[tuple[str, float, float, float]], d_k: int) -> str:
    """A row for each word: its score, the score divided by √d_k, and its share, with a bar below all of them."""
    head = "".join(f'<th scope="col">{title}</th>' for title in ("2. Weigh", "q · k", f"÷ √{d_k}", "softmax"))
    body = "".join(
        f'<tr style="background: {BAR} / {share:.1%} 4px"><th scope="row">{html.escape(word)}</th>'
        f"<td>{signed(score)}</td><td>{signed(scaled)}</td><td>{share:.0%}</td></tr>"
        for word, score, scaled, share in rows
    )
    style = "flex: 0 1 13.5rem; border-collapse: collapse; font-variant-numeric: tabular-nums"
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


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
    −2.5 and 2.5 for each word, and for another factor.
    """
    s = torch.as_tensor(scores, dtype=torch.float64)  # (T,)
    if tuple(s.shape) != (len(words),) or not (s.abs() <= HIGHEST).all():
        raise ValueError(f"the scores are {s.tolist()}, expected {len(words)} numbers from −{HIGHEST} to {HIGHEST}")
    if not 1 <= factor <= LARGEST:
        raise ValueError(f"the factor is {factor}, expected one from 1 to {LARGEST}")
    shares = torch.stack([s.softmax(-1), (factor * s).softmax(-1)])  # (2, T): divided by √d_k, and not
    slopes = shares * (1 - shares)
    rows = "".join(
        _score(word, score, TOP + ROW * i)
        + "".join(_share(x, p, TOP + ROW * i) for x, p in zip(COLUMNS, pair, strict=True))
        for i, (word, score, pair) in enumerate(zip(words, s.tolist(), shares.mT.tolist(), strict=True))
    )
    largest, steepest = shares.amax(-1).tolist(), slopes.amax(-1).tolist()
    times, height = field("factor", f"{factor:g}"), TOP + ROW * len(words)
    return Live(
        "softmax_by_hand",
        f"Bars: {len(words)} scores, their shares by softmax, and the shares of the scores times {factor:g}. The "
        f"largest share is {largest[0]:.0%} and {largest[1]:.0%}, the steepest slope {steepest[0]:.2f} and "
        f"{steepest[1]:.2f}.",
        {"words": list(words), "scores": s.tolist(), "factor": factor, "unit": STEP, "full": FULL, "highest": HIGHEST},
        '<p class="live-says">Of the numbers that go into a softmax, raise one a little: in softmax(s) a share moves '
        f"{field('before', _at_most(steepest[0]))} times as much, and in softmax({times}·s) "
        f"<b>{field('steepest', _at_most(steepest[1]))}</b> times.</p>"
        f'<svg viewBox="0 0 340 {height}" width="340" {SVG} aria-label="the scores and the shares as bars" '
        'style="display: block; width: 100%; max-width: 30rem; height: auto; margin: auto">'
        '<g fill="currentColor" font-size="13">'
        f'<text x="{ZERO}" y="13" text-anchor="middle">scores s</text><text x="{COLUMNS[0]}" y="13">softmax(s)</text>'
        f'<text x="{COLUMNS[1] + FULL}" y="13" text-anchor="end">'
        f"softmax({field('factor', f'{factor:g}', 'tspan')}·s)</text></g>"
        f'<path d="M{ZERO} {TOP - 8}V{height}" stroke="currentColor" stroke-opacity="0.25"/>{rows}</svg>'
        '<p class="live-note">Arrow: the slope p (1 − p) of a share, how far it moves for each unit of its entry in '
        f"softmax; by its score s, the factor times as far. Times {factor:g} undoes the division by "
        f"√d<sub>k</sub> = {factor:g}.</p>",
    )


def _at_most(number: float) -> str:
    """A bound in words, to two digits."""
    return f"at most {number:.2f}" if number >= 0.005 else "less than 0.01"


def _score(word: str, score: float, y: float) -> str:
    """A word, and the bar of its score."""
    return (
        f'<text x="0" y="{y + 21}" fill="currentColor">{html.escape(word)}</text>'
        f'<path class="score" d="M{ZERO} {y + 17}h{STEP * score:.1f}" {GREY}/>'
    )


def _share(x: float, p: float, y: float) -> str:
    """The bar of a share, its number above it, and its slope as an arrow that begins where the bar ends."""
    bar, slope = FULL * p, FULL * p * (1 - p)
    head = min(5.0, slope)
    tip = f"m{-head:.1f} {-head:.1f}l{head:.1f} {head:.1f}l{-head:.1f} {head:.1f}"
    return (
        '<g class="share" fill="currentColor" font-size="12">'
        f'<text data-says="share" x="{x}" y="{y + 9}">{p:.0%}</text>'
        f'<text data-says="slope" x="{x + FULL}" y="{y + 9}" text-anchor="end">{p * (1 - p):.2f}</text>'
        f'<path d="M{x} {y + 18}h{bar:.1f}" {GREY}/>'
        f'<path d="M{x + bar:.1f} {y + 18}h{slope:.1f}{tip}" fill="none" stroke="currentColor" '
        'stroke-width="2"/></g>'
    )


# Byte-pair encoding


def merge_by_hand(text: str = "case suitcase suitcases staircase", merges: int = 0) -> Live:
    """Byte-pair encoding (paper §5.1) of a text to type, one merge after the other; it opens after some merges.

    Words are cut at white space and begin as single characters. Each merge fuses the pair of neighbours that stands
    together most often, the earliest of equals. Raises ValueError for a text without a word, and for fewer merges than
    none or more than there are pairs.
    """
    words = [list(word) for word in text.split()]
    if not words:
        raise ValueError(f"the text is {text!r}, expected at least one word")
    if merges < 0:
        raise ValueError(f"got {merges} merges, expected at least 0")
    made: list[str] = []
    for _ in range(merges):
        if (pair := _commonest_pair(words)) is None:
            raise ValueError(f"got {merges} merges, expected at most {len(made)}: then every word is one piece")
        words = [_fuse(word, pair[0]) for word in words]
        made.append("".join(pair[0]))
    following = _commonest_pair(words)
    said = "none: every word is one piece"
    if following:
        pair, times = following
        said = f"{' + '.join(pair)}, {'once' if times == 1 else f'{times} times'}"
    rows = " ".join(
        '<span class="merge-word">' + "".join(f"<kbd>{html.escape(piece)}</kbd>" for piece in word) + "</span>"
        for word in words
    )
    count, known = sum(map(len, words)), ", ".join(made) or "none"
    return Live(
        "merge_by_hand",
        f"The words {text}, cut into pieces. Merges: {merges}. Pieces: {count}. The next pair: {said}.",
        {"text": text, "merges": merges},
        f'<p class="live-says">Merges: <b>{field("merges", str(merges))}</b>. Pieces: '
        f'<b>{field("pieces", str(count))}</b>.</p><div class="merge-words">{rows}</div>'
        f'<p class="live-note">New pieces: {field("made", known)}. Next: {field("next", said)}.</p>',
    )


def _commonest_pair(words: Sequence[Sequence[str]]) -> tuple[tuple[str, str], int] | None:
    """The pair of neighbours that stands together most often, and how often; None where there is none."""
    pairs = Counter(pair for word in words for pair in pairwise(word))
    return max(pairs.items(), key=lambda item: item[1], default=None)


def _fuse(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """One piece in place of two, wherever the pair stands."""
    fused: list[str] = []
    for piece in word:
        if fused and (fused[-1], piece) == pair:
            fused[-1] += piece
        else:
            fused.append(piece)
    return fused
