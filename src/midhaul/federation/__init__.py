"""Combine several priced inference providers behind one policy."""
