"""Data sets: images with the boxes that people marked, in several formats."""
