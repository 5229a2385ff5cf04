"""Dask workers and batch jobs; nothing here knows Prefect."""
