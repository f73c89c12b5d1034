"""Traced programs, kept from one process to the next.

JAX keeps what it has compiled, and still traces and lowers each program anew in every
process, which for a fit of a small table takes longer than all else. What a program was lowered
to (`jax.export`) is kept here, under a name made of all that a trace depends on: the static
parts of its arguments, the shapes of the others, JAX's settings, the versions, this package's
source.

Static parts are named by pickling them. Functions and classes are pickled by their names, and
only those of packages whose version is part of the name are taken: a program with a function of
the user's within, whose code no name tells, is traced as ever.
"""

import contextlib
import contextvars
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import pathlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.export

from .files import write
from .tree import is_traced

# Whose functions and classes may be within a program that is kept.
_PACKAGES = ("bilevax", "jax", "jaxlib", "equinox", "lineax", "optax", "numpy")
_OF_PYTHON = ("builtins", "collections", "copyreg", "functools", "operator")
# Settings of where JAX keeps what it has compiled, which decide nothing.
_ELSEWHERE = ("jax_compilation_cache", "jax_persistent_cache", "jax_enable_compilation_cache")
# Programs of some ten to a hundred kilobytes.
_MOST = 500
# What stands for a program that cannot be kept.
_NONE = b"none"
_DIGEST = hashlib.sha256().digest_size

_folder: contextvars.ContextVar[pathlib.Path | None]
_folder = contextvars.ContextVar("folder", default=None)


@contextlib.contextmanager
def programs_kept() -> Iterator[None]:
    """Where JAX keeps what it compiles (`jax_compilation_cache_dir`), keep programs too.

    Needs the package flatbuffers, which `jax.export` writes with; without it none are kept.
    """
    place = getattr(jax.config, "jax_compilation_cache_dir", None)
    able = "://" not in str(place) and importlib.util.find_spec("flatbuffers") is not None
    token = _folder.set(pathlib.Path(place) / "traced" if place and able else None)
    try:
        yield
    finally:
        _folder.reset(token)


def settled(arguments: tuple) -> tuple:
    """The same, of arrays that are bound to their device, where programs are kept.

    Results of a kept program are, and a call of others as the first one would compile anew.
    Where some are on several devices, or on another one, the free ones go where those are.
    """
    if _folder.get() is None or len(_devices(arguments)) > 1:
        return arguments
    free, rest = eqx.partition(arguments, _is_free)
    places = jax.tree.map(lambda a: a.sharding, free)
    return eqx.combine(jax.device_put(free, places), rest)


def _devices(arguments: tuple) -> set[Any]:
    """All on which something is."""
    arrays = [a for a in jax.tree.leaves(arguments) if isinstance(a, jax.Array)]
    return {device for a in arrays if not is_traced(a) for device in a.devices()}


def _is_free(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not is_traced(leaf) and not leaf.committed


def call(function: Callable[..., Any], arguments: tuple) -> Any:
    """`function(*arguments)` within a trace; from a kept program, where there may be one.

    One that is made is then read as all later processes will, so that they compile the same.
    """
    folder = _folder.get()
    name = folder and _name(function, arguments)
    if not folder or not name:
        return function(*arguments)
    content = _read(folder / name)
    if content is None:
        content = _made(function, arguments)
        with contextlib.suppress(OSError):  # a full disk, say: the next process makes it again
            folder.mkdir(parents=True, exist_ok=True)
            _forget_old(folder)
            write(folder / name, hashlib.sha256(content).digest() + content)
    if content == _NONE:
        return function(*arguments)
    program, results, rest = pickle.loads(content)
    leaves = jax.tree.leaves(eqx.filter(arguments, eqx.is_array))
    found = jax.export.deserialize(bytearray(program)).call(*leaves)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(results), found), rest)


def _read(path: pathlib.Path) -> bytes | None:
    """What was kept, if it is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:_DIGEST], content[_DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None


def _forget_old(folder: pathlib.Path) -> None:
    """Keep no more than `_MOST` programs: those made last."""
    made = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in made[_MOST - 1 :]:
        path.unlink(missing_ok=True)


def _made(function: Callable[..., Any], arguments: tuple) -> bytes:
    """The program of array leaves, what its results, a list, are put into, and what else is
    returned."""
    moving, static = eqx.partition(arguments, eqx.is_array)
    leaves, structure = jax.tree.flatten(moving)
    results = []

    def of_leaves(*leaves):
        found = function(*eqx.combine(structure.unflatten(leaves), static))
        arrays, rest = eqx.partition(found, eqx.is_array)
        results.extend((jax.tree.map(lambda leaf: 0, arrays), rest))
        return jax.tree.leaves(arrays)

    # They are checked lest another release means something else by them, and this one is not
    # read by another release.
    known = [jax.export.DisabledSafetyCheck.custom_call("cpu_csr_sparse_dense_ffi")]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=_weak(a)) for a in leaves]
    try:
        program = jax.export.export(jax.jit(of_leaves), disabled_checks=known)(*shapes)
        return pickle.dumps((bytes(program.serialize()), *results))
    except (AttributeError, NotImplementedError, TypeError, ValueError, pickle.PicklingError):
        return _NONE


class _Array(NamedTuple):
    """What a name tells of an array."""

    shape: tuple[int, ...]
    dtype: str
    weak: bool


def _weak(leaf: Any) -> bool:
    return bool(getattr(jax.typeof(leaf), "weak_type", False))


def _name(function: Callable[..., Any], arguments: tuple) -> str | None:
    """None where something is within whose name does not say what it is."""
    if not _is_known(function):
        return None
    marked = jax.tree.map(
        lambda a: _Array(a.shape, str(a.dtype), _weak(a)) if eqx.is_array(a) else a, arguments
    )
    content = io.BytesIO()
    try:
        _Namer(content, protocol=5).dump((function.__module__, function.__qualname__, marked))
    except (AttributeError, TypeError, ValueError, pickle.PicklingError):
        return None
    told = content.getvalue() + _settings().encode() + _code()
    return hashlib.sha256(told).hexdigest()


class _Namer(pickle.Pickler):
    """Refuses functions and classes of packages that others may change."""

    def reducer_override(self, obj):
        if hasattr(obj, "__qualname__") and not _is_known(obj):
            raise pickle.PicklingError(f"{obj} is not of a known package")
        return NotImplemented


def _is_known(function: Any) -> bool:
    return str(function.__module__).split(".")[0] in _PACKAGES + _OF_PYTHON


def _settings() -> str:
    """Those of JAX, as they are at the moment."""
    names = [name for name in sorted(jax.config.values) if not name.startswith(_ELSEWHERE)]
    return repr([(name, getattr(jax.config, name, None)) for name in names])


@functools.cache
def _code() -> bytes:
    """What stands for all code that takes part: versions, and this package's source."""
    digest = hashlib.sha256(jax.default_backend().encode())
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{package} {importlib.metadata.version(package)}".encode())
    for path in sorted(pathlib.Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()
