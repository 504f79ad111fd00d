"""The cascade: ask, look, and ask on while it pays."""
