"""Images: files and pixels, whole and upright."""
