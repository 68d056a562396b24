"""What the chapters teach with: verified claims, predictions, exercises that answer back, figures in one style."""

from transformer.tutor import predictions as predict
from transformer.tutor.claims import verify
from transformer.tutor.exercises import check, forget_answers, hint, keep_answers, progress
from transformer.tutor.show import show_source

__all__ = [
    "check",
    "forget_answers",
    "hint",
    "keep_answers",
    "predict",
    "progress",
    "show_source",
    "verify",
]
