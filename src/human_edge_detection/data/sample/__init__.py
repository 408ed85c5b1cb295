"""The drawn sample set: people with exact masks, for a first run without downloads."""
