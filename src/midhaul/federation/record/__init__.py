"""Recording: an image set is sent to live providers, and what they answer is kept."""
