"""What the learner meets: `check` grades, `hint` helps, `progress` shows what is done."""

import difflib
import html
import os
import pkgutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import platformdirs

from transformer.tutor.exercises.exercise import Exercise, Function
from transformer.tutor.exercises.grading import Finding, grade
from transformer.tutor.show import show

MARKS = {"right": "✔", "wrong": "✘", "todo": "○"}
"""the sign of each finding, for those who do not see its colour"""
WORDS = {"right": "right", "wrong": "not yet", "todo": "your turn"}
"""and its name, for the learner"""


@dataclass
class Session:
    """What is remembered, by the names of exercises, as long as the notebook runs."""

    solved: set[str] = field(default_factory=set)
    """the exercises solved: all there is where nothing can be written"""
    failures: Counter[str] = field(default_factory=Counter)
    """wrong answers to each since the last right one"""
    hints: Counter[str] = field(default_factory=Counter)
    """hints given to each"""


session = Session()
"""of this notebook"""


class UnknownExercise(LookupError):
    """There is no exercise of this name or number."""


@cache
def exercises() -> dict[str, Exercise]:
    """Every exercise by its name, in the book's order: what the modules `chapter_…` beside this one declare."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    chapters = [import_module(f"{__package__}.{name}") for name in names if name.startswith("chapter_")]
    found = [value for chapter in chapters for value in vars(chapter).values() if isinstance(value, Exercise)]
    in_order = sorted(found, key=lambda one: [int(part) for part in one.number.split(".")])
    return {one.name: one for one in in_order}


def find(name: str) -> Exercise:
    """The exercise of this name ("my_attention_weights") or number ("3.2").

    Raises UnknownExercise, which lists the near ones.
    """
    numbers = {one.number: one for one in exercises().values()}
    if name in numbers or name in exercises():
        return numbers.get(name) or exercises()[name]
    near = difflib.get_close_matches(name, [*exercises(), *numbers], n=3, cutoff=0.5)
    first, *_, last = numbers
    offer = f"did you mean {', '.join(near)}?" if near else f"they run from {first} to {last}"
    raise UnknownExercise(f"there is no exercise {name!r}; {offer}")


# Progress: an empty file for each exercise solved, so that two notebooks cannot overwrite each other's


def progress_folder() -> Path:
    """Where progress is kept: $TRANSFORMER_PROGRESS (in Colab, a folder of your Drive), or the user's data folder."""
    chosen = os.environ.get("TRANSFORMER_PROGRESS")
    return Path(chosen or platformdirs.user_data_path("executable-transformer") / "solved")


def solved() -> set[str]:
    """The names of the exercises solved, now or earlier."""
    try:
        earlier = {path.name for path in progress_folder().iterdir()}
    except OSError:  # not there yet, or not to be read
        earlier = set()
    done = earlier | session.solved
    return {name for name in exercises() if {name, name.removeprefix("my_")} & done}  # some had no my_ at first


def remember(exercise: Exercise) -> None:
    """Keep that an exercise is solved; for this session only, where the folder is read-only."""
    session.solved.add(exercise.name)
    try:
        progress_folder().mkdir(parents=True, exist_ok=True)
        (progress_folder() / exercise.name).touch()
    except OSError:
        return


@dataclass(frozen=True)
class Progress:
    """How much of some chapters is solved: one line of text and one bar."""

    chapters: tuple[int, ...]
    """whose exercises are counted"""

    def _counts(self) -> dict[int, tuple[int, int]]:
        """For each chapter the number of exercises solved, and of all its exercises."""
        done, everything = solved(), exercises().values()
        of = {chapter: [one.name for one in everything if one.chapter == chapter] for chapter in self.chapters}
        return {chapter: (len(done & set(names)), len(names)) for chapter, names in of.items()}

    def _line(self) -> tuple[str, int, int]:
        """What is said, and the two numbers of the bar; of several chapters, those that were begun are named."""
        counts = self._counts()
        n, total = map(sum, zip(*counts.values(), strict=True))
        if len(counts) == 1:
            return f"Chapter {self.chapters[0]}: {n} of {total} solved", n, total
        begun = ", ".join(f"chapter {chapter}: {n} of {total}" for chapter, (n, total) in counts.items() if n)
        return f"{n} of {total} exercises solved" + (f" ({begun})" if begun else ""), n, total

    def __str__(self) -> str:
        text, n, total = self._line()
        return f"{text} {'■' * n}{'□' * (total - n)}"

    def html(self) -> str:
        """The line with a bar; a screen reader is given the text alone."""
        text, n, total = self._line()
        return f'<div>{text} <progress aria-hidden="true" max="{total}" value="{n}"></progress></div>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": f'<div class="verdict" data-status="right">{self.html()}</div>'}


