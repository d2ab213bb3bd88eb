"""Resampling, permutation tests, corrections for many tests, and seeded draws."""
