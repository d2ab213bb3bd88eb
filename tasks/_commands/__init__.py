"""Scores, their uncertainty, and what they do and do not show."""
