"""What a person can apply: manifests, scripts and rate maps of a plan."""
