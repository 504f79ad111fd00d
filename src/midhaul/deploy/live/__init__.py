"""A gateway and a cloud for real: images are pulled, messages sent, answers scored."""
