"""From raw recordings to epochs: sources, signal, quality, splits."""
