"""The three projects of the last chapter: what each asks for, and whether it is reached.

Each takes what the reader has written and says what came of it. For what is not written yet it says the goal.
"""

import html
import random
import re
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transformer.config import TransformerConfig
from transformer.evaluation import bleu, exact_match
from transformer.text.batches import Example, encode_pairs
from transformer.text.corpora import CorpusUnavailable, load_corpus, read_lines
from transformer.text.pairs import Pair
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.exercises.exercise import Function
from transformer.tutor.exercises.grading import is_stub
from transformer.tutor.exercises.learner import MARKS
from transformer.tutor.show import show
from transformer.tutor.your_own import assemble, learn, translated, unseen_loss

SMALL = {"d_model": 64, "n_layers": 2, "n_heads": 2, "d_ff": 128, "dropout": 0.0}
"""sizes of the models that are trained here"""
WORDS = {"right": "reached", "wrong": "not yet", "todo": "not begun"}
"""what is said of a goal"""


@dataclass(frozen=True)
class Goal:
    """What a project asks for, and what was measured; shows itself in notebooks and in a terminal."""

    text: str
    """what is to be reached"""
    status: str
    """right, wrong or todo"""
    measured: tuple[str, ...] = ()
    """what came of it, a line each"""

    def __str__(self) -> str:
        return "\n".join([f"{MARKS[self.status]} {WORDS[self.status]}: {self.text}", *self.measured])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        first, *lines = (html.escape(line) for line in str(self).splitlines())
        page = f'<div class="verdict" data-status="{self.status}"><strong>{first}</strong>'
        return {"text/plain": str(self), "text/html": page + "".join(f"<p>{line}</p>" for line in lines) + "</div>"}


def _not_begun(text: str, *why: str) -> Goal:
    goal = Goal(text, "todo", why)
    show(goal)
    return goal


def _shown(text: str, checks: Sequence[tuple[bool, str]]) -> Goal:
    reached = "right" if all(is_met for is_met, _ in checks) else "wrong"
    goal = Goal(text, reached, tuple(f"{MARKS['right' if is_met else 'wrong']} {line}" for is_met, line in checks))
    show(goal)
    return goal


# Positions by turning


UNSEEN = 200
"""examples or sentences that are kept for the test"""
TURNING = "scores know the distance alone, and the model learns as well as with sinusoids"
"""the goal of positions by turning"""
WORSE = 1.1
"""how many times the loss of sinusoids a model that turns may have"""


def turning(
    rotate: Function, parts: dict[str, Function], tokenizer: Tokenizer, examples: Sequence[Example], steps: int = 400
) -> Goal:
    """Measure a function that turns queries or keys x (B, H, n, K), each by its place in the sentence.

    Two models are trained on all examples but the last UNSEEN, one that turns and one with sinusoids, both made of
    `parts`; their losses are taken on those. Raises ValueError for fewer examples than those and a batch.
    """
    if is_stub(rotate):
        return _not_begun(TURNING)
    if len(examples) < (least := UNSEEN + 32):
        raise ValueError(
            f"got {len(examples)} examples, expected at least {least}: {UNSEEN} for the test, and a batch of 32"
        )
    spread, reach, stretched = distances(rotate)
    losses = [_loss_with(turned, parts, tokenizer, examples, steps) for turned in (rotate, None)]
    return _shown(
        TURNING,
        [
            (stretched < 1e-6, f"lengths change by {stretched:.0e} at most"),
            (spread < 1e-6, f"scores at one distance are {spread:.0e} apart at most"),
            (reach > 0.1, f"scores of other distances are up to {reach:.1f} apart"),
            (losses[0] <= WORSE * losses[1], f"loss {losses[0]:.2f} after {steps} updates, sinusoids {losses[1]:.2f}"),
        ],
    )


def distances(rotate: Function, n: int = 12, size: int = 16) -> tuple[float, float, float]:
    """One query and one key at each of n places: how far scores of one distance are apart, how far the means of all
    distances, and how much the turn changes a vector's length, relatively."""
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, size, generator=draw, dtype=torch.float64).expand(2, 1, 1, n, size)
    turned = rotate(q.clone()), rotate(k.clone())
    scores = (turned[0] @ turned[1].mT)[0, 0]  # (n, n)
    diagonals = [scores.diagonal(i) for i in range(1 - n, n)]
    spread = max(float(one.max() - one.min()) for one in diagonals)
    means = torch.stack([one.mean() for one in diagonals])
    stretched = max(
        float((y.norm(dim=-1) / x.norm(dim=-1) - 1).abs().max()) for x, y in zip((q, k), turned, strict=True)
    )
    return spread, float(means.max() - means.min()), stretched


