"""Kinds testbed.measure, testbed.accuracy and testbed.overhead."""
