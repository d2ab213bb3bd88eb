"""Captioners: one module per backend that can describe a stimulus."""
