"""Foreign checkpoint layouts, one a file."""
