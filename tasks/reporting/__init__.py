"""The report: one self-contained page, and the figures that stand elsewhere."""
