"""Money: what calls cost, what was spent, and that no budget is overrun."""
