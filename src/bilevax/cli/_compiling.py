"""How long programs took to compile, so that curves against time need not show it."""

import jax

_PREFIX = "/jax/core/compile/"


class _Seconds:
    """The sum of what JAX reports of tracing, lowering and compiling in this process."""

    def __init__(self):
        self.total = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith(_PREFIX):
            self.total += duration_secs


_heard: list[_Seconds] = []


def seconds_compiling() -> float:
    """Since this was first asked."""
    if not _heard:
        _heard.append(_Seconds())
    return _heard[0].total
