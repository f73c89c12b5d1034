"""Orders of the cost of an accurate solution: Table 1, the corollaries, Prop. 11, A.4 and A.5.

All constants of the orders are taken as 1.
"""

import math
from typing import NamedTuple

from ._checks import Number, Value, check_nonnegative, check_positive, require


class Variances(NamedTuple):
    r"""$\varsigma_g^2$, $\varsigma_{gyy}^2$, $\varsigma_{gxy}^2$, $\varsigma_f^2$ of rows."""

    inner: float = 1.0
    hvp: float = 1.0
    cross: float = 1.0
    outer: float = 1.0


class Plan(NamedTuple):
    """Orders of counts and batch sizes, and the cost by these, all constants taken as 1."""

    cost: float
    outer_steps: float
    inner_steps: float
    adjoint_steps: float
    inner_batch_size: float = 1.0
    hvp_batch_size: float = 1.0
    cross_batch_size: float = 1.0
    outer_batch_size: float = 1.0


def paper_cost(
    *,
    outer_steps: Number,
    inner_steps: Number,
    adjoint_steps: Number,
    inner_batch_size: Number = 1,
    hvp_batch_size: Number = 1,
    cross_batch_size: Number = 1,
    outer_batch_size: Number = 1,
) -> Value:
    r"""The paper's own count of oracle calls, weighted by batches.

    $C = k (T |D_g| + N |D_{gyy}| + |D_{gxy}| + |D_f|)$ (Arbel and Mairal 2022, Eq. 8), with
    all sizes 1 where all rows are taken: $k (T + N + 2)$. It does not count the product of a
    warm conjugate gradient's first residual; what was really called is `Solution.cost`.

    **Arguments:** `outer_steps` k, `inner_steps` T, `adjoint_steps` N, and the batch sizes
    $|D_g|$, $|D_{gyy}|$, $|D_{gxy}|$, $|D_f|$; numbers or arrays.

    >>> from bilevax.theory import amigo
    >>> amigo.paper_cost(outer_steps=58, inner_steps=1, adjoint_steps=1)
    232
    """
    check_nonnegative(
        outer_steps=outer_steps,
        inner_steps=inner_steps,
        adjoint_steps=adjoint_steps,
        inner_batch_size=inner_batch_size,
        hvp_batch_size=hvp_batch_size,
        cross_batch_size=cross_batch_size,
        outer_batch_size=outer_batch_size,
    )
    solves = inner_steps * inner_batch_size + adjoint_steps * hvp_batch_size
    return outer_steps * (solves + cross_batch_size + outer_batch_size)


