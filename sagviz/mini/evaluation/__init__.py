"""How good the miniature is, measured."""
