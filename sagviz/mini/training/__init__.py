"""From sprites to weights."""
