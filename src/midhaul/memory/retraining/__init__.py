"""Whether a new model is worth its training."""
