"""Policies: which providers to ask about an item."""
