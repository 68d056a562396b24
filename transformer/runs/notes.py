"""What is told about the work beside its results, on standard error: a reader who goes away stops nothing."""

import io
from contextlib import suppress
from typing import Any, TextIO


class Notes:
    """A text stream like another one, except that what cannot be written there is lost without an error.

    `tee` dies of the same Ctrl-C as the training whose log it keeps, and the training still has to save. Where there is
    no stream, as after `2>&-`, all is lost.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._is_heard, self._stream = stream is not None, stream or io.StringIO()

    def write(self, text: str) -> int:
        """Write a text as far as it can be; returns its length."""
        with suppress(OSError, ValueError):  # the latter for a stream that was closed
            if self._is_heard:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is waiting, if it can be."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
