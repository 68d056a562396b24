"""Break it: switches that leave one thing out of the model, and questions that the measurement of this build answers.

`book/assets/live/switches.js` makes the switches; what each does to a sample of sentences the package measures here.
"""

import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from transformer.model import Transformer
from transformer.text import grammar
from transformer.text.batches import pad
from transformer.text.symbols import EOS, PAD
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.live import Live
from transformer.tutor.live_model import marked
from transformer.tutor.show import typeset

from . import in_python
from .inside import MODEL, SENTENCE
from .notebooks import prediction_form

SENTENCES = 40
"""of the test split; the first one more is that of the page"""
LIMIT = 24
"""tokens of a translation at most: a broken model may never end"""
PADDING = 4
"""tokens of padding behind the sentence, where nothing hides them"""
NAMES = {
    "positions": "positions",
    "embeddingScale": "times √d_model",
    "scale": "divided by √d_k",
    "causalMask": "causal mask",
    "paddingMask": "padding mask",
    "headSplit": "heads cut by features",
    "residual": "residual paths",
    "norm": "norms",
}
"""what is there in a sound model"""
OPENS_WITHOUT = "positions"


@dataclass(frozen=True)
class Measured:
    """What becomes of the sample without one thing."""

    sound: str
    """the page's sentence as the sound model translates it"""
    without: dict[str, str]
    """and without each thing, by the names of the switches"""
    kept: dict[str, int]
    """how many of the other sentences keep their translation"""


@cache
def measured() -> Measured:
    """Translate the sample with the sound model, and without each thing and each head."""
    model, tokenizer = Transformer.from_pretrained(MODEL), Tokenizer.from_pretrained(MODEL)
    texts = [SENTENCE, *(pair.source for pair in grammar.generate(SENTENCES, seed=0, split="test"))]
    sources = [[*ids, EOS] for ids in tokenizer.encode_all(texts)]

    def texts_of(write: Callable[[torch.Tensor], torch.Tensor], *batches: torch.Tensor) -> list[str]:
        rows = [row for batch in batches for row in write(batch).tolist()]
        return [tokenizer.decode(row[: row.index(EOS)] if EOS in row else row) for row in rows]

    def without(switch: str) -> list[str]:
        # Where padding tells, each sentence has what the page adds, and not that of the longest.
        behind = [PAD] * PADDING if switch == "paddingMask" else []
        alone = [torch.tensor([[*source, *behind]]) for source in sources]
        batches = alone if switch in ("paddingMask", "headSplit") else [pad(sources)]
        return texts_of(lambda batch: in_python.rewritten(model, switch, batch, LIMIT), *batches)

    sound = texts_of(lambda batch: in_python.written(model, batch, LIMIT)[0], pad(sources))
    found = {switch: without(switch) for switch in [*in_python.SWITCHES, *in_python.heads(model)]}
    return Measured(
        sound[0],
        {switch: texts[0] for switch, texts in found.items()},
        {switch: sum(a == b for a, b in zip(sound[1:], texts[1:], strict=True)) for switch, texts in found.items()},
    )


def switches() -> Live:
    """The sentence of the page without positions, beside the sound translation."""
    found = measured()
    broken = found.without[OPENS_WITHOUT]
    return Live(
        "switches",
        f"Two translations of: {SENTENCE} The sound model writes: {found.sound} Without positions it writes: {broken}",
        {"sentence": SENTENCE, "off": [OPENS_WITHOUT], "names": {k: typeset(v) for k, v in NAMES.items()}}
        | {"limit": LIMIT, "padding": PADDING, "heads": [name for name in found.kept if "." in name]},
        f'<p class="live-says">{html.escape(SENTENCE)}</p><dl class="both"><dt>sound</dt><dd>'
        f"{marked(found.sound, broken)}</dd><dt>without {NAMES[OPENS_WITHOUT]}</dt>"
        f"<dd>{marked(broken, found.sound)}</dd></dl>",
        model=MODEL,
    )


# What can be said in advance


@dataclass(frozen=True)
class Shown:
    """HTML that a directive puts into the page."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


def questions() -> Shown:
    """Three questions, answered by what was measured."""
    kept = measured().kept
    whole = {NAMES[switch]: kept[switch] for switch in ("positions", "embeddingScale", "scale", "residual")}
    of_heads = [number for switch, number in kept.items() if "." in switch]
    changed = 1 - kept["causalMask"] / SENTENCES
    spared = sum(number > SENTENCES / 2 for number in of_heads)
    forms = [
        choice(
            "break-causal-mask",
            "The model has learned with the causal mask, and now writes without it, word by word. How many "
            "translations change?",
            {"nearly all": changed > 2 / 3, "about half": 1 / 3 <= changed <= 2 / 3, "few": changed < 1 / 3},
            f"{SENTENCES - kept['causalMask']} of {SENTENCES} change. While a word is chosen, later ones do not exist "
            "yet; only the vectors of earlier words now see the words behind them. In *training* the same switch ruins "
            "the model, for there all words of the target are at hand.",
        ),
        choice(
            "break-least",
            "Which of these is missed least by the trained model?",
            {name: number == max(whole.values()) for name, number in whole.items()},
            f"Translations that stay, of {SENTENCES}: " + ", ".join(f"{name} {n}" for name, n in whole.items()) + ".",
        ),
        slider(
            "break-heads",
            f"One of the {len(of_heads)} heads is switched off. For how many of them do most of the translations stay?",
            {"low": 0, "high": len(of_heads), "step": 1, "unit": f"of {len(of_heads)} heads"},
            spared,
            f"Of {SENTENCES} translations {max(of_heads)} stay without the head that matters least, {min(of_heads)} "
            "without the one that matters most.",
        ),
    ]
    return Shown("".join(forms))


def choice(name: str, question: str, options: dict[str, bool], why: str) -> str:
    """A question with the one option that is true; raises ValueError if not exactly one is."""
    if sum(options.values()) != 1:
        raise ValueError(f"{name} has the options {options}, expected exactly one that is true")
    asked = {"name": name, "kind": "choice", "question": question, "options": list(options)}
    return prediction_form(asked, {"name": name, "answer": list(options.values()).index(True), "why": why})


def slider(name: str, question: str, scale: dict[str, Any], answer: float, why: str) -> str:
    """A question for a number on a scale."""
    asked = {"name": name, "kind": "slider", "question": question, "log": False, **scale}
    return prediction_form(asked, {"name": name, "answer": answer, "why": why})


def table() -> Shown:
    """Each switch: how many translations stay, and what becomes of the page's sentence."""
    found = measured()
    names = {**NAMES, **{name: name_of_head(name) for name in found.kept if "." in name}}
    rows = "".join(
        f"<tr><th scope=row>{typeset(names[switch])}</th><td>{number}</td>"
        f"<td>{marked(found.without[switch], found.sound)}</td></tr>"
        for switch, number in found.kept.items()
    )
    heads = ("without", f"stay, of {SENTENCES}", "the sentence above")
    return Shown(
        f'<details class="broken"><summary>Every switch, measured on {SENTENCES} sentences</summary><table><thead><tr>'
        f"{''.join(f'<th scope=col>{head}</th>' for head in heads)}</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def name_of_head(switch: str) -> str:
    """A head as the ticks name it: "encoder, self, layer 2, head 1" for "encoder.layers.1.self_attention.0"."""
    side, _, layer, attention, head = switch.split(".")
    part = "masked" if (side, attention) == ("decoder", "self_attention") else attention.removesuffix("_attention")
    return f"{side}, {part}, layer {int(layer) + 1}, head {int(head) + 1}"
