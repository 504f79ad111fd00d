"""Providers: priced sources of predictions."""