def amigo_plan(
    *,
    accuracy: float,
    inner_condition: float,
    outer_condition: float | None = None,
    variances: Variances | None = None,
    initial_energy: float = 1.0,
) -> Plan:
    r"""What AmIGO needs for an accuracy, in order (Arbel and Mairal 2022, Cor. 1 to 4).

    With $\kappa_L$, for $E[l - l^*] \le \epsilon$; without, l being not convex, for a mean
    $E \|\nabla l\|^2 \le \epsilon$. E is the `initial_energy`, $T = N = \kappa_g$,
    $a \vee b$ the larger one, and $\mu_g = 1 / \kappa_g$:

    | | k | $|D_g|$ | $|D_{gyy}|$ | $|D_{gxy}|$ | $|D_f|$ | cost |
    |---|---|---|---|---|---|---|
    | 1 | $\kappa_L \ln(E/\epsilon)$ | 1 | 1 | 1 | 1 | $\kappa_L \kappa_g \ln(E/\epsilon)$ |
    | 2 | the same | $\kappa_L \kappa_g^2 \varsigma_g^2 / \epsilon$ | $\varsigma_{gyy}^2 (1/\epsilon \vee \kappa_g)$ | $\varsigma_{gxy}^2 / \epsilon$ | $\varsigma_f^2 / \epsilon$ | $\kappa_L (\kappa_L \kappa_g^3 \varsigma_g^2 + \kappa_g (1 \vee \epsilon \kappa_g) \varsigma_{gyy}^2 + \varsigma_{gxy}^2 + \varsigma_f^2) \ln(E/\epsilon) / \epsilon$ |
    | 3 | $\kappa_g^3 E / \epsilon$ | 1 | 1 | 1 | 1 | $\kappa_g^4 E / \epsilon$ |
    | 4 | the same | $\kappa_g^5 \varsigma_g^2 / \epsilon$ | $\kappa_g^3 \varsigma_{gyy}^2 (1 \vee \epsilon \mu_g^2) / \epsilon$ | $\kappa_g^2 \varsigma_{gxy}^2 / \epsilon$ | $\kappa_g^2 \varsigma_f^2 / \epsilon$ | $\kappa_g^5 (\kappa_g^4 \varsigma_g^2 + \kappa_g^2 (1 \vee \epsilon \mu_g^2) \varsigma_{gyy}^2 + \varsigma_{gxy}^2 + \varsigma_f^2) E / \epsilon^2$ |

    **Arguments:** `accuracy` $\epsilon$; `inner_condition` $\kappa_g$; `outer_condition`
    $\kappa_L$, or `None`; `variances` of single rows, or `None` where nothing is drawn;
    `initial_energy`: $E^{tot}_0$, with noise $E^{tot}_0 + l(x_0) - l^*$, and where l is not
    convex $l(x_0) - l^* + E^y_0 + E^z_0$.

    >>> from bilevax.theory import amigo
    >>> round(amigo.amigo_plan(accuracy=1e-6, inner_condition=10.0, outer_condition=10.0).cost)
    1382
    """  # noqa: E501
    eps, k_g, k_l = accuracy, inner_condition, outer_condition
    _check(eps / initial_energy, k_g, k_l)
    k = k_l * math.log(initial_energy / eps) if k_l else k_g**3 * initial_energy / eps
    if variances is None:
        return Plan(k * k_g, k, k_g, k_g)
    s = variances
    if k_l:
        sizes = [
            k_l * k_g**2 * s.inner / eps,
            s.hvp * max(1 / eps, k_g),
            s.cross / eps,
            s.outer / eps,
        ]
    else:
        of_hvp = k_g**3 * s.hvp * max(1.0, eps / k_g**2)
        squared = k_g**2 * s.cross, k_g**2 * s.outer
        sizes = [size / eps for size in (k_g**5 * s.inner, of_hvp, *squared)]
    cost = k * (k_g * (sizes[0] + sizes[1]) + sizes[2] + sizes[3])
    return Plan(cost, k, k_g, k_g, *sizes)


def sag_cost(
    *,
    accuracy: float,
    inner_condition: float,
    outer_condition: float | None = None,
    num_rows: int,
    variances: Variances | None = None,
    initial_energy: float = 1.0,
) -> float:
    r"""AmIGO's order with SAG as its inner solver, $T = n \kappa_g$ (A.5.2).

    With $\kappa_L$: $\kappa_L (n \kappa_g^{-2} \varsigma_g^2
    + \kappa_g (1 \vee \epsilon \kappa_g) \varsigma_{gyy}^2
    + \varsigma_{gxy}^2 + \varsigma_f^2) \ln(E / \epsilon) / \epsilon$; without:
    $\kappa_g^4 (n \varsigma_g^2 + \kappa_g^3 (1 \vee \epsilon \mu_g^2) \varsigma_{gyy}^2
    + \kappa_g \varsigma_{gxy}^2 + \kappa_g \varsigma_f^2) E / \epsilon^2$.

    **Arguments:** those of `amigo_plan`, and `num_rows` n; `variances` by default all 1.

    >>> from bilevax.theory import amigo
    >>> round(amigo.sag_cost(accuracy=0.1, inner_condition=10.0, num_rows=100))
    1120000000
    """
    eps, k_g, k_l = accuracy, inner_condition, outer_condition
    _check(eps / initial_energy, k_g, k_l)
    check_positive(num_rows=num_rows)
    s = Variances() if variances is None else variances
    if k_l:
        of_y = num_rows / k_g**2 * s.inner + k_g * max(1.0, eps * k_g) * s.hvp
        return k_l * (of_y + s.cross + s.outer) * math.log(initial_energy / eps) / eps
    of_z = k_g**3 * max(1.0, eps / k_g**2) * s.hvp + k_g * (s.cross + s.outer)
    return k_g**4 * (num_rows * s.inner + of_z) * initial_energy / eps**2


