"""Which samples stay in a memory of limited size."""
