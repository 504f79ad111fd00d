"""Decoders: from a network's outputs to candidate boxes, by family."""
