"""network.train: scenarios are simulated packet by packet, and a corrector learns."""
