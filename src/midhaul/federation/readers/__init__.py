"""Readers of recorded answers, in several layouts."""
