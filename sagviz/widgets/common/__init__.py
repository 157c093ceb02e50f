"""What all widgets are built of."""
