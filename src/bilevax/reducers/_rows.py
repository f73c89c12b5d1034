"""Which samplers go with which reducer."""

from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, Blocks, FullBatch, as_sampler
from ._base import AbstractReducer


def as_reduced_sampler(batch_size: BatchSize, *reducers: AbstractReducer) -> AbstractSampler:
    """A sampler for reducers, from what every `batch_size` argument accepts.

    For a table an int stands for `bx.Blocks`, whose batches have slots.
    """
    sampler = as_sampler(batch_size)
    if not any(reducer.has_table for reducer in reducers):
        return sampler
    if not isinstance(batch_size, AbstractSampler) and batch_size is not None:
        return Blocks(batch_size)
    if not isinstance(sampler, Blocks | FullBatch):
        raise TypeError(_NO_SLOTS.format(type(sampler).__name__))
    return sampler


_NO_SLOTS = (
    "A reducer with a table has a slot for each batch of a fixed partition, and {0} draws "
    "others: pass an int or bx.Blocks(batch_size)."
)
