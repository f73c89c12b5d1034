"""Step sizes, iteration counts, rates and error bounds of the papers, one module a paper."""

from . import amigo, sid, superefficiency

__all__ = ["amigo", "sid", "superefficiency"]
