"""Run every cell of a chapter once more, in the kernel that has just run the chapter to its end.

A reader does this too: solves the exercises, goes back, and runs one earlier cell again, or all of them in order. Every
name then has the value that the end of the chapter left it. So an exercise must not take a name that an earlier cell
needs, a variable must not come to hold something of another kind, and a hook must not stay on a model.
"""

import ast
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from unittest.mock import patch

from IPython import get_ipython
from IPython.utils.capture import capture_output

CPU_SECONDS = 0.25
"""processor time that a cell gets: a training need not go to its end again to show that it begins as before"""

WAIT = 0.002
"""seconds of processor time after which a cell is asked again to stop"""

OWN_CODE = ("__main__", "transformer")
"""the modules in which it may be stopped: the chapter's cells and the package"""

OF_NAMES = (NameError, AttributeError, TypeError, LookupError)
"""what a cell raises that meets a name with another meaning than it expects"""


class TimeUp(KeyboardInterrupt):
    """Stops a cell as a reader would, so that no `except Exception` holds it up."""


def close(sources: Sequence[str]) -> None:
    """What a chapter that is executed closes with: print what it took, as JSON, and run its cells once more.

    Raises RuntimeError that lists the cells that fail.
    """
    print(json.dumps({"cpu_seconds": time.process_time(), "peak_megabytes": peak_megabytes()}), flush=True)
    run_again(sources)


def run_again(sources: Sequence[str]) -> None:
    """Run these cells in the current kernel without showing their outputs: each on its own, then all in order.

    Raises RuntimeError that lists the cells that fail.
    """
    if failures := list(_failures(sources)):
        raise RuntimeError("after the end of the chapter, these cells fail:\n\n" + "\n\n".join(failures))


def _failures(sources: Sequence[str]) -> Iterator[str]:
    """Run the cells and say which fail; on its own, each finds the names as the end of the chapter left them."""
    names, stopped = get_ipython().user_ns, False
    end = dict(names)
    for way in ("on its own", "in order"):
        for number, source in enumerate(sources, 1):
            if not source.strip():
                continue
            error = _error(source)
            stopped = stopped or isinstance(error, TimeUp)
            # What was stopped has trained in place what it should not have, or left PyTorch within `no_grad`. From
            # then on claims and numbers are not judged, only what names mean.
            if error is not None and (not stopped or isinstance(error, OF_NAMES)):
                yield f"cell {number}, run again {way}: {type(error).__name__}: {error}\n{source}"
            elif error is not None:
                names.update({name: end[name] for name in _bound(source) & end.keys()})  # as if it had gone on
            if way == "on its own":
                names.clear()
                names.update(end)


def _bound(source: str) -> set[str]:
    """The names that a cell gives a value to."""
    nodes = list(ast.walk(ast.parse(source)))
    variables = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return variables | {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _error(source: str) -> BaseException | None:
    """Run a cell; what stopped it, or None."""
    shell, error = get_ipython(), TimeUp()
    # A traceback goes round what captures outputs, and would pass for a failure of the cell that calls this.
    with capture_output(), patch.object(shell, "showtraceback"), suppress(TimeUp), _at_most(CPU_SECONDS):
        result = shell.run_cell(source)
        error = result.error_before_exec or result.error_in_exec
    return error


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(_signal: int, frame: FrameType | None) -> None:
        if _leaves_no_traces(frame):
            raise TimeUp

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, WAIT)  # the signal comes again until it finds a good moment
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Not what it was: a signal that is still on its way to another thread would end the kernel.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


def _leaves_no_traces(frame: FrameType | None) -> bool:
    """Whether a cell may be stopped here: in the book's own code, and not where a `with` begins or ends.

    Stopped within PyTorch, between the two halves of a `with`, a cell would leave its hooks to all cells after it.
    """
    if frame is None or frame.f_globals.get("__name__", "").partition(".")[0] not in OWN_CODE:
        return False
    while frame is not None and frame.f_code.co_name not in ("__enter__", "__exit__"):
        frame = frame.f_back
    return frame is None


def peak_megabytes() -> float:
    """The most memory that this process has had at once, in MB."""
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
