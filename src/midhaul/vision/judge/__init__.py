"""Judging detections against ground truth: matching, average precision, thresholds."""
