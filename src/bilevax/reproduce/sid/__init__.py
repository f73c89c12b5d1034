"""Convergence properties of stochastic hypergradients (Grazzi, Pontil and Salzo 2021)."""
