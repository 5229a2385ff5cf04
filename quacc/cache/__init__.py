"""Which results are known, and the way of new ones into the database."""
