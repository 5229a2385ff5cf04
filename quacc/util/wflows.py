"""The documented import path of ``make_runner``."""

from quacc.prefect import make_runner

__all__ = ["make_runner"]
