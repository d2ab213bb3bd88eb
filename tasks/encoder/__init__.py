"""From epochs to vectors in CLIP space, one per caption kind."""
