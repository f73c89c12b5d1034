"""Newton's method with halved steps, in NumPy: what all methods are compared with."""

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def newton(
    y: np.ndarray,
    loss: Callable[[np.ndarray], float],
    gradient: Function,
    step: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """From y until nothing but rounding is left; `step(y, g)` is H(y)^-1 g, or nearly so."""
    for _ in range(60):
        slope = gradient(y)
        if np.linalg.norm(slope) < 1e-14:
            break
        full, size, before = step(y, slope), 1.0, loss(y)
        while loss(y - size * full) > before + 1e-12 and size > 1e-4:
            size /= 2
        y = y - size * full
        if np.linalg.norm(size * full) < 1e-14 * np.linalg.norm(y):
            break
    return y
