"""Nodes: processes that answer images, and what they use."""
