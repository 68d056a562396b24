"""Stop an answer that computes for too long, and nothing around it."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooSlow(BaseException):
    """Raised inside an answer that takes too long; no Exception, so that `except Exception` does not stop it."""


@contextmanager
def time_limit(seconds: float, caller: Callable[..., Any]) -> Iterator[None]:
    """Raise TooSlow in what `caller` calls in the block, after so many seconds of this thread's processor time.

    Kept where the platform has the signal for it, and in the main thread; elsewhere nothing is raised.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    started, ours = time.thread_time(), (caller.__code__.co_filename, __file__, contextlib.__file__)

    def stop(_: int, frame: FrameType | None) -> None:
        if time.thread_time() - started < seconds:  # the machine is busy with something else
            return
        # Only inside the answer: raised on the way out, it could leave the timer running for ever.
        called = None
        while frame is not None and frame.f_code is not caller.__code__:
            called, frame = frame, frame.f_back
        if called is not None and called.f_code.co_filename not in ours:
            raise TooSlow

    handler = signal.signal(signal.SIGALRM, stop)
    # By the clock, first when it can have computed so long; then again every tenth of a second, for it may have had
    # less of the processor, and a bare `except:` in a loop swallows the exception.
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
