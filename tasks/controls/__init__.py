"""What a score would be without the brain."""
