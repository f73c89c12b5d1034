"""Step sizes, iteration counts, rates and error bounds of the papers, one module a paper."""

from . import sid, superefficiency

__all__ = ["sid", "superefficiency"]
