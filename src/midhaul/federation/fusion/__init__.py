"""Fusing several answers into one."""
