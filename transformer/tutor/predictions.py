"""Predictions: the reader is asked before an experiment, and the experiment answers::

    from transformer.tutor import predict
    predict.choice("scale-who-learns", "Without the scale, how many rows still learn?", ["nearly all", "half", "a few"])
    …
    predict.answer("scale-who-learns", [share > 0.9, 0.1 <= share <= 0.9, share < 0.1], f"Only {share:.0%} of them do.")

In a notebook the question is text and the answer is folded. The pages make a form of both, see `tools/pages`.
"""

import difflib
import html
import math
from collections.abc import Sequence
from typing import Any

import torch

from transformer.tutor.show import show, typeset

TRACE = "executable-transformer-prediction"
"""key in the metadata of a cell's output under which an executed notebook keeps a question or an answer"""

Axis = tuple[str, float, float]
"""what an axis shows, where it begins and where it ends"""
Record = dict[str, Any]
"""a question, or an answer, as the metadata of its output keep it"""

asked: dict[str, Record] = {}
"""the questions of this session by their names"""


class PredictionError(ValueError):
    """A question that cannot be answered, or an answer that fits no question."""


def choice(name: str, question: str, options: Sequence[str]) -> None:
    """Ask which of two to four options is right; raises PredictionError for fewer, more, or equal ones."""
    if isinstance(options, str) or not 2 <= len(options) <= 4 or len(set(options)) < len(options):
        raise PredictionError(f"{name} offers {options!r}, expected two to four different options")
    _ask({"name": name, "kind": "choice", "question": question, "options": list(options)})


def slider(
    name: str, question: str, low: float, high: float, unit: str = "", step: float | None = None, log: bool = False
) -> None:
    """Ask for a number from `low` to `high`; with `log`, equal ways on the slider are equal ratios.

    A guess is a whole number of `step`s above `low`. Where none is given, it is a hundredth of the range, or, with
    `log`, any number. Raises PredictionError for an empty range, and for one that a logarithm cannot take.
    """
    if not low < high or (log and low <= 0):
        raise PredictionError(f"{name} runs from {low} to {high}, expected {'0 < ' if log else ''}low < high")
    _ask(
        {"name": name, "kind": "slider", "question": question, "low": low, "high": high, "unit": unit}
        | {"step": step or (None if log else (high - low) / 100), "log": log}
    )


def curve(name: str, question: str, x: Axis, y: Axis) -> None:
    """Ask for a curve, to be drawn over the axes x and y: (what it shows, from, to); raises PredictionError."""
    for title, low, high in (x, y):
        if not (title and low < high):
            raise PredictionError(f"{name} has an axis {(title, low, high)!r}, expected a title, and low < high")
    _ask({"name": name, "kind": "curve", "question": question, "x": list(x), "y": list(y)})


