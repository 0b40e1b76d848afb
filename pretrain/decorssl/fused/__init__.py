"""Losses and matrix products with a derivative of their own, which are faster than the formulas they stand for.

A file here computes what a plain formula elsewhere says, and names that formula. `tests/reference/test_fused.py` holds
value and gradients of both to each other in float64. Derivations: docs/methods.md#smaller-side.
"""
