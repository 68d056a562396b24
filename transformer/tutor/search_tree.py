"""A beam search as a tree that grows (paper §6.1), drawn here and brought to life on the pages::

    from transformer.tutor.search_tree import search_tree
    search_tree("embedded-en-de", "maybe women need the suitcase .", beam=2, alpha=0)

The script, `book/assets/live/search_tree.js`, draws the same from the steps that the figure carries, and asks the model
for other sentences, widths and penalties.
"""

import html
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from transformer.decoding import BeamNode, beam_search, length_penalty
from transformer.model import Transformer
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.figures import QUERY
from transformer.tutor.live import SVG, Live, field, signed

COLUMN, ROW = 77, 48
"""pixels between hypotheses, and between steps"""
LONGEST = 10
"""letters of a token that have room in a column"""
END = "■ end"
"""how the end of a sentence is written, and a hypothesis that is nothing else"""
HEADS = ("finished", "log P", "tokens", "score")
"""of the table of finished hypotheses"""


@dataclass(frozen=True)
class Step:
    """One step of a search."""

    kept: list[BeamNode]
    """the hypotheses that survived it, most likely first"""
    cut: list[BeamNode]
    """the likeliest of those that did not"""


@dataclass(frozen=True)
class Found:
    """A hypothesis that a search ended with."""

    way: list[int]
    """its places among those kept at each step"""
    log_prob: float
    """of all its tokens, in nats"""
    score: float
    """the same under the length penalty"""


def search_tree(
    name: str, sentence: str, beam: int = 4, alpha: float = 0.6, model: Transformer | None = None, typed: bool = True
) -> Live:
    """The beam search of a shipped model for one sentence, as a tree with the best hypothesis at its left edge.

    `model` stands for the shipped one where its weights are not quite the same. Without `typed` the reader types no
    sentence here: the figure follows the translator of its page.
    """
    model, tokenizer = model or Transformer.from_pretrained(name), Tokenizer.from_pretrained(name)
    source = torch.tensor([[*tokenizer.encode(sentence), EOS]])  # (1, S)
    steps = [_rounded(step) for step in searched(model, source, beam, alpha)]
    found = ended(steps, alpha)
    texts = [tokenizer.decode([steps[t].kept[i].token for t, i in enumerate(one.way)]) or END for one in found]
    ids = sorted({node.token for step in steps for node in (*step.kept, *step.cut)})
    pieces = dict(zip(ids, tokenizer.tokens(ids), strict=True))
    last = ids[-1]
    between = "" if tokenizer.decode([last, last]) == 2 * pieces[last] else " "
    rows = "".join(
        f'<tr><th scope="row">{html.escape(text)}</th><td>{signed(one.log_prob)}</td><td>{len(one.way)}</td>'
        f"<td>{signed(one.score)}</td></tr>"
        for text, one in zip(texts, found, strict=True)
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in HEADS)
    cut = ", ".join(f"{_label(pieces[node.token])} {signed(node.log_prob)}" for node in steps[-1].cut)
    return Live(
        "search_tree",
        f"Tree of a beam search of width {beam} with α = {alpha:g} for “{sentence}”. Each row is a step. "
        f"The best hypothesis: {texts[0]}.",
        {
            **{"text": sentence, "width": beam, "alpha": alpha, "typed": typed},
            **{"column": COLUMN, "row": ROW, "longest": LONGEST, "pieces": pieces, "between": between},
            "steps": [{"kept": _as_json(step.kept), "cut": _as_json(step.cut)} for step in steps],
        },
        f'<p class="live-note">“{field("text", sentence)}”</p>'
        f'<p class="live-says">Width {field("width", str(beam))}, α = {field("alpha", f"{alpha:g}")}: '
        f"<b>{field('best', texts[0])}</b></p>"
        f'<div class="picture">{drawn(steps, pieces, found[0].way, beam)}</div>'
        '<p class="live-note">Below a token: log P of the sentence so far. Pale: given up at the next step. Likeliest '
        f"of those cut at step {field('step', str(len(steps)))}: {field('cut', cut or 'none')}.</p>"
        f'<table class="search-finished"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>',
        name,
    )


@torch.inference_mode()
def searched(model: Transformer, source: Tensor, beam: int, alpha: float) -> list[Step]:
    """The steps of a beam search for source ids (1, S), each with as many of the cut hypotheses as the beam is wide."""
    steps: list[Step] = []
    open_ones, beginnings, totals = [0], [[BOS]], torch.zeros(1)  # places a step before, ids, log-probabilities (W,)
    for kept in beam_search(model, source, beam, alpha, history=True)[0].history:
        logits = model(source.expand(len(beginnings), -1), torch.tensor(beginnings))[:, -1]  # (W, V)
        log_probs = logits.log_softmax(-1)
        log_probs[:, [PAD, BOS]] = -torch.inf
        best, index = (totals[:, None] + log_probs).flatten().topk(len(kept) + beam)
        parents, tokens = index // logits.size(1), index % logits.size(1)
        rows = zip(parents.tolist(), tokens.tolist(), best.tolist(), strict=True)
        nodes = [BeamNode(open_ones[parent], token, total, token == EOS) for parent, token, total in rows]
        steps.append(Step(kept, nodes[len(kept) :]))
        before = dict(zip(open_ones, beginnings, strict=True))
        open_ones = [i for i, node in enumerate(kept) if not node.finished]
        beginnings = [[*before[kept[i].parent], kept[i].token] for i in open_ones]
        totals = torch.tensor([kept[i].log_prob for i in open_ones])
    return steps


