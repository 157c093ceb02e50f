"""A network's attention: its layers, read without a trace, disturbed in some rows."""
