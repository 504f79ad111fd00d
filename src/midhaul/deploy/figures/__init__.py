"""The deploy area's report."""