def ended(steps: list[Step], alpha: float) -> list[Found]:
    """The finished hypotheses, best first; where none is, those that are open at the end."""
    ends = [(t, i) for t, step in enumerate(steps) for i, node in enumerate(step.kept) if node.finished]
    found = []
    for end in ends or [(len(steps) - 1, i) for i in range(len(steps[-1].kept))]:
        t, i = end
        log_prob = steps[t].kept[i].log_prob
        way = [i]
        for step in steps[t:0:-1]:
            way.insert(0, step.kept[way[0]].parent)
        found.append(Found(way, log_prob, log_prob / length_penalty(t + 1, alpha)))
    return sorted(found, key=lambda one: one.score, reverse=True)


def drawn(steps: list[Step], pieces: dict[int, str], best: list[int], beam: int) -> str:
    """The tree as SVG: steps from top to bottom, children below their parents so that no lines cross."""
    lines, words = [], []
    columns = [0]  # of the hypotheses of the step before
    for t, step in enumerate(steps):
        of_best = best[t] if t < len(best) else -1
        order = sorted(range(len(step.kept)), key=lambda i: (columns[step.kept[i].parent], i != of_best, i))
        places = [order.index(i) for i in range(len(step.kept))]
        goes_on = {node.parent for node in steps[t + 1].kept} if t + 1 < len(steps) else set(places)
        for i, node in enumerate(step.kept):
            kind = "best" if i == of_best else "ended" if node.finished else "open" if i in goes_on else "cut"
            x, y = COLUMN * (places[i] + 0.5), ROW * t + 16
            if t:
                lines.append(_line(kind, COLUMN * (columns[node.parent] + 0.5), y - ROW + 20, x, y - 13))
            words.append(_word(kind, pieces[node.token], signed(node.log_prob), x, y))
        columns = places
    width, height = COLUMN * beam, ROW * len(steps)
    return (
        f'<svg viewBox="0 0 {width} {height}" {SVG} style="width: {width}px; min-width: {width}px" '
        f'aria-label="the hypotheses that were kept at each step">{"".join(lines + words)}</svg>'
    )


def _line(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    """From below a token to above the next one."""
    half = (y + to_y) / 2
    look = {
        "best": f'stroke="{QUERY}" stroke-width="3"',
        "cut": 'stroke="currentColor" stroke-opacity="0.5" stroke-dasharray="3 4"',
    }.get(kind, 'stroke="currentColor" stroke-opacity="0.5"')
    path = f"M{x:.1f} {y:.1f}C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path class="{kind}" d="{path}" {look}/>'


def _word(kind: str, piece: str, number: str, x: float, y: float) -> str:
    """A token, with all of it as a title where it is shortened, and log P of the hypothesis that ends with it."""
    label, whole = _label(piece), _whole(piece)
    title = f"<title>{html.escape(whole)}</title>" if label != whole else ""
    weight = ' font-weight="bold"' if kind == "best" else ""
    faint = ' fill-opacity="0.65"' if kind == "cut" else ""
    look = f'class="{kind}" text-anchor="middle" fill="currentColor"{faint}'
    return (
        f'<text {look} x="{x:.1f}" y="{y:.1f}" font-size="13"{weight}>{html.escape(label)}{title}</text>'
        f'<text {look} x="{x:.1f}" y="{y + 14:.1f}" font-size="12">{number}</text>'
    )


def _label(piece: str) -> str:
    """A token as it stands in the tree."""
    piece = _whole(piece)
    return piece if len(piece) <= LONGEST else f"{piece[: LONGEST - 3]}…"


def _whole(piece: str) -> str:
    """The same, however long."""
    return END if piece == "</s>" else piece.strip() or "␣"


def _rounded(step: Step) -> Step:
    """The step with the four decimals that the figure carries: its script, which knows no more, writes the same."""
    kept, cut = ([replace(n, log_prob=round(n.log_prob, 4)) for n in nodes] for nodes in (step.kept, step.cut))
    return Step(kept, cut)


def _as_json(nodes: list[BeamNode]) -> list[dict[str, Any]]:
    """Nodes under the names of the engine."""
    return [{"parent": n.parent, "token": n.token, "logProb": n.log_prob, "finished": n.finished} for n in nodes]
