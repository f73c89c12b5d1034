"""The versions that a result depends on."""

import importlib.metadata
import platform

_NAMES = ("bilevax", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """By name, Python's first."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _NAMES
    }
