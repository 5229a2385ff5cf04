"""What workflows are written with."""
