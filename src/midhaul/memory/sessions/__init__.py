"""Viewing sessions: what an ABR scheme and its predictor make of a link."""
