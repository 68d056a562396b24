"""The translator of the front page, as it opens: a sentence that the shipped model has translated.

`book/assets/live/translator.js` moves it. It begins with what the figure carries: for every token how likely it was,
what else was, and where each head of each layer looked.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tools.live_weights import in_the_page, stored_cost
from transformer.decoding import greedy
from transformer.files import SHIPPED
from transformer.model import Transformer
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.figures import QUERY
from transformer.tutor.live import Live, chance, field
from transformer.tutor.search_tree import search_tree

NAME = "multi30k-en-de"
EXAMPLES = {
    "jacket": "A woman in an orange jacket sits on a bench.",
    "dogs": "Two brown dogs are running through the snow.",
    "boy": "A young boy in a red shirt throws a ball.",
    "its limits": "The parliament rejected the law.",
}
"""what a button offers: two captions of the test split and two sentences that are in no split; the figure opens with
the first"""
SHORTENED = "An old man on a subway wearing heavy layered clothing is reading a newspaper."
"""a caption of the test split of which beam search without a length penalty leaves the subway out"""
CHOICES = 5
"""likeliest tokens that are shown"""
SEEN = 0.05
"""shares below it get no line in the picture for previews"""
HIGH, MIDDLE, GAP, LETTERS = 34, (205, 355), 10, 24
"""pixels of that picture: a row, where the lines begin and end, their distance from the tokens, and the letters"""


@cache
def page_model() -> Transformer:
    """The model with the weights that the pages have."""
    model = Transformer(Transformer.from_pretrained(NAME).config).eval()
    model.load_weights(in_the_page(NAME))
    return model


@dataclass(frozen=True)
class Translation:
    """A sentence that the model has translated."""

    text: str
    source: list[int]
    """ids, with EOS"""
    steps: list[dict[str, Any]]
    """for each token what `written` tells of it"""
    pieces: dict[int, str]
    """all tokens that occur"""

    @property
    def german(self) -> str:
        """The translation."""
        return "".join(self.pieces[step["token"]] for step in self.steps[:-1]).strip()


@cache
def example() -> Translation:
    """The first example, translated."""
    model, tokenizer = page_model(), Tokenizer.from_pretrained(NAME)
    text = next(iter(EXAMPLES.values()))
    source = [*tokenizer.encode(text), EOS]
    steps = written(model, torch.tensor([source]))
    ids = sorted({*source, *(one["token"] for step in steps for one in (step, *step["likeliest"]))})
    return Translation(text, source, steps, dict(zip(ids, tokenizer.tokens(ids), strict=True)))


@torch.inference_mode()
def written(model: Transformer, source: Tensor) -> list[dict[str, Any]]:
    """A greedy translation of source ids (1, S): for each token what `book/assets/live/engine/write.js` tells of it."""
    target = [*greedy(model, source)[0].best.tokens, EOS]  # T
    inputs = torch.tensor([[BOS, *target[:-1]]])
    log_probs = model(source, inputs)[0].log_softmax(-1)  # (T, V)
    log_probs[:, [PAD, BOS]] = -torch.inf
    attention = model.attention_maps(source, inputs).cross[:, 0]  # (L, H, T, S)
    best, ids = log_probs.exp().topk(CHOICES)  # (T, 5) each
    return [
        {
            "token": token,
            "p": round(log_probs[t, token].exp().item(), 4),
            "likeliest": [
                {"token": i, "p": round(p, 4)} for i, p in zip(ids[t].tolist(), best[t].tolist(), strict=True)
            ],
            "attention": [[[round(w, 3) for w in head] for head in layer] for layer in attention[:, :, t].tolist()],
        }
        for t, token in enumerate(target)
    ]


def looked(step: dict[str, Any]) -> list[float]:
    """Where the last layer looked for a token, on average over the heads: shares (S) of the source."""
    return torch.tensor(step["attention"][-1]).mean(0).tolist()


def clearest_doubt(steps: Sequence[dict[str, Any]]) -> int:
    """The place of the token, the end left out, for which another was likely, and which looked hard at one word.

    `live.clearestDoubt` is the same rule in JavaScript.
    """
    return max(range(len(steps) - 1), key=lambda t: max(looked(steps[t])) * steps[t]["likeliest"][1]["p"], default=0)


def translator() -> Live:
    """The translator with its first example, and a token chosen that shows both a doubt and where it looked."""
    shown, config = example(), page_model().config
    chosen = clearest_doubt(shown.steps)
    step, shares = shown.steps[chosen], looked(shown.steps[chosen])
    names = {i: label(piece) for i, piece in shown.pieces.items()}
    token, most = names[step["token"]], names[shown.source[shares.index(max(shares))]]
    english = "".join(
        _token(shown.pieces[i], f'class="token" style="--weight: {share:.3f}"')
        for i, share in zip(shown.source, shares, strict=True)
    )
    german = "".join(
        _token(shown.pieces[one["token"]], f'class="token{" is-chosen" * (t == chosen)}"')
        for t, one in enumerate(shown.steps)
    )
    choices = "".join(
        f'<li style="--p: {one["p"]:.1%}"><span>{html.escape(names[one["token"]])}</span> '
        f"<b>{chance(one['p'])}</b></li>"
        for one in step["likeliest"]
    )
    return Live(
        "translator",
        f"A translation by the book's model: “{shown.text}” becomes “{shown.german}”. "
        f"For {token} it looked most at {most}.",
        {
            **{"text": shown.text, "examples": EXAMPLES, "source": shown.source, "steps": shown.steps},
            **{"chosen": chosen, "pieces": shown.pieces, "layers": config.n_layers, "heads": config.n_heads},
        },
        f'<div class="translation"><p class="tokens source" lang="en">{english}</p>'
        f'<p class="tokens target" lang="de">{german}</p></div>'
        f'<p class="live-says">For “<b>{field("token", token)}</b>”, {field("where", f"layer {config.n_layers}")} '
        f"looked most at “<b>{field('most', most)}</b>”. The likeliest words there:</p>"
        f'<ol class="choices">{choices}</ol><p class="live-note">{told(card())}',
        NAME,
    )


def _token(piece: str, attributes: str) -> str:
    """A token of a sentence, behind a blank where a word begins."""
    return f"{' ' * piece.startswith(' ')}<span {attributes}>{html.escape(label(piece))}</span>"


def label(piece: str) -> str:
    """A token as it is shown."""
    return "■" if piece == "</s>" else piece.strip() or "␣"


# What the model is


def card() -> dict[str, str]:
    """What the model's card says of it: parameters, pairs that it learned from, and greedy search on the test split.

    Raises ValueError where the card does not say it.
    """
    text = (SHIPPED / NAME / "README.md").read_text(encoding="utf-8")
    patterns = {
        "parameters": r"([\d,]+) parameters",
        "pairs": r"([\d,]+) English photo captions",
        "bleu": r"\| greedy \| ([\d.]+) \|",
        "invented": r"\| greedy (?:\| [\d.]+ ){3}\| (\d+) \|",
        "signature": r"Signature: `([^`]+)`",
    }
    found = {name: re.search(pattern, text) for name, pattern in patterns.items()}
    if missing := [name for name, match in found.items() if match is None]:
        raise ValueError(f"the card of {NAME} does not tell {', '.join(missing)}, expected: {patterns[missing[0]]}")
    return {name: match[1] for name, match in found.items()}


def told(said: dict[str, str]) -> str:
    """The same in words, as HTML."""
    millions = int(said["parameters"].replace(",", "")) / 1e6
    return (
        f"■ is the end of a sentence, ␣ a blank. The model: a Transformer of {millions:.1f} million parameters, "
        f"trained on {said['pairs']} captions. It hardly knows names or words in capitals.</p>"
        '<details class="live-note"><summary>How good is it?</summary><p>'
        f"On a thousand captions that it never saw it scores BLEU {stored_cost()['greedy']['page']:.1f} with greedy "
        f"search, which is used here; before each weight was rounded to one byte it was {said['bleu']}. In these "
        f"translations it made up {said['invented']} words, which stand in no German caption and are not made of words "
        "that do; few of them are German. The captions are for research and education. What BLEU counted: "
        f"<code>{html.escape(said['signature'])}</code>.</p></details>"
    )


# Beside it


def search() -> Live:
    """The tree of a beam search, which follows the translator; it opens with a sentence that loses its end."""
    return search_tree(NAME, SHORTENED, beam=4, alpha=0.0, model=page_model(), typed=False)


def picture() -> str:
    """The first example as SVG, for previews: its tokens in two columns, and where the last layer looked."""
    shown = example()
    rows = max(len(shown.source), len(shown.steps))
    left, right = MIDDLE
    columns = (shown.source, left - GAP, "end"), ([step["token"] for step in shown.steps], right + GAP, "start")
    words = [
        f'<text x="{x}" y="{HIGH * (i + 0.65):.1f}" text-anchor="{anchor}" fill="currentColor">'
        f"{html.escape(label(shown.pieces[token]))}</text>"
        for column, x, anchor in columns
        for i, token in enumerate(column)
    ]
    lines = [
        f'<path d="M{left} {HIGH * (s + 0.5):.1f}L{right} {HIGH * (t + 0.5):.1f}" stroke-opacity="{share:.2f}"/>'
        for t, step in enumerate(shown.steps)
        for s, share in enumerate(looked(step))
        if share >= SEEN
    ]
    return (
        f'<svg viewBox="0 0 {left + right} {HIGH * rows}"><g font-size="{LETTERS}">'
        f'<g stroke="{QUERY}" stroke-width="4">{"".join(lines)}</g>{"".join(words)}</g></svg>'
    )
