"""Models that can be asked and trained."""
