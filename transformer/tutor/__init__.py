"""What the chapters teach with: claims that are verified, exercises that answer back, and figures in one style."""

from transformer.tutor.claims import verify
from transformer.tutor.exercises import check, hint, progress
from transformer.tutor.show import show_source

__all__ = ["check", "hint", "progress", "show_source", "verify"]
