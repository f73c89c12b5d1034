"""What is wrong with a request, in plain words."""

import difflib
from collections.abc import Iterable


class UnusableError(Exception):
    """A request that cannot be met as it stands; its text names the cause and the remedy."""


def unreadable(error: Exception) -> UnusableError:
    """What a loader says, with the option for its argument."""
    return UnusableError(str(error).replace("zero_based=", "--zero-based"))


class FailedError(Exception):
    """A run that failed before there was anything to report; its text says how."""


def one_of(option: str, value: str, allowed: Iterable[str]) -> str:
    """The value, if it is one of those allowed; else the nearest is suggested.

    >>> one_of("--model", "logistic", ("logistic", "ridge"))
    'logistic'
    """
    allowed = list(allowed)
    if value in allowed:
        return value
    near = difflib.get_close_matches(value.lower(), allowed, 1, cutoff=0.5)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise UnusableError(
        f"{option} cannot be {value!r}.{meant} It is one of {', '.join(allowed)}."
    )
