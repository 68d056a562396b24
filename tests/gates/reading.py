"""What this book asks of its pages, for those who read them: gates like those in `gates.py`."""

import re
from collections.abc import Iterator
from urllib.parse import quote

from tests.gates.visits import PHONE, Visit

SMALLEST = 9  # px of letters
MOST_SCREENS = {"desktop": 10, "phone": 18}
MOST_SCREENS_OF_ALL = {"desktop": 17, "phone": 24}  # of chapter 0, which holds the whole book in one sitting
SHOWN = 5  # findings of a kind; one fault often repeats
RAW = re.compile(r"\\[a-zA-Z]{2,}|\$|(?<![^\W\d_])[^\W\d_][_^][{−-]*\w|\bd_model|√d_")  # TeX, or d_k as it is typed
# What people type into the search, in words that the book may not use, and where one of the first hits leads.
LEADS_TO = {
    "complexity": "#twice-the-words",
    "why sqrt d_k": "#why-divide-by-dk",
    "KV cache": "#nothing-is-computed-twice",
    "kv-cache": "#nothing-is-computed-twice",
    "KV_cache": "#nothing-is-computed-twice",
    "weight tying": "#one-matrix-in-three-places",
    "weight-tying": "#one-matrix-in-three-places",
    "cross entropy": "#what-are-cross-entropy",
    "byte pair encoding": "#what-is-byte-pair-encoding",
    "initialization": "#three-traps-in-pytorch",
    "teacher-forcing": "#one-sentence-many-examples",
    "teacher forcing": "#one-sentence-many-examples",
    "exposure bias": "#one-sentence-many-examples",
    "BERT": "#one-side-or-both",
    "learning rate schedule": "#why-the-rate-rises-first",
    "noam": "#why-the-rate-rises-first",
    "warm up": "#why-the-rate-rises-first",
    "query key value": "#one-word-asks-every-word-answers",
    "masked attention": "#a-triangle-minus-infinity-softmax",
    "causal mask": "#a-triangle-minus-infinity-softmax",
    "cross attention": "#the-target-asks-the-source-answers",
    "layer norm": "#add-then-norm",
    "residual connection": "#why-words-become-one",
    "BPE": "#cutting-it-up",
    "tokenization": "#cutting-it-up",
    "BLEU": "#bleu-count-what-agrees",
    "softmax temperature": "#drawing-and-agreeing",
    "sinusoidal": "#a-row-of-clocks",
}
FIRST = 3  # hits
LEADS_FIRST_TO = {
    "attention": "/03_attention.html",
    "what is attention": "/03_attention.html",
    "positional encoding": "/02_positional_encoding.html",
    "multi-head attention": "/05_multi_head.html",
    "encoder": "/07_encoder_decoder.html",
    "label smoothing": "/08_training.html",
    "beam search": "/09_inference.html",
}
NOT_BEFORE_LESSONS = re.compile(r"#(exercises|check-yourself)$|/(notation|api_\w+)\.html")


def first_screen(visit: Visit) -> Iterator[str]:
    """A chapter shows something on its first screen: a picture, or what a cell has put out."""
    if visit.ask("chapter") and not visit.ask("showsSomething"):
        yield "the first screen shows nothing"


def length(visit: Visit) -> Iterator[str]:
    """A chapter, as it opens, is not longer than its budget of screens; chapter 0 has one of its own."""
    screens, screen = visit.ask("screens"), "phone" if visit.tab.viewport_size == PHONE else "desktop"
    visit.measured.append(f"{screens:>6.1f} screens of a {screen}, as it opens")
    chapter = visit.ask("chapter")
    most = (MOST_SCREENS_OF_ALL if chapter == "0" else MOST_SCREENS)[screen]
    if chapter and screens > most:
        yield f"{screens:.1f} screens of a {screen}, at most {most} expected"


def labels(visit: Visit) -> Iterator[str]:
    """In drawings no label lies on another one."""
    for one, other in visit.ask("overlaps")[:SHOWN]:
        yield f"labels overlap: {one} / {other}"


def notation(visit: Visit) -> Iterator[str]:
    """Headings, claims, predictions and what the search found hold no TeX, and no letter_underscore for its index."""
    for text in visit.ask("said"):
        if RAW.search(text):
            yield f"raw notation: {text[:80]}"


def words(visit: Visit) -> Iterator[str]:
    """What a style sheet adds to a text is read out as a word of its own."""
    for text in visit.ask("runTogether")[:SHOWN]:
        yield f"runs together: {text}"


def cues(visit: Visit) -> Iterator[str]:
    """What goes on beyond its box shows it, and nothing else does; figures, code and what nearly fits are whole."""
    for element in visit.ask("cutWithoutCue"):
        yield f"cut off without a cue: {element}"
    for element in visit.ask("fadedForNothing"):
        yield f"fades out and is whole: {element}"
    for text, width, box in visit.ask("nearlyWhole"):
        yield f"scrolls and need not, {width} px in {box}: {text}"


def shadows(visit: Visit) -> Iterator[str]:
    """Without JavaScript too, what scrolls sideways shows that it does."""
    for element in visit.ask("cutWithoutShadow"):
        yield f"goes on without a shadow: {element}"


def letters(visit: Visit) -> Iterator[str]:
    """No letter is too small to be read."""
    for size, text in visit.ask("smallerThan", SMALLEST)[:SHOWN]:
        yield f"letters of {size:.1f} px: {text}"


def ground(visit: Visit) -> Iterator[str]:
    """In the dark nothing is a white card."""
    for element in visit.ask("white"):
        yield f"white in the dark: {element}"


def search(visit: Visit) -> Iterator[str]:
    """The search leads to the sections that people look for, lessons first, and shows formulas and code as such."""
    page = visit.tab.url
    asked = [(words, place, FIRST) for words, place in LEADS_TO.items()]
    asked += [(words, place, 1) for words, place in LEADS_FIRST_TO.items()]
    for words, place, first in asked:
        visit.go_to(f"{page}?q={quote(words)}")
        if not visit.comes_true("document.querySelector('#search-results li a')"):
            yield f"no result for {words!r}"
            continue
        hits = visit.ask("hits", first)
        number = next((number for number, address in enumerate(hits) if place in address), None)
        if number is None:
            yield f"{words!r} does not lead to {place}"
        for address in filter(NOT_BEFORE_LESSONS.search, hits[:number]):
            yield f"{words!r} leads to {address} before a lesson"
        yield from notation(visit)
