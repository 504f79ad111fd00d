"""Recognition of models: a card made of what a file says and shows."""
