"""Long-running processes: thin shells around the areas."""
