"""Reports of the federation kinds."""
