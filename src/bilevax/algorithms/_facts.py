"""What no code says of the presets: calls by formula, assumptions, and rates as published."""

from typing import NamedTuple


class Facts(NamedTuple):
    """Of one preset.

    - `calls`: inner gradients, products with the Hessian, cross products, outer gradients of
      an outer step, in T, N, and what else `SYMBOLS` names;
    - `assumptions`: beside a strongly convex g and Lipschitz derivatives;
    - `rate`: as published, in the letters of `RATES`, with its reference;
    - `example`: arguments that it needs beside the outer step.
    """

    calls: tuple[str, str, str, str]
    assumptions: str
    rate: str
    example: tuple[tuple[str, float], ...] = ()


# What stands in the formulas beside T, the inner steps, and N, the adjoint steps.
SYMBOLS = {
    "T_k": "inner steps that grow with k",
    "p": "products of one random term, (N - 1) / 2 in the mean",
    "L": "the steps that are differentiated, `last`",
    "Q": "directions of a finite difference",
    "m": "numbers of y",
}

RATES = (
    "calls, or samples, until l(x) - min l <= eps for a strongly convex value function l (SC), "
    "and until the squared norm of its gradient is at most eps in the mean for any other (NC); "
    "kl and kg are the condition numbers of l and of g"
)

_AMIGO = "Arbel and Mairal 2022"
_PLATEAU = f"linear, to a distance that N decides (Grazzi et al. 2020; {_AMIGO}, 5.1)"
_NONE = "none"
_NOISE = "unbiased batches of bounded variance"
_SMOOTH = "batches smooth in the mean square"
_UNROLLED = "NC kg^4 eps^-1 with T of the order of kg log(1/eps)"

FACTS = {
    "accbio": Facts(
        ("T", "N - 1", "1", "1"),
        "strongly convex value function",
        "SC sqrt(kl kg) log^2(1/eps) (Ji and Liang 2023)",
        (("outer_strong_convexity", 0.1), ("inner_strong_convexity", 0.1)),
    ),
    "aid_bio": Facts(
        ("T", "N + 1", "1", "1"),
        _NONE,
        "NC kg^4 eps^-1 (Ji, Yang and Liang 2021)",
    ),
    "aid_cg": Facts(("T", "N", "1", "1"), _NONE, _PLATEAU),
    "aid_cg_ws": Facts(("T", "N + 1", "1", "1"), _NONE, "to a distance that T decides"),
    "aid_fp": Facts(("T", "N - 1", "1", "1"), _NONE, _PLATEAU),
    "aid_gd": Facts(("T", "N - 1", "1", "1"), _NONE, _PLATEAU),
    "aid_n": Facts(("T", "N", "1", "1"), _NONE, _PLATEAU),
    "amigo_accelerated": Facts(
        ("T", "N", "1", "1"),
        _NONE,
        f"SC kl sqrt(kg) log(1/eps) ({_AMIGO}, A.5.1)",
    ),
    "amigo_cg": Facts(
        ("T", "N + 1", "1", "1"),
        _NONE,
        f"that of `amigo_gd`, with shorter N ({_AMIGO})",
    ),
    "amigo_gd": Facts(
        ("T", "N", "1", "1"),
        f"none; {_NOISE}",
        "SC kl kg log(1/eps), NC kg^4 eps^-1; stochastic "
        "SC kl^2 kg^3 eps^-1 log(1/eps), NC "
        f"kg^9 eps^-2 ({_AMIGO}, Cors. 1-4)",
    ),
    "amigo_sag": Facts(
        ("T", "N", "1", "1"),
        "g a finite sum of n terms",
        f"SC eps^-1 log(1/eps), NC eps^-2 ({_AMIGO}, A.5.2)",
    ),
    "ba": Facts(
        ("T_k", "m", "1", "1"),
        _NONE,
        "NC kg^5 eps^(-5/4) (Ghadimi and Wang 2018)",
    ),
    "bome": Facts(
        ("T + 2", "0", "0", "1"),
        "g may satisfy a Polyak-Lojasiewicz inequality only",
        "a KKT residual vanishes with decreasing steps (Liu et al. 2022)",
        (("penalised_step_size", 0.1),),
    ),
    "bsa": Facts(
        ("T_k", "p", "1", "1"),
        _NOISE,
        "SC kl^4 eps^-2, NC kg^9 eps^-3 (Ghadimi and Wang 2018)",
    ),
    "f2sa": Facts(
        ("2 * T + 2", "0", "0", "T + 1"),
        _NOISE,
        "NC eps^(-7/2); eps^(-3/2) without noise (Kwon et al. 2023)",
        (("penalised_step_size", 0.1),),
    ),
    "fsla": Facts(("1", "1", "2", "3"), _NOISE, "NC eps^-2 (Li, Gu and Huang 2022)"),
    "itd": Facts(("T", "T", "T", "1"), _NONE, f"{_UNROLLED} (Ji, Yang and Liang 2021)"),
    "ma_soba": Facts(
        ("1", "1", "1", "1"),
        f"{_NOISE}; no higher smoothness",
        "NC eps^-2 (Chen, Xiao and Balasubramanian 2024)",
    ),
    "mrbo": Facts(
        ("2", "2 * N", "2", "2"),
        _SMOOTH,
        "NC eps^(-3/2) log(1/eps) (Yang, Ji and Liang 2021)",
    ),
    "pzobo": Facts(
        ("(1 + Q) * T", "0", "0", "1"),
        _NONE,
        "NC eps^-1, to a bias that the distance decides (Sow, Ji and Liang 2022)",
    ),
    "reverse": Facts(
        ("T + L", "L", "L", "1"),
        _NONE,
        "that of `itd`; truncated, to a distance that L decides (Shaban et al. 2019)",
        (("last", 5),),
    ),
    "saba": Facts(
        ("1", "1", "1", "1"),
        "finite sums of n and m terms",
        "NC (n + m)^(2/3) eps^-1, SC linear (Dagréou et al. 2022)",
    ),
    "sid": Facts(
        ("T", "N - 1", "1", "1"),
        f"a contraction; {_NOISE}",
        "the hypergradient's mean square error falls as 1/T + 1/N (Grazzi et al. 2021)",
    ),
    "soba": Facts(("1", "1", "1", "1"), _NOISE, "NC eps^-2 (Dagréou et al. 2022)"),
    "srba": Facts(
        ("2", "2", "2", "2"),
        "finite sums of n and m terms",
        "NC (n + m)^(1/2) eps^-1 (Dagréou et al. 2024)",
    ),
    "stocbio": Facts(
        ("T", "N", "1", "1"),
        _NOISE,
        "NC kg^9 eps^-2 (Ji, Yang and Liang 2021)",
    ),
    "sustain": Facts(
        ("2", "2 * p", "2", "2"),
        _SMOOTH,
        "SC eps^-1, NC eps^(-3/2) (Khanduri et al. 2021)",
    ),
    "ttsa": Facts(
        ("1", "p", "1", "1"),
        _NOISE,
        "SC eps^(-3/2) log(1/eps), NC eps^(-5/2) log(1/eps) (Hong et al. 2023)",
    ),
    "vrbo": Facts(
        ("2 * (T + 1)", "2 * (T + 1) * N", "2 * (T + 1)", "2 * (T + 1)"),
        _SMOOTH,
        "NC eps^(-3/2) log(1/eps) (Yang, Ji and Liang 2021)",
    ),
}
