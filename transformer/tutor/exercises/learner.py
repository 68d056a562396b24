"""What the learner meets: `check` grades, `hint` helps, `progress` shows what is done.

With the learner's word, `keep_answers()`, right answers are kept as source for the last chapter, which makes a model
of them; `forget_answers()` takes them away.
"""

import difflib
import html
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import platformdirs

from transformer.files import replace_text
from transformer.tutor.exercises.exercise import Exercise, Function
from transformer.tutor.exercises.grading import Finding, grade
from transformer.tutor.exercises.kept import CannotKeep, DamagedAnswer, load, source_of
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
    answers: dict[str, Function] = field(default_factory=dict)
    """the right answers"""
    kept: dict[str, str] | None = None
    """the sources that cannot be written to the disk; None until the learner wants answers to be kept"""
    has_offered: bool = False
    """whether the learner was told that answers can be kept"""


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


# Answers: with the learner's word, a file for each in a folder beside; where that cannot be, for this session only


def answers_folder() -> Path:
    """Where answers are kept, once the learner has said so: the folder `answers` in that of the progress."""
    return progress_folder() / "answers"


def keeps_answers() -> bool:
    """Whether the learner wants right answers to be kept."""
    return session.kept is not None or answers_folder().is_dir()


def keep_answers() -> None:
    """Keep right answers as source from now on, those of this session included; they stay on this machine.

    Prints where, and which could not be kept and why.
    """
    session.kept = session.kept or {}
    try:
        answers_folder().mkdir(parents=True, exist_ok=True)
        print(f"Right answers are kept in {answers_folder()}; forget_answers() removes them.")
    except OSError:
        print(f"{answers_folder()} cannot be written: right answers are kept until this session ends.")
    for name, answer in session.answers.items():
        if problem := keep(find(name), answer):
            print(problem)


def forget_answers() -> None:
    """Remove all answers that were kept, and keep no more; which exercises are solved stays known."""
    session.kept = None
    session.answers.clear()
    if answers_folder().is_dir():
        for name in exercises():
            (answers_folder() / f"{name}.py").unlink(missing_ok=True)
        if not any(answers_folder().iterdir()):  # what is not ours stays
            answers_folder().rmdir()
    print("No answers are kept.")


def keep(exercise: Exercise, answer: Function) -> str:
    """Keep a right answer, in the place of an earlier one; returns why it cannot be kept, or nothing."""
    try:
        source = source_of(answer)
        if answer.__name__ != exercise.name:
            source += f"\n{exercise.name} = {answer.__name__}\n"
        load(exercise, source)  # so that what cannot be read again is told today
    except (CannotKeep, DamagedAnswer) as error:
        return f"This answer cannot be kept: {error}."
    try:
        replace_text(answers_folder() / f"{exercise.name}.py", source)
        (session.kept or {}).pop(exercise.name, None)
    except OSError as error:
        session.kept = {**(session.kept or {}), exercise.name: source}
        return f"This answer is kept for this session only, as it cannot be written to {answers_folder()} ({error})."
    return ""


@dataclass(frozen=True)
class KeptAnswer:
    """An answer from an earlier day, or an earlier cell, graded anew."""

    function: Function | None
    """the answer, if it could be read"""
    problem: str = ""
    """what is wrong with it, or with its file"""


def kept_answers(names: Iterable[str]) -> dict[str, KeptAnswer]:
    """The answers to these exercises that are there, of this session or else kept; each is graded again."""
    return {name: one for name in names if (one := _kept_answer(find(name))) is not None}


def _kept_answer(exercise: Exercise) -> KeptAnswer | None:
    answer, file = session.answers.get(exercise.name), answers_folder() / f"{exercise.name}.py"
    try:
        if answer is None:
            source = (session.kept or {}).get(exercise.name) or file.read_text(encoding="utf-8")
            answer = load(exercise, source)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        return KeptAnswer(None, f"{file} cannot be read ({error})")
    except DamagedAnswer as error:
        return KeptAnswer(None, f"{file} is damaged ({error})")
    finding = grade(exercise, answer)
    return KeptAnswer(answer, "" if finding.status == "right" else finding.text or "it is not finished")


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
    """What grading found, displayed as text or HTML; sign and words say what the colour says."""

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
        if answer is not exercise.reference:  # the book's is nobody's answer
            session.answers[name] = answer
            notes += _kept_or_offered(exercise, answer)
    if finding.status == "todo":
        notes.append("Replace each ... and run the cell again; until then the book's version is used.")
    if finding.status != "right" and name in solved():
        notes.append("You have solved it before, and that still counts.")
    if finding.status == "wrong":
        session.failures[name] += 1
        if session.failures[name] >= 2 and session.hints[name] < len(exercise.hints):
            notes.append(f'hint("{name}") gives you a hint (from transformer.tutor import hint).')
    bar = Progress((exercise.chapter,)) if finding.status == "right" else None
    show(Verdict(exercise, finding, tuple(notes), bar))
    return exercise.reference if finding.status == "todo" else answer


def _kept_or_offered(exercise: Exercise, answer: Function) -> list[str]:
    """What to say of keeping a right answer: why it cannot be kept, or, once, that it can."""
    if keeps_answers():
        problem = keep(exercise, answer)
        return [problem] if problem else []
    if session.has_offered:
        return []
    session.has_offered = True
    line = "from transformer.tutor import keep_answers"
    return [f"keep_answers() keeps your answers on this machine, for the model of chapter 14 ({line})."]


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
