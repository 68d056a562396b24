"""Exercises that say what is wrong with an answer: `check`, `hint` and `progress`.

An exercise is declared in the module of its chapter; `exercise` says how. `grading` compares an answer with it.
"""

from transformer.tutor.exercises.learner import check, hint, progress

__all__ = ["check", "hint", "progress"]
