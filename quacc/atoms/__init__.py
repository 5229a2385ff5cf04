"""Turn what a user has into a structure, and structures into structures."""

from quacc.atoms.convert import as_atoms

__all__ = ["as_atoms"]
