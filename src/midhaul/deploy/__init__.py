"""PLACE: what runs on which gateway, and how much uplink each analytic gets."""
