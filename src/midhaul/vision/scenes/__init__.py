"""Street scenes with exact boxes, drawn from a seed: the built-in data set."""
