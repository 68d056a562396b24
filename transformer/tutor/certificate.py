"""The last page of the book: which parts of a model are the learner's, what it translates, and how well."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from transformer.tutor.comparison import Comparison
from transformer.tutor.exercises.learner import exercises
from transformer.tutor.figures import INK, TARGET
from transformer.tutor.your_own import PARTS

COLUMNS = {"words": 6, "attention": 6, "layers": 6, "learning, writing": 7}
"""how many parts stand in each column of the map, in the order of `PARTS`"""
NONE_YET = "No certificate yet: every part is the book's."
"""the title where no part is the learner's"""
FIRST_STEP = "Answer one exercise of the map, or the one that this chapter opens with, and run the chapter again."
"""and what to do then"""


def draw_parts(axes: Axes, yours: Sequence[str]) -> None:
    """Draw a map of all parts, those of the learner filled with the colour of the target."""
    names = iter(PARTS)
    for x, (title, n) in enumerate(COLUMNS.items()):
        axes.text(x, 0.9, title, ha="center", size=11, weight="bold")
        for y in range(n):
            name = next(names)
            ground = {"facecolor": TARGET if name in yours else "none", "edgecolor": INK, "linewidth": 0.8}
            box = axes.bar(x, 0.8, 0.94, bottom=-y - 0.4, **ground)[0]
            box.set_alpha(0.35 if name in yours else 1)
            in_two_lines = f"{exercises()[name].number}\n{name.removeprefix('my_').replace('_', ' ')}"
            axes.text(x, -y, in_two_lines, ha="center", va="center", size=10, linespacing=1.25)
    axes.set(xlim=(-0.55, 3.55), ylim=(-6.6, 1.4))
    axes.axis("off")


@dataclass(frozen=True)
class Certificate:
    """What the learner's model is and does; shows itself in notebooks and in a terminal, and can be printed.

    Without a part of the learner's it says what to do instead.
    """

    yours: tuple[str, ...]
    """the parts that the learner has written"""
    comparison: Comparison
    """of the model with the package's"""
    parameters: int
    """that it has learned"""
    translations: tuple[tuple[str, str], ...]
    """sentences that it has not seen, and what it wrote"""
    right: tuple[int, int]
    """how many translations are right to the last word, and of how many"""
    score: float
    """BLEU, by the learner's own function if there is one"""

    def _facts(self) -> list[str]:
        compared = self.comparison
        n_package = len(compared.stages) - compared.n_beside
        equal = f"equal to the package's in {n_package} stages and to the book's answers in {compared.n_beside}"
        differs = f"different from {compared.first.name} on" if compared.first else ""
        right, n = self.right
        return [
            f"{len(self.yours)} of its {len(PARTS)} parts are yours; it is {differs or equal}.",
            f"It has learned {self.parameters:,} numbers. Of {n} sentences that it had not seen it translates {right} "
            f"right to the last word; BLEU {self.score:.1f}.",
        ]

    def _parts(self) -> list[str]:
        return [
            f"{'✔' if name in self.yours else '○'} {exercises()[name].number} {name}: {PARTS[name]}" for name in PARTS
        ]

    def _whose(self, title: str, yours: bool) -> str:
        """A paragraph of the parts that are yours, or of the others; nothing for none."""
        names = [name for name in PARTS if (name in self.yours) == yours]
        listed = ", ".join(f"{exercises()[name].number} {name.removeprefix('my_').replace('_', ' ')}" for name in names)
        return f"<p><strong>{title}:</strong> {html.escape(listed)}.</p>" if names else ""

    def __str__(self) -> str:
        if not self.yours:
            return f"{NONE_YET}\n{FIRST_STEP}"
        said = [f"{source} → {target}" for source, target in self.translations]
        return "\n".join(["Your own Transformer", *self._facts(), *said, *self._parts(), "(○: the book's)"])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        if not self.yours:
            page = f'<div class="verdict" data-status="todo"><strong>{NONE_YET}</strong><p>{FIRST_STEP}</p></div>'
            return {"text/plain": str(self), "text/html": page}
        facts = "".join(f"<p>{html.escape(line)}</p>" for line in self._facts())
        rows = "".join(
            f'<p lang="en"><em>{html.escape(source)}</em><br><span lang="de">{html.escape(target)}</span></p>'
            for source, target in self.translations
        )
        status = "right" if self.comparison.is_equal else "wrong"
        page = (
            f'<div class="verdict" data-status="{status}"><strong>Your own Transformer</strong>{facts}{rows}'
            f"{self._whose('✔ Yours', True)}{self._whose('○ The book’s', False)}</div>"
        )
        return {"text/plain": str(self), "text/html": page}
