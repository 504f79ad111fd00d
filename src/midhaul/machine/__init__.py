"""What this computer does for us: processes that end when they should, locks."""
