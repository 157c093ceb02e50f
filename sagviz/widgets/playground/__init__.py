"""`Playground`."""
