"""Detectors: models that find boxes on images, by runtime."""
