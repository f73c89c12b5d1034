"""Stochastic methods on equal terms: as many CPU seconds, as many settings tried."""
