"""Rows of data: dense and sparse, drawn and in blocks."""
