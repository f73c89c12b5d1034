"""The batch sizes that every preset takes, one an oracle."""

from .._types import BatchSize

_ORACLES = ("inner", "hvp", "cross", "outer")


def per_oracle(batch_size: BatchSize = None, **sizes: BatchSize) -> dict[str, BatchSize]:
    """The batch size of each oracle: its own where given, else the common one.

    >>> per_oracle(100, outer_batch_size=None)
    {'inner': 100, 'hvp': 100, 'cross': 100, 'outer': None}
    """
    known = [f"{oracle}_batch_size" for oracle in _ORACLES]
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise TypeError(
            f"Unknown argument {unknown[0]!r}: batch sizes are batch_size, {', '.join(known)}."
        )
    return {
        oracle: sizes.get(name, batch_size)
        for oracle, name in zip(_ORACLES, known, strict=True)
    }
