"""Where methods end whose adjoint starts from nothing, by their closed forms."""

import numpy as np

from ._eigenbasis import Eigenbasis


def left(basis: Eigenbasis, condition: float, products: int) -> np.ndarray:
    """z - z* = (I - A_g)^n A_g^-1 C_f, which so many steps of 1 on A_g z + C_f = 0 leave."""
    s = np.asarray(basis.spectrum(condition))
    return (1 - s) ** products * np.asarray(basis.c) / s


def beside_solution(basis: Eigenbasis, condition: float, z: np.ndarray) -> np.ndarray:
    """z - z* of a computed z."""
    return z + np.asarray(basis.c) / np.asarray(basis.spectrum(condition))


def plateau(basis: Eigenbasis, condition: float, off: np.ndarray) -> float:
    r"""(d' A_f d) / (x*' A_f x*), $d = x_\infty - x^* = -A_f^{-1} B_g^\top (z - z^*)$."""
    a, s = np.asarray(basis.a), np.asarray(basis.spectrum(condition))
    d = -(np.asarray(basis.u).T @ (s * off)) / a
    return float(d @ (a * d) / 2 / float(basis.gap0))
