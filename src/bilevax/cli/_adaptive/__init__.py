"""Penalties learned on folds by `bilevax.sklearn`, and kept only where they are better."""
