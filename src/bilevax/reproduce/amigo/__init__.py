"""Amortized implicit differentiation for stochastic bilevel problems, Arbel and Mairal 2022."""
