"""Exercises that say what is wrong with an answer: `check`, `hint` and `progress`; and that are kept, `keep_answers`.

An exercise is declared in the module of its chapter; `exercise` says how. `grading` compares an answer with it.
"""

from transformer.tutor.exercises.learner import check, forget_answers, hint, keep_answers, progress

__all__ = ["check", "forget_answers", "hint", "keep_answers", "progress"]
