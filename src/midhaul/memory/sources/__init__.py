"""Where samples come from: viewing sessions, recorded streams, tables."""