def answer(name: str, measured: Any, why: str) -> None:
    """Hand over what an experiment measured, and why it came out so, in one sentence.

    `measured` is, for a choice, the index of the right option or one truth value for each option; for a slider, a
    number; for a curve, two sequences of one length, x and y. Raises PredictionError where it does not fit the
    question, where no question of that name was asked before, and without a sentence.
    """
    if name not in asked:
        near = difflib.get_close_matches(name, asked, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ": ask it in a cell before the experiment"
        raise PredictionError(f"no prediction {name!r} was asked{hint}")
    if not why.strip():
        raise PredictionError(f"{name} is answered without a word, expected one sentence that says why")
    question = asked[name]
    check = {"choice": _option, "slider": _number, "curve": _points}[question["kind"]]
    show(_Answer(question, {"name": name, "answer": check(question, measured), "why": why}))


def _ask(question: Record) -> None:
    asked[question["name"]] = question
    show(_Question(question))


def _plain(value: Any) -> Any:
    """Numbers and sequences of Python in place of NumPy's and of tensors."""
    return value.tolist() if hasattr(value, "tolist") else value


def _option(question: Record, measured: Any) -> int:
    """The index of the right option."""
    options, measured = question["options"], _plain(measured)
    if isinstance(measured, int) and not isinstance(measured, bool) and 0 <= measured < len(options):
        return measured
    if isinstance(measured, list | tuple) and len(measured) == len(options):
        true = [i for i, value in enumerate(map(_plain, measured)) if value is True]
        if len(true) == 1:
            return true[0]
    raise PredictionError(
        f"{question['name']} was answered by {measured!r}, expected the index of one of its {len(options)} options, "
        "or a truth value for each, of which exactly one is True"
    )


def _number(question: Record, measured: Any) -> float:
    """What the slider should have been set to."""
    value = _plain(measured)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not question["low"] <= value <= question["high"]:
        raise PredictionError(
            f"{question['name']} was answered by {value!r}, expected a number from {question['low']} to "
            f"{question['high']}: widen the slider's range, or hand over one number"
        )
    return float(f"{value:.6g}")


def _points(question: Record, measured: Any) -> list[list[float]]:
    """The curve, as [x, y] for each point."""
    if not isinstance(measured, list | tuple) or len(measured) != 2:
        raise PredictionError(f"{question['name']} was answered by a {type(measured).__name__}, expected (xs, ys)")
    xs, ys = (torch.as_tensor(_plain(values), dtype=torch.float64) for values in measured)
    if xs.ndim != 1 or xs.shape != ys.shape or len(xs) < 2 or not (xs.isfinite().all() and ys.isfinite().all()):
        raise PredictionError(
            f"{question['name']} was answered by shapes {tuple(xs.shape)} and {tuple(ys.shape)}, "
            "expected two sequences of finite numbers, equally long, of at least two"
        )
    return [[float(f"{x:.6g}"), float(f"{y:.6g}")] for x, y in sorted(zip(xs.tolist(), ys.tolist(), strict=True))]


# What is shown


class _Shown:
    def __init__(self, question: Record, answer: Record | None = None) -> None:
        self.question, self.answer = question, answer

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        record = self.answer or self.question
        return {"text/plain": str(self), "text/html": self._as_html()}, {TRACE: record}

    def _as_html(self) -> str:
        raise NotImplementedError


class _Question(_Shown):
    def __str__(self) -> str:
        return f"Predict: {self.question['question']} {as_text(self.question)}".rstrip()

    def _as_html(self) -> str:
        return question_html(self.question)


class _Answer(_Shown):
    def __str__(self) -> str:
        return f"{self.question['question']} {said(self.question, self.answer)}. {self.answer['why']}"

    def _as_html(self) -> str:
        return answer_html(self.question, self.answer, f"The answer to “{typeset(self.question['question'])}”")


def as_text(question: Record) -> str:
    """What may be answered, in words; markup stays as it was written."""
    match question["kind"]:
        case "choice":
            return " / ".join(question["options"])
        case "slider":
            return f"from {question['low']:g} to {question['high']:g} {question['unit']}".rstrip()
        case _:
            (x, *_), (y, *_) = question["x"], question["y"]
            return f"Draw it: {y} against {x}."


def said(question: Record, answer: Record) -> str:
    """The answer in words; markup stays as it was written."""
    match question["kind"]:
        case "choice":
            return question["options"][answer["answer"]]
        case "slider":
            return f"{_short(answer['answer'])} {question['unit']}".rstrip()
        case _:
            first, last = answer["answer"][0], answer["answer"][-1]
            return f"From {_short(first[1])} at {first[0]:g} to {_short(last[1])} at {last[0]:g}"


def _short(x: float) -> str:
    """A whole number as it is, another one with three digits."""
    return f"{x:g}" if x == int(x) else f"{x:.3g}"


def question_html(question: Record) -> str:
    """The question, to be read."""
    text = f"<p><strong>Predict.</strong> {typeset(question['question'])}</p>"
    if question["kind"] == "choice":
        options = "".join(f"<li>{typeset(option)}</li>" for option in question["options"])
        return f'<div class="prediction">{text}<ul>{options}</ul></div>'
    return f'<div class="prediction">{text}<p>{typeset(as_text(question))}</p></div>'


def answer_html(question: Record, answer: Record, summary: str = "Answer") -> str:
    """The answer, folded, with its sentence; a curve is drawn."""
    drawing = sketch(question, answer["answer"]) if question["kind"] == "curve" else ""
    found = f"<strong>{typeset(said(question, answer))}</strong>. {typeset(answer['why'])}"
    return f'<details class="prediction-answer"><summary>{summary}</summary>{drawing}<p>{found}</p></details>'


def sketch(question: Record, points: Sequence[Sequence[float]]) -> str:
    """A curve over the axes of its question, as SVG in the ink of the text around it."""
    width, height, left, top, below = 360, 210, 40, 28, 32
    (x_title, x_low, x_high), (y_title, y_low, y_high) = question["x"], question["y"]

    def place(x: float, y: float) -> str:
        across, up = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        up = min(max(up, 0), 1)
        return f"{left + across * (width - left - 8):.1f},{height - below - up * (height - below - top):.1f}"

    line = " ".join(place(x, y) for x, y in points if x_low <= x <= x_high and math.isfinite(y))
    frame = " ".join([place(x_low, y_high), place(x_low, y_low), place(x_high, y_low)])
    words = [
        (left - 5, height - below, "end", f"{y_low:g}"), (left - 5, top + 8, "end", f"{y_high:g}"),
        (left, height - below + 14, "start", f"{x_low:g}"), (width - 8, height - below + 14, "end", f"{x_high:g}"),
        (width / 2, height - 4, "middle", x_title), (2, 12, "start", y_title),
    ]  # fmt: skip
    texts = "".join(
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(word)}</text>' for x, y, anchor, word in words
    )
    return (
        f'<svg class="sketch" viewBox="0 0 {width} {height}" role="img" fill="none" stroke="currentColor" '
        f'aria-label="The measured curve of {html.escape(y_title)} against {html.escape(x_title)}" '
        f'width="{width}"><polyline points="{frame}" opacity="0.6"/><polyline points="{line}" stroke-width="2.5"/>'
        f'<g fill="currentColor" stroke="none" font-size="12" font-family="inherit">{texts}</g></svg>'
    )
