"""QoS curves: what quality an analytic has at which upload rate."""
