"""A linear equation on one vector, where its unknown is made of several."""

from collections.abc import Callable

import equinox as eqx
import jax
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._rows.batch import Batch
from ._equation import ANY, AbstractEquation, AbstractLinearEquation, as_linear


class Vectors(eqx.Module):
    """The right-hand side of a linear equation, and its products with vectors.

    Of an unknown of several arrays, such as the weights of a network, each operation of a
    method would stand in the program once an array. They are joined to one vector. A single
    array stays as it is, and so do arrays of several dtypes, each of which keeps its own.
    """

    equation: AbstractLinearEquation

    @classmethod
    def of(cls, equation: AbstractEquation) -> "Vectors":
        """Those of an equation, if it is a linear one."""
        return cls(as_linear(equation))

    def join(self, tree: PyTree) -> PyTree:
        """The vector of an unknown, or of what is like it."""
        return ravel_pytree(tree)[0] if _are_several(tree) else tree

    def split(self, vector: PyTree) -> PyTree:
        """What a vector stands for."""
        unknown = self.equation.zeros()
        return ravel_pytree(unknown)[1](vector) if _are_several(unknown) else vector

    @property
    def rhs(self) -> PyTree:
        """The right-hand side."""
        return self.join(self.equation.rhs)

    def zeros(self) -> PyTree:
        """The zero of the vectors."""
        return optax.tree.zeros_like(self.rhs)

    def operator(self, batch: Batch = ANY) -> Callable[[PyTree], PyTree]:
        """The operator on a batch, linearised once."""
        return self._on_vectors(self.equation.operator(batch))

    def inverse(self, preconditioner: Callable) -> Callable[[PyTree], PyTree]:
        """What a user's `preconditioner(x, y, r)` makes of a residual."""
        return self._on_vectors(self.equation.inverse(preconditioner))

    def _on_vectors(self, linear: Callable) -> Callable[[PyTree], PyTree]:
        return lambda vector: self.join(linear(self.split(vector)))


def _are_several(tree: PyTree) -> bool:
    """Whether a tree is of more than one array, all of one dtype."""
    leaves = jax.tree.leaves(tree)
    return len(leaves) > 1 and len({leaf.dtype for leaf in leaves}) == 1
