"""Recorded answers: what they are, how they are read, and what is done to bad ones."""
