"""ns-3.37 in a process of its own: the judge of TCP."""