@dataclass(frozen=True)
class Verdict:
    """What grading found, for the eyes of the learner; sign and words say what the colour says."""

    exercise: Exercise
    """what was answered"""
    finding: Finding
    """what grading found"""
    notes: tuple[str, ...] = ()
    """what else there is to say, such as that progress cannot be kept"""
    progress: Progress | None = None
    """of the chapter, after a right answer"""

    def __str__(self) -> str:
        status, one = self.finding.status, self.exercise
        first = f"{MARKS[status]} {one.number} {one.name}: {WORDS[status]}"
        bar = [str(self.progress)] if self.progress else []
        said = [self.finding.text] if self.finding.text else []
        return "\n".join([first, *said, *self.finding.details, *self.notes, *bar])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        status, one = self.finding.status, self.exercise
        paragraphs = [html.escape(text) for text in (self.finding.text, *self.notes) if text]
        page = (
            f'<div class="verdict" data-status="{status}"><strong><span aria-hidden="true">{MARKS[status]}</span> '
            f"{one.number} {one.name}: {WORDS[status]}</strong>"
            + "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
            + (f"<pre>{html.escape(chr(10).join(self.finding.details))}</pre>" if self.finding.details else "")
            + (self.progress.html() if self.progress else "")
            + "</div>"
        )
        return {"text/plain": str(self), "text/html": page}


# The three functions of the notebooks


def check(answer: Function | str) -> Any:
    """Grade an answer and show the verdict: `@check` over the function, `check(function)`, or `@check("3.1")`.

    Gives back the learner's function, right or wrong; for an untouched stub, the book's, so that the cells below
    still run. With a name or number instead of a function, gives a decorator that grades as that exercise.

    Raises UnknownExercise for a name that no exercise has, TypeError for what is no function.
    """
    if isinstance(answer, str):
        exercise = find(answer)
        return lambda function: _graded(exercise, function)
    if not callable(answer) or not hasattr(answer, "__name__"):
        raise TypeError(f"check got {answer!r}, expected a function; write @check in the line above its def")
    return _graded(find(answer.__name__), answer)


def _graded(exercise: Exercise, answer: Function) -> Function:
    if not callable(answer):
        raise TypeError(f"exercise {exercise.number} got {answer!r}, expected a function")
    finding, notes, name = grade(exercise, answer), [], exercise.name
    if finding.status == "right":
        remember(exercise)
        session.failures[name] = 0
    if finding.status == "todo":
        notes.append("Replace each ... and run the cell again; until then the cells below use the book's version.")
    if finding.status != "right" and name in solved():
        notes.append("You have solved it before, and that still counts.")
    if finding.status == "wrong":
        session.failures[name] += 1
        if session.failures[name] >= 2 and session.hints[name] < len(exercise.hints):
            notes.append(f'hint("{name}") gives you a hint (from transformer.tutor import hint).')
    bar = Progress((exercise.chapter,)) if finding.status == "right" else None
    show(Verdict(exercise, finding, tuple(notes), bar))
    return exercise.reference if finding.status == "todo" else answer


def hint(exercise: str | Callable[..., Any]) -> None:
    """Print the next hint for an exercise, by name, number or function; then begin again with the first.

    Raises UnknownExercise for a name that no exercise has.
    """
    one = find(exercise if isinstance(exercise, str) else getattr(exercise, "__name__", repr(exercise)))
    i = session.hints[one.name] % len(one.hints)
    session.hints[one.name] += 1
    last = " That was the last; the solution is folded below the exercise." if i == len(one.hints) - 1 else ""
    print(f"{one.number} {one.name}, hint {i + 1} of {len(one.hints)}: {one.hints[i]}{last}")


def progress() -> None:
    """Show how many exercises of the book are solved, and in which chapters."""
    show(Progress(tuple(dict.fromkeys(one.chapter for one in exercises().values()))))
