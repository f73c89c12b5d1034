"""Penalties learned on one split, by an algorithm of `bx.algorithms` that is studied."""
