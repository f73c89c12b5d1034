"""Compiled programs, kept from one call to the next."""

import hashlib
import os
import pathlib
import platform
import warnings

import jax
import platformdirs

# Bytes kept; those used longest ago go first.
_MOST = 2**29
_OFF = ("off", "no", "0", "")


def keep_programs() -> None:
    """Keep compiled programs in the user's cache folder, or in that which `BILEVAX_CACHE` or
    JAX's own `JAX_COMPILATION_CACHE_DIR` names; `BILEVAX_CACHE=off` keeps none.

    Processes lock the folder in turn, and a file that a killed one has left half written is
    compiled anew.
    """
    chosen = os.environ.get("BILEVAX_CACHE")
    if chosen in _OFF or (chosen is None and _of_jax()):
        return
    home = pathlib.Path(chosen or platformdirs.user_cache_dir("bilevax"))
    jax.config.update("jax_compilation_cache_dir", str(home / _machine()))
    jax.config.update("jax_compilation_cache_max_size", _MOST)
    # JAX keeps by default what took a second to compile: ours are many that take less.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def _of_jax() -> str | None:
    """The folder that JAX was given."""
    return getattr(jax.config, "jax_compilation_cache_dir", None)


def _machine() -> str:
    """The kind of machine: a folder may be shared by several, and instructions are not."""
    kind = platform.machine() + platform.processor()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        kind += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        pass  # not on this system, where processors of a kind are alike
    return hashlib.blake2b(kind.encode(), digest_size=8).hexdigest()
