"""What the encoder looks at: saliency, scalp maps, occlusion, separation of heads."""
