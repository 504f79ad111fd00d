"""Online learning: policies kept up to date, and alarms when providers change."""
