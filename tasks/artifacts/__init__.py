"""Artefacts: what lies between the stages, where it lies, and what must hold of it."""
