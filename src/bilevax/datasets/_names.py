"""Names of features that have none."""

from collections.abc import Sequence
from typing import Any


class NumberedNames(Sequence):
    """`feature_0`, `feature_1`, ..., each made when it is asked for.

    >>> names = NumberedNames(2**40)
    >>> names[-1], names[:2]
    ('feature_1099511627775', ['feature_0', 'feature_1'])
    """

    def __init__(self, num: int):
        self._range = range(num)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: Any) -> Any:
        found = self._range[index]
        if isinstance(found, range):
            return [f"feature_{i}" for i in found]
        return f"feature_{found}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberedNames):
            return self._range == other._range
        return isinstance(other, list) and len(self) == len(other) and list(self) == other

    def __hash__(self) -> int:
        return hash(self._range)

    def __repr__(self) -> str:
        return f"NumberedNames({len(self)})"
