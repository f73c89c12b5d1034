"""Penalties of their own beside scikit-learn's shared one, on data sets that all can have."""
