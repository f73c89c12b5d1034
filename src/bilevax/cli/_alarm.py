"""A limit of seconds on work that looks at no clock itself."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def alarm(seconds: float, error: Exception) -> Iterator[None]:
    """Raises the error within the work when so many seconds are over.

    By a signal, which only the main thread gets, and not on Windows: elsewhere the work goes
    on.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number, frame):
        raise error

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
