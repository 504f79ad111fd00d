"""Rates: how an uplink is divided among analytics."""
