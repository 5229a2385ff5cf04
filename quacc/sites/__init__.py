"""What a machine's queue wants."""
