"""The versions that a result depends on."""

import functools
import importlib.metadata
import platform

_NAMES = ("bilevax", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """By name, Python's first; what is not installed is left out."""
    return {"python": platform.python_version()} | {
        name: version for name in _NAMES if (version := _version(name))
    }


# They are looked for on the disk.
@functools.cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
