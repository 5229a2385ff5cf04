"""What runs for longer than a flow: deployments, Prefect's server, and the Slurm pool."""
