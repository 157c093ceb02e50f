"""`Microscope`."""
