"""Load: when requests are sent, and what became of each."""
