"""What is known of an item before a policy decides about it."""
