"""Rates of single solvers: noisy linear systems, accelerated descent, SAG."""

from typing import Any, NamedTuple

import numpy as np

from ._checks import (
    Number,
    Value,
    check_curvature,
    check_nonnegative,
    check_positive,
    check_step,
    require,
)


class LinearSystemErrors(NamedTuple):
    r"""Of an iterate $z_n$ with the mean $\bar z_n$ (Prop. 15).

    - `mse`: $E \|z_n - z^*\|^2$; `bias`: $\|\bar z_n - z^*\|^2$;
    - `variance`: $E \|z_n - \bar z_n\|^2$.
    """

    mse: Any
    bias: Any
    variance: Any


def linear_system_errors(
    *,
    steps: Number,
    step_size: float,
    smoothness: float,
    strong_convexity: float,
    matrix_variance: float,
    vector_variance: float,
    solution_norm: Number,
    initial_mse: Number,
) -> LinearSystemErrors:
    r"""Descent on $A z + b = 0$ with a fresh $A_n$ a step and one $\hat b$ for all of them.

    With $m = \min(n, 1 / (\beta\mu))$ and
    $R = \beta^2 m (\sigma_A^2 \|z^*\|^2 + 3 m \sigma_b^2)$ (Arbel and Mairal 2022, Prop. 15):

    - mse: $(1 - \beta\mu)^n \|z_0 - z^*\|^2 + R$; bias: its first term;
    - variance: $4 \sigma_A^2 / \mu^2 \, (1 - \beta\mu/2)^n \|z_0 - z^*\|^2 + 2R$.

    Prop. 7 is this with $1 - \beta\mu/2$ throughout and m at its largest.

    **Arguments:** `steps` n; `step_size`
    $\beta \le \min(1/(2L), \mu/(\mu^2 + \sigma_A^2))$; `smoothness` L and `strong_convexity`
    $\mu$ of A; `matrix_variance` $\sigma_A^2 \ge \|E (A_n - A)^\top (A_n - A)\|$;
    `vector_variance` $\sigma_b^2 \ge E \|\hat b - b\|^2$; `solution_norm` $\|z^*\|$;
    `initial_mse` $\|z_0 - z^*\|^2$.

    >>> from bilevax.theory import amigo
    >>> found = amigo.linear_system_errors(steps=1, step_size=0.5, smoothness=1.0,
    ...     strong_convexity=1.0, matrix_variance=1.0, vector_variance=0.0,
    ...     solution_norm=2.0, initial_mse=4.0)
    >>> float(found.mse), float(found.variance)
    (3.0, 14.0)
    """
    check_curvature("", smoothness, strong_convexity)
    check_nonnegative(
        steps=steps,
        matrix_variance=matrix_variance,
        vector_variance=vector_variance,
        solution_norm=solution_norm,
        initial_mse=initial_mse,
    )
    mu, n = strong_convexity, np.asarray(steps)
    longest = min(1 / (2 * smoothness), mu / (mu**2 + matrix_variance))
    check_step("step_size", step_size, longest, "min(1 / (2 L), mu / (mu^2 + sigma_A^2))")
    m = np.minimum(n, 1 / (step_size * mu))
    noise = matrix_variance * solution_norm**2 + 3 * m * vector_variance
    floor = step_size**2 * m * noise
    bias = (1 - step_size * mu) ** n * initial_mse
    slow = (1 - step_size * mu / 2) ** n * initial_mse
    return LinearSystemErrors(
        bias + floor, bias, 4 * matrix_variance / mu**2 * slow + 2 * floor
    )


def accelerated_mse(
    *, steps: Number, smoothness: Number, strong_convexity: Number, initial_mse: Number
) -> Value:
    r"""Nesterov's accelerated descent with the constant momentum of strong convexity.

    $(\kappa + 1)(1 - \kappa^{-1/2})^t \|y_0 - y^*\|^2$ after t steps of size $1/L$ with
    momentum $(\sqrt\kappa - 1) / (\sqrt\kappa + 1)$. The paper (A.5.1) has the rate alone,
    which does not hold at small t; the constant is that of function values,
    $g(y_t) - g^* \le (1 - \kappa^{-1/2})^t (g(y_0) - g^* + \mu \|y_0 - y^*\|^2 / 2)$.

    **Arguments:** `steps` t, `smoothness` L, `strong_convexity` $\mu$, $\kappa = L / \mu$,
    `initial_mse` $\|y_0 - y^*\|^2$.

    >>> from bilevax.theory import amigo
    >>> float(amigo.accelerated_mse(steps=2, smoothness=4.0, strong_convexity=1.0,
    ...     initial_mse=1.0))
    1.25
    """
    check_curvature("", smoothness, strong_convexity)
    check_nonnegative(steps=steps, initial_mse=initial_mse)
    condition = smoothness / strong_convexity
    return (condition + 1) * (1 - condition**-0.5) ** np.asarray(steps) * initial_mse


def sag_mse(
    *,
    steps: Number,
    num_rows: int,
    smoothness: Number,
    strong_convexity: Number,
    noise_at_solution: Number,
    initial_mse: Number,
) -> Value:
    r"""SAG with steps $1 / (2 n L_g)$ and a table that starts at zero.

    $(1 - 1 / (8 n \kappa_g))^t (3 \|y_0 - y^*\|^2 + \frac94 \sigma^2 / L_g^2)$ with
    $\sigma^2 = \frac1n \sum_i \|\nabla g_i(y^*)\|^2$ (Arbel and Mairal 2022, A.5.2).

    **Arguments:** `steps` t, `num_rows` n, `smoothness` $L_g$ of every $g_i$,
    `strong_convexity` $\mu_g$ of their mean, `noise_at_solution` $\sigma^2$, `initial_mse`.

    >>> from bilevax.theory import amigo
    >>> float(amigo.sag_mse(steps=0, num_rows=5, smoothness=3.0, strong_convexity=1.0,
    ...     noise_at_solution=4.0, initial_mse=1.0))
    4.0
    """
    check_curvature("", smoothness, strong_convexity)
    check_positive(num_rows=num_rows)
    check_nonnegative(steps=steps, noise_at_solution=noise_at_solution, initial_mse=initial_mse)
    remedy = "The step 1 / (2 n L) belongs to a sum of n terms."
    require(num_rows >= 1, "num_rows", "be at least 1", num_rows, remedy)
    factor = 1 - strong_convexity / (8 * num_rows * smoothness)
    start = 3 * initial_mse + 9 / 4 * noise_at_solution / smoothness**2
    return factor ** np.asarray(steps) * start
