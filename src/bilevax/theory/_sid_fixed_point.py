r"""Bounds along stochastic fixed-point iterations $u \leftarrow u + \eta (\hat T(u) - u)$."""

from typing import Any, NamedTuple

import numpy as np

from ._checks import (
    Number,
    Value,
    check_contraction,
    check_curvature,
    check_nonnegative,
    check_positive,
    check_step,
    require,
)


class NoiseConstants(NamedTuple):
    r"""$\sigma_1$ and $\sigma_2$ of $V[\hat T(u)] \le \sigma_1 + \sigma_2 |T(u) - u|^2$."""

    noise: Any
    relative_noise: Any


class GradientMap(NamedTuple):
    r"""The map $y - \alpha \nabla_y g$ as a stochastic contraction."""

    step_size: Any
    contraction: Any
    noise: Any
    relative_noise: Any


def longest_step(*, relative_noise: Number) -> Value:
    r"""The longest step that the theorems allow, $1 / (1 + \sigma_2)$.

    **Arguments:** `relative_noise` $\sigma_2$.

    **Raises** `ValueError` for a negative or NaN constant.

    >>> from bilevax.theory import sid
    >>> sid.longest_step(relative_noise=3.0)
    0.25
    """
    check_nonnegative(relative_noise=relative_noise)
    return 1 / (1 + relative_noise)


def constant_step_floor(
    *, contraction: Number, noise: Number, relative_noise: Number, step_size: Number
) -> Value:
    r"""Bounds the mean square distance of constant steps, after many of them.

    $\eta \sigma_1 / (1 - q^2)$ (Grazzi et al. 2021, Theorem 4.1).

    **Arguments:** `contraction` q, `noise` $\sigma_1$, `relative_noise` $\sigma_2$,
    `step_size` $\eta \le 1 / (1 + \sigma_2)$.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.constant_step_floor(
    ...     contraction=0.5, noise=3.0, relative_noise=1.0, step_size=0.5)
    2.0
    """
    check_contraction(contraction)
    check_nonnegative(noise=noise)
    longest = longest_step(relative_noise=relative_noise)
    check_step("step_size", step_size, longest, "1 / (1 + relative_noise)")
    return step_size * noise / (1 - contraction**2)


def constant_step_mse(
    *,
    steps: Number,
    contraction: Number,
    noise: Number,
    relative_noise: Number,
    step_size: Number,
    initial_mse: Number,
) -> Value:
    r"""Bounds the mean square distance after t constant steps.

    $(1 - \eta (1 - q^2))^t (|u_0 - u^*|^2 - B) + B$ with
    $B = \eta \sigma_1 / (1 - q^2)$ (Grazzi et al. 2021, Theorem 4.1). For the adjoint, take
    `adjoint_noise`: the proof is the same.

    **Arguments:** `steps` t, `initial_mse` $|u_0 - u^*|^2$, or its mean; the others as in
    `constant_step_floor`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> round(sid.constant_step_mse(steps=10, contraction=0.9, noise=1.0, relative_noise=4.0,
    ...     step_size=0.2, initial_mse=2.0), 7)
    1.6957184
    """
    check_nonnegative(steps=steps, initial_mse=initial_mse)
    floor = constant_step_floor(
        contraction=contraction,
        noise=noise,
        relative_noise=relative_noise,
        step_size=step_size,
    )
    factor = 1 - step_size * (1 - contraction**2)
    return factor**steps * (initial_mse - floor) + floor


def decreasing_step_mse(
    *,
    steps: Number,
    contraction: Number,
    noise: Number,
    relative_noise: Number,
    beta: Number,
    gamma: Number,
    initial_mse: Number,
) -> Value:
    r"""Bounds the mean square distance after t steps of $\eta_i = \beta / (\gamma + i)$.

    $c / (\gamma + t)$ with $c = \max \{\gamma |u_0 - u^*|^2,
    \beta^2 \sigma_1 / (\beta (1 - q^2) - 1)\}$ (Grazzi et al. 2021, Theorem 4.2).

    **Arguments:** `steps` t, `contraction` q, `noise` $\sigma_1$, `relative_noise`
    $\sigma_2$, `beta` $> 1 / (1 - q^2)$, `gamma` $\ge \beta (1 + \sigma_2)$, `initial_mse`
    $|u_0 - u^*|^2$.

    **Raises** `ValueError` for a constant out of range, with the smallest valid one.

    >>> from bilevax.theory import sid
    >>> float(sid.decreasing_step_mse(steps=4, contraction=0.5, noise=3.0,
    ...     relative_noise=1.0, beta=4.0, gamma=8.0, initial_mse=0.0))
    2.0
    """
    check_contraction(contraction)
    check_nonnegative(
        steps=steps, noise=noise, relative_noise=relative_noise, initial_mse=initial_mse
    )
    smallest = 1 / (1 - contraction**2)
    must = f"be above 1 / (1 - contraction^2) = {smallest}"
    require(np.all(np.asarray(beta) > smallest), "beta", must, beta, _LARGER)
    least = beta * (1 + relative_noise)
    must = f"be at least beta (1 + relative_noise) = {least}"
    require(np.all(np.asarray(gamma) >= least), "gamma", must, gamma, _LARGER)
    settled = beta**2 * noise / (beta * (1 - contraction**2) - 1)
    return np.maximum(gamma * initial_mse, settled)[()] / (gamma + steps)


