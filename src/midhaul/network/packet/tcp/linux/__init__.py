"""TCP with the ways of Linux: what differs from ns-3, behind ``stack = "linux"``."""
