"""Latency from packets: what is transmission, what is inference."""
