"""Result codes: what went wrong, why, and what to do about it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


class Result(eqx.Enumeration):
    """How a computation ended. `bx.Result[code]` is the text that names cause and remedy.

    A code is an array of a compiled program, so it survives `jit`, `vmap` and `scan`;
    compare it with `==`, as in `solution.result == bx.Result.successful`.

    >>> import bilevax as bx
    >>> print(bx.Result[bx.Result.singular][:39])
    The inner Hessian is singular to workin
    """

    successful = ""
    max_steps_reached = (
        "The hypergradient's norm is still above `tol` after `num_steps` outer steps. "
        "Go on with `state=solution.state`, take a larger outer step, or loosen `tol`."
    )
    stopped = "The callback asked to stop. Go on with `state=solution.state`."
    inner_nonfinite = (
        "The inner variable y became infinite or NaN. The inner step is probably too "
        "large: keep it below 2 / smoothness of the inner problem at this x (for a fixed "
        "point: check that the map contracts; for transport: that x is a histogram, which "
        "bx.mirror_descent keeps it). bx.minimize returns the last finite iterate."
    )
    adjoint_nonfinite = (
        "The adjoint z became infinite or NaN. The adjoint step is probably too large: "
        "keep it below 2 / smoothness of the inner problem at this x, or use `CG`, which "
        "needs no step. bx.minimize returns the last finite iterate."
    )
    outer_nonfinite = (
        "The outer variable x, the outer objective or the hypergradient became infinite "
        "or NaN. The outer step is probably too large, or x left the domain of the "
        "objectives: reduce the step or bound x (where y grows without bound too, reduce "
        "the inner step). bx.minimize returns the last finite iterate."
    )
    inner_diverged = (
        "The inner solver diverged: its residual has grown a hundredfold and more, though y is "
        "still finite. Its step is too large for the curvature at this x (keep it below "
        "2 / smoothness, or leave it out, to have it measured and followed), or the "
        "fixed-point map does not contract here. bx.minimize returns the iterate before it "
        "began."
    )
    adjoint_diverged = (
        "The adjoint solver diverged: its residual grows, though z is still finite. Its step "
        "is too large for the curvature at this x and y, the inner Hessian has a direction of "
        "negative curvature (`CG` and `Direct` tell which), or the fixed-point map does not "
        "contract here. Reduce the step or leave it out, use `CG`, or solve the inner problem "
        "further. bx.minimize returns the iterate before it began."
    )
    outer_diverged = (
        "The outer iteration diverged: the objective and the hypergradient's norm have grown "
        "for twenty steps and more, the norm a hundredfold. Reduce the outer step, or "
        "use bx.adaptive_step. bx.minimize returns the iterate before it began."
    )
    inner_max_steps = (
        "The inner solver used all its steps without ever reaching its tolerance, so y is not "
        "accurate. Give it more steps, a looser `tol`, another step size or another solver; "
        "`must_converge=False` accepts it as it is."
    )
    inner_stalled = (
        "The line search of the inner solver found no step that lowers the inner objective, "
        "nor its gradient, though that is above its rounding errors: the objective is not "
        "smooth there, not finite next to y, or far below zero and unbounded. Start elsewhere, "
        "or use bx.GradientDescent."
    )
    not_quadratic = (
        "A linear solver was given as the inner solver, and the inner objective is not "
        "quadratic in y: the gradient after its step is not the one that a quadratic has. "
        "Use bx.Newton(num_steps, linear=...), which repeats such steps with a line search."
    )
    optimistix_failed = (
        "The solver of optimistix gave up: its own linear solve or its iteration failed. Call "
        "optimistix on the inner problem to see why, start elsewhere, or use another solver, "
        "such as bx.Newton."
    )
    negative_num_steps = (
        "`num_steps(k)` was negative. Let it return at least 0, which skips the solve."
    )
    linear_max_steps = (
        "The linear solver used all its steps without reaching its tolerance, so the "
        "implicit derivative is not accurate. Pass `linear=` with more steps or a looser "
        "tolerance, use `bx.Direct()`, or work in float64."
    )
    unrolled_max_steps = (
        "The inner `num_steps(k)` is larger than `max_num_steps`, which is all that reverse "
        "mode has room for: raise `max_num_steps`."
    )
    indefinite = (
        "The inner Hessian has a direction of negative curvature, so y is no strict "
        "minimum there and the implicit hypergradient does not exist. Solve the inner "
        "problem further, add a strongly convex term to it, or differentiate through the "
        "iterations instead."
    )
    singular = (
        "The inner Hessian is singular to working precision, so the adjoint is not "
        "determined. Add a strongly convex term to the inner objective, declare the "
        "known kernel with `gauge=`, or work in float64."
    )
    preconditioner = (
        "The preconditioner of `CG` is not positive definite, or returned NaN: r^T M r must be "
        "positive for every residual r. Let it approximate the inverse of the inner Hessian "
        "by a symmetric positive definite matrix, or leave it out."
    )


def first_failure(*results):
    """The first result that is not successful; successful if all are."""
    # What is known to be no failure needs no operation.
    results = [r for r in results if r is not Result.successful] or [Result.successful]
    combined = results[-1]
    for result in reversed(results[:-1]):
        combined = Result.where(result == Result.successful, combined, result)
    return combined


def is_code(result: Any, code: Any) -> bool:
    """Whether a result is this code, where both are known on the host.

    There `==` would be an operation of the device, and take longer than all else.
    """
    return bool(jax.tree.leaves(result)[0] == jax.tree.leaves(code)[0])


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every floating-point number of a tree is finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_inexact_array(leaf)]
    return _all_finite(leaves)


@jax.jit
def _all_finite(leaves: list[Array]) -> Bool[Array, ""]:
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves] or [True]))


def finite_or(tree: PyTree, failure):
    """Successful where `tree` is finite, `failure` where it is not."""
    return Result.where(all_finite(tree), Result.successful, failure)
