"""Numbers as people and as JSON read them."""

import math
from typing import Any


def number(value: Any) -> str:
    """Four decimals, or four digits where these would not show them.

    >>> number(0.25), number(2.5e-7), number(1.5e9)
    ('0.2500', '2.5e-07', '1.5e+09')
    """
    plain = value == 0 or 1e-2 <= abs(value) < 1e5
    return f"{value:.4f}" if plain else f"{value:.4g}"


def finite(number: Any) -> float | None:
    """A number as JSON has it: without NaN and infinities.

    >>> finite(1), finite(math.nan)
    (1.0, None)
    """
    return float(number) if math.isfinite(number) else None
