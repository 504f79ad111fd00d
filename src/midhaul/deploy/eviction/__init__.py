"""Which layers stay on a gateway's disk."""
