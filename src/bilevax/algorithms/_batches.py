"""The batch sizes that presets take, one an oracle."""

from .._rows.samplers import BatchSize

ALL = ("inner", "hvp", "cross", "outer")


def per_oracle(oracles: tuple[str, ...], sizes: dict[str, BatchSize]) -> dict[str, BatchSize]:
    """The batch size of each oracle: its own where given, else the common one.

    >>> per_oracle(("inner", "outer"), {"batch_size": 100, "outer_batch_size": None})
    {'inner': 100, 'outer': None}
    """
    names = {oracle: f"{oracle}_batch_size" for oracle in oracles}
    known = ["batch_size", *names.values()]
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise TypeError(
            f"Unknown argument {unknown[0]!r}: this preset's batch sizes are "
            f"{', '.join(known)}."
        )
    common = sizes.get("batch_size")
    return {oracle: sizes.get(name, common) for oracle, name in names.items()}
