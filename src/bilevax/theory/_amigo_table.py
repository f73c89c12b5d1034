"""Table 1 for given numbers: who is predicted to need how many oracle calls."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ._amigo_costs import Variances, accbio_plan, amigo_plan, sag_cost, ttsa_plan


class PredictedCost(NamedTuple):
    """A row of `table`: a method, its order at the given numbers, the order, who says so."""

    method: str
    cost: float
    order: str
    reference: str


class _Order(NamedTuple):
    method: str
    cost: Callable[..., float]
    order: str
    reference: str


def table(
    *,
    accuracy: float,
    inner_condition: float,
    outer_condition: float | None = None,
    stochastic: bool = False,
    num_rows: int | None = None,
) -> list[PredictedCost]:
    r"""Predicted oracle calls of each method, the cheapest first.

    The orders of Table 1 of Arbel and Mairal (2022), and of A.5 for variants of AmIGO, with
    all constants, variances and initial errors taken as 1: it says how costs grow, not what
    they are. The accuracy $\epsilon$ is that of $E[l - l^*]$ or $\mu E \|x - x^*\|^2 / 2$
    with an `outer_condition`, and of a mean $E \|\nabla l\|^2$ without.

    **Arguments:**

    - `accuracy`: $\epsilon$ in (0, 1).
    - `inner_condition`: $\kappa_g$, and `outer_condition`: $\kappa_L$, or `None` where l is
      not convex; such as those of a `Constants`.
    - `stochastic`: whether rows are drawn; `num_rows`: n, for the row of SAG.

    **Returns** a list of `PredictedCost`. A cost has all terms of its corollary or proposition,
    of which the order of Table 1 has the leading one; it is `inf` where the paper does not say
    which power of $\kappa_g$ it has. The powers of the strongly convex BA and BSA are read
    from a line that is hard to read.

    >>> from bilevax.theory import amigo
    >>> for row in amigo.table(accuracy=1e-6, inner_condition=1e3, outer_condition=10.0):
    ...     print(f"{row.method:<18} {row.cost:8.2e}  {row.order}")
    AmIGO, accelerated 4.37e+03  k_L k_g^1/2 log(1/e)
    AccBiO             1.91e+04  (k_L k_g)^1/2 log^2(1/e)
    AmIGO              1.38e+05  k_L k_g log(1/e)
    BA                 1.91e+08  (k_L^2 v k_g^2) log^2(1/e)

    **Reference:** M. Arbel and J. Mairal, ICLR 2022, Table 1.
    """
    known: dict[str, Any] = {"accuracy": accuracy, "inner_condition": inner_condition}
    if outer_condition is not None:
        known["outer_condition"] = outer_condition
    amigo_plan(**known)  # whose checks are those of all
    rows = list(_ORDERS[outer_condition is not None, stochastic])
    if stochastic and num_rows is not None:
        rows.append(_sag(num_rows, outer_condition is not None))
    found = [PredictedCost(o.method, o.cost(**known), o.order, o.reference) for o in rows]
    return sorted(found, key=lambda row: row.cost)


def _sag(num_rows: int, convex: bool) -> _Order:
    order = (
        "k_L (n k_g^-2 + k_g (1 v e k_g)) e^-1 log(1/e)"
        if convex
        else "k_g^4 (n + k_g^3 (1 v e k_g^-2)) e^-2"
    )
    cost = lambda **known: sag_cost(**known, num_rows=num_rows)
    return _Order("AmIGO with SAG", cost, order, "Arbel and Mairal 2022, A.5.2")


def _ba(accuracy: float, inner_condition: float, outer_condition: float) -> float:
    return max(outer_condition, inner_condition) ** 2 * math.log(1 / accuracy) ** 2


def _accelerated(accuracy: float, inner_condition: float, outer_condition: float) -> float:
    return outer_condition * inner_condition**0.5 * math.log(1 / accuracy)


def _bsa(accuracy: float, inner_condition: float) -> float:
    return inner_condition**9 * accuracy**-3 + inner_condition**6 * accuracy**-2


def _stocbio(accuracy: float, inner_condition: float) -> float:
    log = math.log(1 / accuracy)
    return (inner_condition**9 + inner_condition**6 * log) * accuracy**-2


_AMIGO = "Arbel and Mairal 2022, Cor. {}"
_BA = "Ghadimi and Wang 2018"
_TTSA = "Hong et al. 2020; Arbel and Mairal 2022, Prop. 11"


def _noisy(**known: Any) -> float:
    return amigo_plan(**known, variances=Variances()).cost


# By (l is convex, rows are drawn).
_ORDERS: dict[tuple[bool, bool], list[_Order]] = {
    (True, False): [
        _Order("BA", _ba, "(k_L^2 v k_g^2) log^2(1/e)", _BA),
        _Order("AccBiO", lambda **k: accbio_plan(**k).cost, "(k_L k_g)^1/2 log^2(1/e)",
               "Ji and Liang 2021; Arbel and Mairal 2022, A.4.2"),
        _Order("AmIGO", lambda **k: amigo_plan(**k).cost, "k_L k_g log(1/e)", _AMIGO.format(1)),
        _Order("AmIGO, accelerated", _accelerated, "k_L k_g^1/2 log(1/e)",
               "Arbel and Mairal 2022, A.5.1"),
    ],
    (True, True): [
        _Order("BSA", lambda *, accuracy, inner_condition, outer_condition:
               outer_condition**4 / accuracy**2, "k_L^4 e^-2", _BA),
        _Order("TTSA", lambda **k: ttsa_plan(**k).cost,
               "k_L^1/2 (k_g^8.5 + k_L^3) e^-3/2 log(1/e)", _TTSA),
        _Order("AmIGO", _noisy, "k_L^2 k_g^3 e^-1 log(1/e)", _AMIGO.format(2)),
    ],
    (False, False): [
        _Order("BA", lambda *, accuracy, inner_condition: inner_condition**5 * accuracy**-1.25,
               "k_g^5 e^-5/4", _BA),
        _Order("AID-BiO", lambda **k: amigo_plan(**k).cost, "k_g^4 e^-1", "Ji et al. 2021"),
        _Order("AmIGO", lambda **k: amigo_plan(**k).cost, "k_g^4 e^-1", _AMIGO.format(3)),
    ],
    (False, True): [
        _Order("BSA", _bsa, "k_g^9 e^-3 + k_g^6 e^-2", _BA),
        _Order("TTSA", lambda **k: ttsa_plan(**k).cost, "k_g^16 e^-5/2 log(1/e)", _TTSA),
        _Order("stocBiO", _stocbio, "k_g^9 e^-2 + k_g^6 e^-2 log(1/e)", "Ji et al. 2021"),
        _Order("MRBO, VRBO", lambda **_: math.inf, "poly(k_g) e^-3/2 log(1/e)",
               "Yang et al. 2021, with mean-squared smoothness"),
        _Order("AmIGO", _noisy, "k_g^9 e^-2", _AMIGO.format(4)),
    ],
}  # fmt: skip
