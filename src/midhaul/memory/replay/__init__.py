"""memory.replay and memory.compare: streams gone through with memories and rules."""
