"""Running estimates of an average over rows, for inner loops and single-loop methods."""

from ._average import Average, Reader
from ._base import AbstractReducer, Calls
from ._saga import SAGA
from ._sample import Sample
from ._spider import SPIDER
from ._storm import STORM

__all__ = [
    "SAGA",
    "SPIDER",
    "STORM",
    "AbstractReducer",
    "Average",
    "Calls",
    "Reader",
    "Sample",
]