_LARGER = "The bound is not proved otherwise: take a larger one, as `steps` does."


def map_noise(
    *, contraction: Number, sample_lipschitz: Number, noise_at_solution: Number
) -> NoiseConstants:
    r"""The noise of a stochastic map whose samples are Lipschitz.

    $\sigma_1 = 2 V[\hat T(u^*)]$ and $\sigma_2 = 2 (\hat L^2 + q^2) / (1 - q)^2$ (Grazzi et
    al. 2021, Theorem 4.3; $\sigma_1$ and $\sigma_2$ of Theorem 5.1 for the inner problem).
    The $q^2$ could be left out, since a variance is at most a second moment.

    **Arguments:** `contraction` q, `sample_lipschitz` $\hat L$, of every sample,
    `noise_at_solution` $V[\hat T(u^*)]$.

    **Returns** `NoiseConstants(noise, relative_noise)`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.map_noise(contraction=0.0, sample_lipschitz=1.0, noise_at_solution=1.0)
    NoiseConstants(noise=2.0, relative_noise=2.0)
    """
    check_contraction(contraction)
    check_nonnegative(sample_lipschitz=sample_lipschitz, noise_at_solution=noise_at_solution)
    relative = 2 * (sample_lipschitz**2 + contraction**2) / (1 - contraction) ** 2
    return NoiseConstants(2 * noise_at_solution, relative)


def adjoint_noise(
    *, contraction: Number, sample_lipschitz: Number, outer_lipschitz: Number
) -> NoiseConstants:
    r"""The noise of the adjoint's map $z \mapsto \partial_y \hat\phi^\top z - \partial_y f$.

    $\sigma_1 = 2 \hat L^2 L_f^2 / (1 - q)^2$, since the adjoint's norm is at most
    $L_f / (1 - q)$, and $\sigma_2$ as in `map_noise` (Grazzi et al. 2021, Theorem 5.1).

    **Arguments:** `contraction` q, `sample_lipschitz` $\hat L \ge \|\partial_y \hat\phi\|$,
    `outer_lipschitz` $L_f \ge |\partial_y f|$.

    **Returns** `NoiseConstants(noise, relative_noise)`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.adjoint_noise(contraction=0.0, sample_lipschitz=1.0, outer_lipschitz=2.0)
    NoiseConstants(noise=8.0, relative_noise=2.0)
    """
    check_nonnegative(outer_lipschitz=outer_lipschitz)
    check_contraction(contraction)
    norm = outer_lipschitz / (1 - contraction)
    return map_noise(
        contraction=contraction,
        sample_lipschitz=sample_lipschitz,
        noise_at_solution=(sample_lipschitz * norm) ** 2,
    )


def inner_mse(
    *,
    steps: Number,
    contraction: Number,
    sample_lipschitz: Number,
    noise_at_solution: Number,
    initial_distance: Number,
    beta: Number,
    gamma: Number,
) -> Value:
    r"""Bounds $\rho(t)$ of `mse_bound` for decreasing steps on the inner problem.

    $d_w / (\gamma + t)$ with $d_w = \max \{\gamma |y_0 - y^*|^2,
    \beta^2 \sigma_1 / (\beta (1 - q^2) - 1)\}$ and the constants of `map_noise` (Grazzi et
    al. 2021, Theorem 5.1, where $y_0 = 0$).

    **Arguments:** `steps` t, `initial_distance` $|y_0 - y^*|$, the others as in `map_noise`
    and `decreasing_step_mse`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> float(sid.inner_mse(steps=2, contraction=0.0, sample_lipschitz=1.0, beta=2.0,
    ...     noise_at_solution=1.0, initial_distance=0.0, gamma=6.0))
    1.0
    """
    constants = map_noise(
        contraction=contraction,
        sample_lipschitz=sample_lipschitz,
        noise_at_solution=noise_at_solution,
    )
    check_nonnegative(initial_distance=initial_distance)
    return decreasing_step_mse(
        steps=steps,
        contraction=contraction,
        beta=beta,
        gamma=gamma,
        initial_mse=initial_distance**2,
        **constants._asdict(),
    )


