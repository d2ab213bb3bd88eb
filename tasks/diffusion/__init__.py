"""The frozen text-to-image generator and its prompts."""
