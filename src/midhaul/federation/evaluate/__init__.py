"""Kinds federation.evaluate and federation.train: who answers best for how much."""
