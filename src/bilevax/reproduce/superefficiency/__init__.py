"""Ablin, Peyré and Moreau, Super-efficiency of automatic differentiation for functions
defined as a minimum, ICML 2020."""
