"""The simulated study: scenes, and the small frozen models trained on them."""
