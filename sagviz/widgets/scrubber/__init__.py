"""`Scrubber`."""
