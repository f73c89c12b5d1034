"""What is worked out of an object once, though it is asked for at every call."""

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")


def once(function: Callable[[Any], Found]) -> Callable[[Any], Found]:
    """As the function of one object, which it remembers for as long as that object lives.

    For objects that never change, such as modules: they are told apart by identity, since to
    compare or hash them takes longer than what this is for. Others are looked at each time.

    >>> @once
    ... def size(numbers):
    ...     print("counting")
    ...     return len(numbers)
    >>> few = frozenset((1, 2))
    >>> size(few), size(few)
    counting
    (2, 2)
    """
    found: dict[int, tuple[weakref.ref, Found]] = {}

    @functools.wraps(function)
    def of(thing: Any) -> Found:
        name = id(thing)
        entry = found.get(name)
        if entry is not None and entry[0]() is thing:
            return entry[1]
        result = function(thing)
        try:
            reference = weakref.ref(thing, lambda _: found.pop(name, None))
        except TypeError:
            return result
        found[name] = reference, result
        return result

    return of
