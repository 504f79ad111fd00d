"""Days of viewing: which ABR scheme stalls less, and how samples shift over days."""