def _loss_with(
    rotate: Function | None, parts: dict[str, Function], tokenizer: Tokenizer, examples: Sequence[Example], steps: int
) -> float:
    torch.manual_seed(0)
    model = assemble(TransformerConfig(vocab_size=len(tokenizer), **SMALL), **parts)
    model.rotate = rotate
    for _ in learn(model, examples[:-UNSEEN], steps, warmup=max(1, steps // 3)):
        pass
    return unseen_loss(model, examples[-UNSEEN:])


# A language of your own


LANGUAGE = "nine of ten sentences that it has not seen are translated right to the last word"
"""the goal of a language of one's own"""
LEAST = 700
"""different sentences that a grammar must give"""
DEEPEST = 40
"""how many rules may stand inside each other in a sentence"""

Rule = tuple[list[str], list[str]]
"""the two sides of a rule: words and names of rules, in the order of each language"""
Grammar = dict[str, list[Rule]]
"""all rules of each name; a sentence is what the first name stands for"""


def read_grammar(file: Path) -> Grammar:
    """Read a grammar: lines `NAME: words of one language | words of the other`; # begins a remark.

    A name of a rule among the words stands for one of its rules, the same on both sides; two of a name have numbers,
    as in `NP1 sees NP2 | NP1 NP2 sieht`.

    Raises FileNotFoundError, and ValueError for a file without a rule, a line of another form or with other names on
    its two sides, and rules that do not end.
    """
    lines = [(i, line.partition("#")[0].strip()) for i, line in enumerate(read_lines(file), 1)]
    grammar: Grammar = {}
    for i, line in lines:
        found = re.fullmatch(r"(\w+):([^|]*)\|([^|]*)", line)
        if line and not found:
            raise ValueError(f"line {i} of {file} is {line!r}, expected NAME: words | words")
        if found:
            grammar.setdefault(found[1], []).append((found[2].split(), found[3].split()))
    for name, rules in grammar.items():
        for one, other in rules:
            if sorted(_names(one, grammar)) != sorted(_names(other, grammar)):
                raise ValueError(f"{name}: {' '.join(one)} | {' '.join(other)} has other names on its two sides")
    if not grammar:
        raise ValueError(f"{file} has no rule, expected NAME: words | words")
    if endless := _endless(grammar):
        raise ValueError(
            f"the rules of {', '.join(endless)} do not end, as each of them holds one of these names: "
            "add one that holds none"
        )
    return grammar


def _endless(grammar: Grammar) -> list[str]:
    """The names that never become words alone: each of their rules has such a name again."""
    endless = [*grammar]
    for _ in grammar:  # each time, those are taken away that have a rule without such names
        endless = [name for name in endless if all(_names(one, endless) for one, _ in grammar[name])]
    return endless


def _names(words: Sequence[str], names: Container[str]) -> list[str]:
    return [word for word in words if word.rstrip("0123456789") in names]


class _TooDeep(Exception):
    """A sentence with more than DEEPEST rules inside each other."""


def sentence(grammar: Grammar, draw: random.Random) -> tuple[list[str], list[str]]:
    """One sentence in both languages, drawn at random; one that is more than DEEPEST rules deep is drawn again.

    Raises ValueError where a thousand in a row are too deep.
    """
    first = next(iter(grammar))
    for _ in range(1_000):
        with suppress(_TooDeep):
            return _drawn(grammar, draw, first, 0)
    raise ValueError(
        f"a thousand sentences in a row have more than {DEEPEST} rules inside each other, expected fewer: write more "
        "rules that have words alone"
    )


def _drawn(grammar: Grammar, draw: random.Random, name: str, depth: int) -> tuple[list[str], list[str]]:
    """What a name stands for in both languages. Raises _TooDeep."""
    if depth == DEEPEST:
        raise _TooDeep
    one, other = draw.choice(grammar[name])
    parts = {word: _drawn(grammar, draw, word.rstrip("0123456789"), depth + 1) for word in _names(one, grammar)}
    source = [word for part in one for word in (parts[part][0] if part in parts else [part])]
    return source, [word for part in other for word in (parts[part][1] if part in parts else [part])]


def own_language(file: Path, parts: dict[str, Function], steps: int = 600) -> Goal:
    """Train a model made of `parts` on sentences of a grammar file, and count what it translates of those it has not
    seen. Raises what `read_grammar` and `sentence` raise."""
    if not Path(file).is_file():
        return _not_begun(LANGUAGE, f"There is no file {file} yet.")
    grammar, draw = read_grammar(Path(file)), random.Random(0)
    drawn = {" ".join(one): " ".join(other) for one, other in (sentence(grammar, draw) for _ in range(20 * LEAST))}
    pairs = [Pair(one, other) for one, other in drawn.items()]
    if len(pairs) < LEAST:
        return _shown(LANGUAGE, [(False, f"the grammar gives {len(pairs)} different sentences, expected {LEAST}")])
    known, unseen = pairs[UNSEEN:], pairs[:UNSEEN]
    tokenizer = Tokenizer.words(text for pair in pairs for text in (pair.source, pair.target))
    torch.manual_seed(0)
    model = assemble(TransformerConfig(vocab_size=len(tokenizer), **SMALL), **parts)
    for _ in learn(model, encode_pairs(tokenizer, known), steps, warmup=max(1, steps // 3)):
        pass
    found = translated(model, tokenizer.encode_all([pair.source for pair in unseen]))
    share = exact_match([tokenizer.decode(ids) for ids in found], unseen)
    copied = sum(pair.source == pair.target for pair in unseen) / UNSEEN
    return _shown(
        LANGUAGE,
        [
            (copied < 0.1, f"{copied:.0%} of the sentences are the same in both languages"),
            (share >= 0.9, f"{share:.1%} of {UNSEEN} unseen sentences right, after {steps} updates on {len(known)}"),
        ],
    )


# Captions in another direction


CAPTIONS = "BLEU 25 on the first 100 captions of the test, from {source} to {target}"
"""the goal of another direction"""


def captions(translate: Callable[[list[str]], list[str]], source: str = "de", target: str = "en") -> Goal:
    """Score a function that translates captions of Multi30k, from a list of texts to a list of texts."""
    text = CAPTIONS.format(source=source, target=target)
    if is_stub(translate):
        return _not_begun(text)
    try:
        test = load_corpus("multi30k", source, target)["test"][:100]
    except CorpusUnavailable as error:
        return _not_begun(text, str(error))
    score = bleu(translate([pair.source for pair in test]), [pair.target for pair in test]).score
    is_another = (source, target) != ("en", "de")
    return _shown(text, [(score >= 25, f"BLEU {score:.1f}"), (is_another, "a direction that is not the book's")])
