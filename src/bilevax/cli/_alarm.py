"""A limit of seconds on work that looks at no clock itself."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_AGAIN = 0.5


@contextlib.contextmanager
def alarm(seconds: float, error: Exception) -> Iterator[None]:
    """Raises the error within the work when so many seconds are over.

    By a signal, which only the main thread gets, and not on Windows: elsewhere the work goes
    on. It is repeated, since what is raised in a finaliser is lost.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number, frame):
        raise error

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
