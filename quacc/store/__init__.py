"""Keep results: a database that is asked by key before anything is computed."""

from quacc.store.connection import RejectedError
from quacc.store.database import Store, UnknownKeyError
from quacc.store.queries import Summary
from quacc.store.writer import Writer

__all__ = ["RejectedError", "Store", "Summary", "UnknownKeyError", "Writer"]
