"""Identities that raise where a derivative would be silently wrong."""

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree


def _identity(name: str) -> Primitive:
    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda aval, *, message: aval)
    batching.primitive_batchers[primitive] = lambda args, dims, *, message: (
        primitive.bind(args[0], message=message),
        dims[0],
    )
    return primitive


def _refuse(*args, message: str):
    del args
    raise TypeError(message)


# May be transposed, but not evaluated: the tangents of reverse mode are, those of forward
# mode are not.
_reverse_only = _identity("reverse_only")
_reverse_only.def_impl(_refuse)
mlir.register_lowering(_reverse_only, lambda ctx, *args, message: _refuse(message=message))
ad.deflinear2(_reverse_only, lambda ct, _, *, message: [ct])

# May be evaluated, but not differentiated.
_not_differentiable = _identity("not_differentiable")
_not_differentiable.def_impl(lambda value, *, message: value)
mlir.register_lowering(_not_differentiable, lambda ctx, value, *, message: [value])
ad.primitive_jvps[_not_differentiable] = lambda primals, tangents, *, message: _refuse(
    message=message
)


def reverse_only(tangent: Array, message: str) -> Array:
    """The same tangent, which raises `message` in forward mode."""
    return _reverse_only.bind(tangent, message=message)


def not_differentiable(tree: PyTree, message: str) -> PyTree:
    """The same arrays, which raise `message` when they are differentiated."""
    return jax.tree.map(lambda leaf: _not_differentiable.bind(leaf, message=message), tree)