def ttsa_plan(
    *, accuracy: float, inner_condition: float, outer_condition: float | None = None
) -> Plan:
    r"""TTSA's order, batches of one row (Arbel and Mairal 2022, Prop. 11).

    With $\mu_g = 1/\kappa_g$ and $L = \mu_g^{-3}$, one step of y, and
    $N = \kappa_g \ln(1/\epsilon)$ products an outer step:

    - with $\kappa_L$, for $\mu E \|x - x^*\|^2 \le \epsilon$:
      $k = (\mu_g^{3/2} \kappa_L^{7/2} + \kappa_L^{1/2} \mu_g^{-15/2}) \epsilon^{-3/2}$ and
      $C = \kappa_L^{1/2} (\kappa_g^{8.5} + \kappa_L^3) \epsilon^{-3/2} \ln(1/\epsilon)$;
    - without: $k = (\kappa_g^{10} + \kappa_g^{15}) \epsilon^{-5/2}$ and
      $C = (\kappa_g^{11} + \kappa_g^{16}) \epsilon^{-5/2} \ln(1/\epsilon)$.

    >>> from bilevax.theory import amigo
    >>> round(amigo.ttsa_plan(accuracy=0.1, inner_condition=2.0).outer_steps)
    10685969
    """
    eps, k_g, k_l = accuracy, inner_condition, outer_condition
    _check(eps, k_g, k_l)
    log = math.log(1 / eps)
    if k_l:
        k = (k_g**-1.5 * k_l**3.5 + k_l**0.5 * k_g**7.5) * eps**-1.5
        cost = k_l**0.5 * (k_g**8.5 + k_l**3) * eps**-1.5 * log
    else:
        k = (k_g**10 + k_g**15) * eps**-2.5
        cost = (k_g**11 + k_g**16) * eps**-2.5 * log
    return Plan(cost, k, 1.0, k_g * log)


def accbio_plan(*, accuracy: float, inner_condition: float, outer_condition: float) -> Plan:
    r"""AccBiO's order, both levels accelerated (Arbel and Mairal 2022, A.4.2).

    $k = \kappa_L^{1/2} \ln(1/\epsilon)$, $T = N = \kappa_g^{1/2} \ln(1/\epsilon)$ and
    $C = (\kappa_L \kappa_g)^{1/2} \ln^2(1/\epsilon)$. The second logarithm is that of a cold
    adjoint.

    In $\mu$ and $\mu_g$ this is $\mu^{-1/2} \mu_g^{-2} \ln^2(1/\epsilon)$, since
    $L = O(\mu_g^{-3})$; where $\partial_{yy} g$ is constant, $L = O(\mu_g^{-2})$ and the cost
    $\mu^{-1/2} \mu_g^{-3/2} \ln^2(1/\epsilon)$.

    >>> from bilevax.theory import amigo
    >>> plan = amigo.accbio_plan(accuracy=1e-6, inner_condition=10.0, outer_condition=10.0)
    >>> round(plan.cost), round(plan.outer_steps)
    (1909, 44)
    """
    _check(accuracy, inner_condition, outer_condition)
    log = math.log(1 / accuracy)
    k, T = outer_condition**0.5 * log, inner_condition**0.5 * log
    return Plan(k * T, k, T, T)


def _check(accuracy: float, inner_condition: float, outer_condition: float | None) -> None:
    remedy = "Orders are about a small share of where a run starts."
    require(
        0 < accuracy < 1, "accuracy", "be between 0 and 1 (in initial_energy)", accuracy, remedy
    )
    given = {"inner_condition": inner_condition}
    if outer_condition is not None:
        given["outer_condition"] = outer_condition
    for name, value in given.items():
        remedy = "It is smoothness / strong convexity."
        require(1 <= value < math.inf, name, "be finite and at least 1", value, remedy)
