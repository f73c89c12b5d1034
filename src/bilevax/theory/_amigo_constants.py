"""What the AmIGO paper assumes of a problem, and what follows from it (Prop. 6)."""

import dataclasses

from ._checks import check_curvature, check_nonnegative, check_positive, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constants:
    r"""Assumptions 1 to 5 of Arbel and Mairal (2022), and the constants of Prop. 6.

    Of the inner objective g, for all x and y:

    - `strong_convexity` $\mu_g > 0$ and `smoothness` $L_g$, in y;
    - `cross_smoothness` $L_g' \ge \|\partial_{xy} g\|$;
    - `derivative_lipschitz` $M_g$, of $\partial_{xy} g$ and $\partial_{yy} g$ jointly in x
      and y; 0 for a quadratic.

    Of the outer objective f:

    - `outer_smoothness` $L_f$: the Lipschitz constant of its gradient, jointly in x and y;
    - `outer_lipschitz` $B \ge \|\partial_y f\|$.

    Of the estimates, as they are drawn, so that a batch of b rows has 1/b of a row's
    (`with_batches`); 0, the default, where all rows are taken:

    - `inner_variance` $\sigma_g^2$, of $\partial_y g$;
    - `hvp_variance` $\sigma_{gyy}^2$ and `cross_variance` $\sigma_{gxy}^2$: the norms of
      $E[E^\top E]$ for the errors E of $\partial_{yy} g$ and $\partial_{xy} g$;
    - `outer_variance` $\sigma_f^2$, of both parts of $\nabla f$ together.

    Of the bilevel objective $l(x) = f(x, y^*(x))$:

    - `bilevel_strong_convexity` $\mu > 0$, or `None` where l is not convex;
    - `bilevel_smoothness` L, where more is known than the formula of Prop. 6, which holds
      and is mostly far too large. `gradient_lipschitz` is this or that.

    **Raises** `ValueError` for a constant out of range.

    >>> import bilevax as bx
    >>> c = bx.theory.amigo.Constants(
    ...     strong_convexity=0.2, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=3.0,
    ...     bilevel_strong_convexity=0.1)
    >>> c.solution_lipschitz, c.adjoint_lipschitz, c.hypergradient_lipschitz
    (5.0, 5.0, 6.0)
    >>> c.gradient_lipschitz, c.inner_condition, c.outer_condition
    (36.0, 5.0, 360.0)
    """

    strong_convexity: float
    smoothness: float
    cross_smoothness: float
    derivative_lipschitz: float
    outer_smoothness: float
    outer_lipschitz: float
    inner_variance: float = 0.0
    hvp_variance: float = 0.0
    cross_variance: float = 0.0
    outer_variance: float = 0.0
    bilevel_smoothness: float | None = None
    bilevel_strong_convexity: float | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None:
                object.__setattr__(self, name, float(value))
        check_curvature("", self.smoothness, self.strong_convexity)
        check_positive(cross_smoothness=self.cross_smoothness)
        names = ("derivative_lipschitz", "outer_smoothness", "outer_lipschitz", *_VARIANCES)
        check_nonnegative(**{name: getattr(self, name) for name in names})
        if self.bilevel_smoothness is not None:
            check_positive(bilevel_smoothness=self.bilevel_smoothness)
        if self.bilevel_strong_convexity is not None:
            check_curvature("bilevel_", self.gradient_lipschitz, self.bilevel_strong_convexity)

    @property
    def is_convex(self) -> bool:
        """Whether l is known to be strongly convex."""
        return self.bilevel_strong_convexity is not None

    @property
    def is_deterministic(self) -> bool:
        """Whether nothing is drawn: the effective variance is 0 then, and only then."""
        return not any(getattr(self, name) for name in _VARIANCES)

    @property
    def is_averaged(self) -> bool:
        """Whether Theorem 1 is about an average of the iterates (u = 1): l convex, noise."""
        return self.is_convex and not self.is_deterministic

    @property
    def inner_condition(self) -> float:
        r"""$\kappa_g = L_g / \mu_g$."""
        return self.smoothness / self.strong_convexity

    @property
    def outer_condition(self) -> float | None:
        r"""$\kappa_L = L / \mu$, or `None` where l is not convex."""
        if self.bilevel_strong_convexity is None:
            return None
        return self.gradient_lipschitz / self.bilevel_strong_convexity

    @property
    def solution_lipschitz(self) -> float:
        r"""$L_y = L_g' / \mu_g$, of $y^*$ (Eq. 13)."""
        return self.cross_smoothness / self.strong_convexity

    @property
    def adjoint_bound(self) -> float:
        r"""$B / \mu_g \ge \|z^*\|$ (Prop. 6)."""
        return self.outer_lipschitz / self.strong_convexity

    @property
    def adjoint_lipschitz(self) -> float:
        r"""$L_z = M_g B / \mu_g^2 + L_f / \mu_g$, of $z^*(x, y)$ in x and in y (Eq. 13)."""
        slope = self.derivative_lipschitz * self.adjoint_bound + self.outer_smoothness
        return slope / self.strong_convexity

    @property
    def hypergradient_lipschitz(self) -> float:
        r"""$L_\psi = \max(L_f + M_g B / \mu_g + L_g' L_z, L_g')$ (Eq. 13).

        With $\Psi = \partial_x f + \partial_{xy} g \, z$,
        $\|\Psi(x, y, z) - \nabla l(x)\| \le L_\psi (\|y - y^*(x)\| + \|z - z^*(x, y)\|)$.
        """
        of_y = self.outer_smoothness + self.derivative_lipschitz * self.adjoint_bound
        return max(of_y + self.cross_smoothness * self.adjoint_lipschitz, self.cross_smoothness)

    @property
    def gradient_lipschitz(self) -> float:
        r"""L, of $\nabla l$: as given, or
        $(L_f + L_g' M_g B / \mu_g^2 + (L_g' L_f + M_g B) / \mu_g)(1 + L_g' / \mu_g)$ (Eq. 13).
        """
        if self.bilevel_smoothness is not None:
            return self.bilevel_smoothness
        of_y = self.outer_smoothness + self.derivative_lipschitz * self.adjoint_bound
        return (of_y + self.solution_lipschitz * of_y) * (1 + self.solution_lipschitz)

    @property
    def eta(self) -> float:
        r"""$\eta_0$, the weight of $x - x^*$: $\mu$, or L where l is not convex (Eq. 5)."""
        return self.bilevel_strong_convexity or self.gradient_lipschitz

    @property
    def delta(self) -> float:
        r"""$\delta_0 = \eta_0 \gamma$ at $\gamma = 1/L$: $1 / \kappa_L$, or 1."""
        return self.eta / self.gradient_lipschitz

    def with_batches(
        self,
        *,
        inner_batch_size: int = 1,
        hvp_batch_size: int = 1,
        cross_batch_size: int = 1,
        outer_batch_size: int = 1,
    ) -> "Constants":
        r"""The constants of batches, from those of single rows (Assumptions 4 and 5).

        **Arguments:** $|D_g|$, $|D_{gyy}|$, $|D_{gxy}|$ and $|D_f|$.
        """
        sizes = {
            "inner": inner_batch_size,
            "hvp": hvp_batch_size,
            "cross": cross_batch_size,
            "outer": outer_batch_size,
        }
        for level, size in sizes.items():
            remedy = "It counts rows."
            require(size >= 1, f"{level}_batch_size", "be at least 1", size, remedy)
        variances = {f"{level}_variance": size for level, size in sizes.items()}
        divided = {name: getattr(self, name) / size for name, size in variances.items()}
        return dataclasses.replace(self, **divided)


_VARIANCES = ("inner_variance", "hvp_variance", "cross_variance", "outer_variance")
