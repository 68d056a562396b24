"""The book's claims, and `verify`, which proves one in front of the reader or stops."""

import difflib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import torch

from transformer.tutor.show import show, typeset

TRACE = "executable-transformer-claim"
"""key in the metadata of a cell's output under which an executed notebook keeps the outcome, to list all claims"""


class ClaimError(AssertionError):
    """A claim does not hold, does not exist, or was not checked where it must be."""


@dataclass(frozen=True)
class Claim:
    """One statement of the book, and where it comes from."""

    id: str
    """a prefix for the chapter and a number, such as POS-4"""
    text: str
    """what is claimed"""
    source: str
    """a section of the paper, "reader" for what its readers ask, "myth" for what they repeat and is not so"""
    myth: str = ""
    """what the claim refutes, or corrects where it is half true"""
    said: bool = False
    """whether it holds by definition: a chapter says it, and no cell proves it"""

    @property
    def chapter(self) -> int:
        """The number of the chapter that proves it."""
        return ledger()["chapters"][self.id.partition("-")[0]]


@cache
def ledger() -> dict[str, dict[str, Any]]:
    """The content of `claims.toml`: the table "chapters", from a prefix to its chapter's number, and each claim's."""
    return tomllib.loads(files("transformer.tutor").joinpath("claims.toml").read_text(encoding="utf-8"))


@cache
def claims() -> dict[str, Claim]:
    """Every claim of the book by its id, in the book's order."""
    return {id: Claim(id, **fields) for id, fields in ledger().items() if id != "chapters"}


MARKS = {"holds": "✓", "fails": "✗", "not run": "○"}
"""the sign of each status"""


@dataclass(frozen=True)
class Outcome:
    """What came of a claim; shows itself as a line in notebooks, and in a terminal."""

    claim: Claim
    """what was to be shown"""
    status: str
    """"holds", "fails" or "not run\""""
    evidence: str
    """what was measured, in full"""
    shown: str = ""
    """the one number of it that a reader can picture, such as "98 of 100 rows\""""
    bars: Mapping[str, float] = field(default_factory=dict)
    """numbers of it to be drawn side by side where the claim is told again, from 0, each by its name"""

    def __str__(self) -> str:
        measured = f"{self.shown}; {self.evidence}" if self.shown else self.evidence
        return f"{MARKS[self.status]} {self.claim.id} {self.status}: {self.claim.text} [{measured}]"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        trace = {"claim": self.claim.id, "status": self.status, "evidence": self.evidence, "shown": self.shown}
        trace |= {"bars": [*self.bars.items()]} if self.bars else {}  # files of notebooks sort names
        return {"text/plain": str(self), "text/html": self._as_html()}, {TRACE: trace}

    def _as_html(self) -> str:
        """One line; the claim's name, its source and all that was measured unfold."""
        said = "" if self.status == "holds" else f"<em>{self.status}:</em> "
        shown = f' <span class="claim-shown">{typeset(self.shown)}</span>' if self.shown else ""
        return (
            f'<details class="claim" data-status="{self.status}">'
            f"<summary><strong>{MARKS[self.status]}</strong> {said}{typeset(self.claim.text)}{shown}</summary>"
            f'<p class="claim-evidence">Measured: {typeset(self.evidence)}</p>'
            f'<p class="claim-source">Claim {self.claim.id}, from: {typeset(self.claim.source)}</p></details>'
        )


def verify(
    claim: str, condition: bool | None, evidence: str, *, shown: str = "", bars: Mapping[str, float] | None = None
) -> None:
    """Show that a claim holds, with the evidence that was measured, or stop.

    `condition` is what was computed, True or False (of Python, NumPy or a tensor of one element); None says
    that it could not be computed because the data are absent, and then `evidence` says which. `shown` stands beside
    the claim, the evidence unfolds. `bars` are numbers of it that the page of myths draws, each by its name.

    Raises ClaimError when the condition is False; for an unknown claim; and for None where CI is at work, since
    there the data must be present. Raises TypeError for a condition that is no truth value, such as the error
    itself instead of a comparison, and ValueError without evidence and for bars that are not numbers from 0.
    """
    if claim not in claims():
        near = difflib.get_close_matches(claim, claims(), n=3, cutoff=0.5)
        raise ClaimError(f"there is no claim {claim!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    if not evidence.strip():
        raise ValueError(f"{claim} came without evidence, expected what was measured, such as 'largest error 3e-08'")
    bars = {
        name: float(number) if isinstance(number, torch.Tensor) else number for name, number in (bars or {}).items()
    }
    if not all(0 <= number < math.inf for number in bars.values()):
        raise ValueError(f"{claim} came with bars of {bars}, expected numbers from 0")
    status = "not run" if condition is None else "holds" if _truth(claim, condition) else "fails"
    outcome = Outcome(claims()[claim], status, evidence, shown, bars)
    show(outcome)
    if status == "fails":
        raise ClaimError(str(outcome))
    if status == "not run" and os.environ.get("CI", "").lower() not in ("", "0", "false"):
        raise ClaimError(f"{outcome}; CI must have the data, set TRANSFORMER_DATA")


def _truth(claim: str, condition: Any) -> bool:
    if isinstance(condition, torch.Tensor) and condition.dtype == torch.bool and condition.numel() == 1:
        return bool(condition)
    if isinstance(condition, bool) or type(condition).__name__ in ("bool", "bool_"):  # NumPy's has two names
        return bool(condition)
    raise TypeError(
        f"the condition of {claim} is {condition!r}, expected True, False or None: "
        "compare what was measured with a bound"
    )
