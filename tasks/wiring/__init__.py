"""How stages hang together: signatures as contracts, dvc.yaml, presets, what params mean."""
