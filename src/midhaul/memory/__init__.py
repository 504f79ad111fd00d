"""ADAPT: which samples are worth keeping, and when retraining is worth it."""
