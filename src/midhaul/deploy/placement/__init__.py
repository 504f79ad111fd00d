"""Placement: which analytics run on which gateway."""
