"""What the chapters teach with: claims that are verified, and figures in one style."""

from transformer.tutor.claims import verify

__all__ = ["verify"]
