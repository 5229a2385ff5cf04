"""Many items in few task runs."""
