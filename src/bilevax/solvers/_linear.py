"""What the solvers of linear equations share: whom they refuse."""

from .._equation import AbstractEquation


def require_linear(equation: AbstractEquation, solver: str) -> None:
    """Raise unless the equation is linear."""
    if not equation.linear:
        raise TypeError(
            f"{solver} solves linear equations only, and the inner problem is not known to "
            "be one: pass it as `linear=`, and take bx.GradientDescent as the inner solver."
        )


def require_symmetric(equation: AbstractEquation, solver: str) -> None:
    """Raise unless the equation is linear with a symmetric operator."""
    require_linear(equation, solver)
    if not equation.symmetric:
        raise TypeError(
            f"{solver} needs a symmetric adjoint system. If the Jacobian of the fixed-point "
            "map in y is symmetric, say so with `symmetric=True`; otherwise use "
            "bx.FixedPointIteration, bx.Neumann or bx.Direct."
        )
