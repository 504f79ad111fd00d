"""Placement and rates decided together."""