def adjoint_mse(
    *,
    steps: Number,
    contraction: Number,
    sample_lipschitz: Number,
    outer_lipschitz: Number,
    beta: Number,
    gamma: Number,
) -> Value:
    r"""Bounds $\sigma(k)$ of `mse_bound` for decreasing steps on the adjoint, from zero.

    $d_v / (\gamma + k)$ with $d_v = \frac{L_f^2}{(1 - q)^2} \max \{\gamma,
    2 \beta^2 \hat L^2 / (\beta (1 - q^2) - 1)\}$ (Grazzi et al. 2021, Theorem 5.1). With
    constant steps it is `constant_step_mse` with the constants of `adjoint_noise` and an
    `initial_mse` of $L_f^2 / (1 - q)^2$.

    **Arguments:** `steps` k, the others as in `adjoint_noise` and `decreasing_step_mse`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> float(sid.adjoint_mse(steps=2, contraction=0.0, sample_lipschitz=1.0, beta=2.0,
    ...     outer_lipschitz=1.0, gamma=6.0))
    1.0
    """
    constants = adjoint_noise(
        contraction=contraction,
        sample_lipschitz=sample_lipschitz,
        outer_lipschitz=outer_lipschitz,
    )
    return decreasing_step_mse(
        steps=steps,
        contraction=contraction,
        beta=beta,
        gamma=gamma,
        initial_mse=(outer_lipschitz / (1 - contraction)) ** 2,
        **constants._asdict(),
    )


def gradient_map(
    *,
    smoothness: Number,
    strong_convexity: Number,
    gradient_noise: Number = 0.0,
    relative_gradient_noise: Number = 0.0,
    step_size: Number | None = None,
) -> GradientMap:
    r"""Gradient descent as a stochastic contraction: what the other bounds want to know.

    $\phi = y - \alpha \nabla_y g$ contracts with
    $q = \max \{|1 - \alpha \tau|, |1 - \alpha \Lambda|\}$, best at
    $\alpha = 2 / (\Lambda + \tau)$ with $q = (\Lambda - \tau) / (\Lambda + \tau)$. Its noise
    is $\sigma_1 = \alpha^2 \sigma_1'$, $\sigma_2 = \sigma_2'$. Put into `constant_step_mse`
    and `decreasing_step_mse` this is Corollary 4.1 of Grazzi et al. (2021), for steps of
    $1 / \Lambda$ and of $2 / (\Lambda + \tau)$ alike.

    **Arguments:** `smoothness` $\Lambda$ and `strong_convexity` $\tau$ of g,
    `gradient_noise` $\sigma_1'$ and `relative_gradient_noise` $\sigma_2'$ with
    $V[\nabla \hat g] \le \sigma_1' + \sigma_2' |\nabla g|^2$, `step_size` $\alpha$, by default
    the best.

    **Returns** `GradientMap(step_size, contraction, noise, relative_noise)`.

    **Raises** `ValueError` for a constant out of range, or a step not below 2 / smoothness.

    >>> from bilevax.theory import sid
    >>> found = sid.gradient_map(smoothness=3.0, strong_convexity=1.0, gradient_noise=4.0)
    >>> found.step_size, float(found.contraction), found.noise, found.relative_noise
    (0.5, 0.5, 1.0, 0.0)
    """
    check_curvature("", smoothness, strong_convexity)
    check_nonnegative(
        gradient_noise=gradient_noise, relative_gradient_noise=relative_gradient_noise
    )
    best = 2 / (smoothness + strong_convexity)
    step: Value = best if step_size is None else step_size
    check_positive(step_size=step)
    must = f"be below 2 / smoothness = {2 / smoothness}"
    remedy = "A longer step does not contract: take a shorter one."
    require(np.all(np.asarray(step) < 2 / smoothness), "step_size", must, step, remedy)
    q = np.maximum(abs(1 - step * strong_convexity), abs(1 - step * smoothness))[()]
    return GradientMap(step, q, step**2 * gradient_noise, relative_gradient_noise)


def linear_model_noise(
    *, loss_lipschitz: Number, mean_squared_norm: Number, batch_size: int = 1
) -> Value:
    r"""Bounds the noise of the gradient of a linear model on random rows.

    $\sigma_1' = \mathrm{Lip}(\psi)^2 \, \mathrm{mean} |a_i|^2 / b$, with $\sigma_2' = 0$, for
    $g = \frac1n \sum_i \psi(a_i^\top y) + \frac\tau2 |y|^2$ and b rows drawn with replacement
    (Grazzi et al. 2021, Remark 4.2). The products of the adjoint's system have no such bound:
    their noise grows with z.

    **Arguments:** `loss_lipschitz` $\mathrm{Lip}(\psi)$, 1 for the logistic loss,
    `mean_squared_norm` of the rows, `batch_size` b.

    **Raises** `ValueError` for a negative constant or a batch of no rows.

    >>> from bilevax.theory import sid
    >>> sid.linear_model_noise(loss_lipschitz=1.0, mean_squared_norm=8.0, batch_size=4)
    2.0
    """
    check_nonnegative(loss_lipschitz=loss_lipschitz, mean_squared_norm=mean_squared_norm)
    check_positive(batch_size=batch_size)
    return loss_lipschitz**2 * mean_squared_norm / batch_size
