"""``python -m quacc.prefect.daskworker``: ``dask worker``, with quacc's configuration of Dask."""

from distributed.cli.dask_worker import main

from quacc.prefect.daskconfig import configure

if __name__ == "__main__":
    configure()
    main()
