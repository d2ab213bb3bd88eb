"""Captions: their kinds and who writes them."""
