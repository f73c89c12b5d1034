"""Sinkhorn's algorithm: alternate minimisation of the transport dual."""

from .._core.types import Number, NumSteps
from ._fixed_point import FixedPointIteration


class Sinkhorn(FixedPointIteration):
    r"""Repeats the problem's own sweep, which minimises over each potential in turn.

    For `bx.problems.EntropicTransport`, and for any problem with an `update`. On the
    quotient by constants it contracts with the factor `EntropicTransport.contraction`.

    **Arguments:** as in `bx.FixedPointIteration`.

    >>> import bilevax as bx
    >>> solver = bx.Sinkhorn(num_steps=100)

    **Reference:** M. Cuturi, Sinkhorn distances: lightspeed computation of optimal
    transport, NeurIPS 2013.
    """

    def __init__(
        self,
        num_steps: NumSteps,
        *,
        tol: Number | None = None,
        must_converge: bool | None = None,
    ):
        super().__init__(num_steps, tol=tol, must_converge=must_converge)
