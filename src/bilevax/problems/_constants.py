"""What is known of a problem's smoothness, and what follows from it."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constants:
    r"""Bounds on the derivatives of an inner objective g at one x, for all y.

    All norms are Euclidean and spectral. What is not known is `None`.

    - `strong_convexity`: $\mu \le \lambda_{\min}(\partial_{yy} g)$;
    - `smoothness`: $\Lambda_1 \ge \|\partial_{yy} g\|$;
    - `cross_smoothness`: $\Lambda_2 \ge \|\partial_{xy} g\|$;
    - `hessian_lipschitz`: $\Lambda_{11}$, of $y \mapsto \partial_{yy} g$;
    - `cross_lipschitz`: $\Lambda_{21}$, of $y \mapsto \partial_{xy} g$;
    - `outer_smoothness`, `outer_cross_smoothness`: $\Lambda_{fy}$ and $\Lambda_{fx}$, the
      Lipschitz constants of $y \mapsto \partial_y f$ and $y \mapsto \partial_x f$ (for f
      other than g).

    Ablin et al. (2020) write $L_1$, $L_2$, $L_{11}$ and $L_{21}$ for the second to the fifth.

    >>> import bilevax as bx
    >>> c = bx.Constants(strong_convexity=0.5, cross_smoothness=2.0)
    >>> c.jacobian_bound, c.remainder
    (4.0, None)
    """

    strong_convexity: float | int | None = None
    smoothness: float | int | None = None
    cross_smoothness: float | int | None = None
    hessian_lipschitz: float | int | None = None
    cross_lipschitz: float | int | None = None
    outer_smoothness: float | int | None = None
    outer_cross_smoothness: float | int | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            # Written so that NaN does not pass.
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value!r}.")
            if value is not None:
                object.__setattr__(self, name, float(value))

    @property
    def jacobian_bound(self) -> float | None:
        r"""$B_J = \Lambda_2 / \mu$ bounds $\|\partial y_t/\partial x\|$ along gradient descent
        with steps up to $1/\Lambda_1$ from a constant $y_0$, and the implicit one."""
        return self._of("cross_smoothness", "strong_convexity", lambda k, mu: k / mu)

    @property
    def jacobian_lipschitz(self) -> float | None:
        r"""$\Lambda_J = \Lambda_{21}/\mu + \Lambda_2 \Lambda_{11} / \mu^2$, of the implicit
        Jacobian as a function of y."""
        names = ("cross_lipschitz", "cross_smoothness", "hessian_lipschitz", "strong_convexity")
        return self._of(*names, lambda k1, k, h1, mu: k1 / mu + k * h1 / mu**2)

    @property
    def remainder(self) -> float | None:
        r"""$\Lambda = \Lambda_{21} + B_J \Lambda_{11}$ (Ablin et al. 2020, Eq. 9)."""
        if self.jacobian_bound is None:
            return None
        bound = self.jacobian_bound
        return self._of("cross_lipschitz", "hessian_lipschitz", lambda k1, h1: k1 + bound * h1)

    def missing(self, *names: str) -> list[str]:
        """Those of the names that are not known."""
        return [name for name in names if getattr(self, name) is None]

    def _of(self, *names_and_formula):
        *names, formula = names_and_formula
        if self.missing(*names) or ("strong_convexity" in names and not self.strong_convexity):
            return None
        return formula(*(getattr(self, name) for name in names))
