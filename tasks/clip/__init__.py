"""The frozen CLIP and its vectors."""
