"""Which calculator can be trusted for what: models × tasks, each pair one record."""
