"""Parts of a loop's body whose operations a processor runs one after the other."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

try:
    from jax.experimental.xla_metadata import set_xla_metadata
except ImportError:  # An experimental name may move; nothing but speed depends on it.
    set_xla_metadata: Any = lambda **attributes: contextlib.nullcontext()

Inputs = ParamSpec("Inputs")
Outputs = TypeVar("Outputs")


def in_order(function: Callable[Inputs, Outputs]) -> Callable[Inputs, Outputs]:
    """The same function, in a compiled program for CPUs a computation of its own.

    XLA runs a computation of at most eight operations, or one whose arrays have at most 512
    bytes each, as a list. A longer one is a graph, whose operations start once what they read
    is there: each takes twice the time. Where a body is a list of short parts, a run on small
    batches takes a tenth less.

    XLA takes nothing out of a loop that stands in a part, so what is the same at every turn
    has to be worked out before the loop. On other devices there are no parts.

    >>> import jax.numpy as jnp
    >>> double = in_order(lambda x: 2 * x)
    >>> double(jnp.ones(2)).tolist()
    [2.0, 2.0]
    """

    @functools.wraps(function)
    def part(*inputs: Inputs.args, **named: Inputs.kwargs) -> Outputs:
        if jax.default_backend() != "cpu":
            return function(*inputs, **named)

        @jax.jit
        def apart():
            # Functions that are called within may be merged as ever.
            with set_xla_metadata(inlineable=None):
                return function(*inputs, **named)

        with set_xla_metadata(inlineable="false"):
            return apart()

    return part
