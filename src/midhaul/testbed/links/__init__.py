"""Links: shaped connections on this machine, measured before they count."""
