"""What each gate costs: seconds on the clock, reported at the end of a run and never judged."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

SPENT: Counter[str] = Counter()  # by the name of a gate, since it was last emptied


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add the time that passes inside to what `name` has cost."""
    began = time.perf_counter()
    try:
        yield
    finally:
        SPENT[name] += time.perf_counter() - began
