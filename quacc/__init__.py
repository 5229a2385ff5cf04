"""quacc: calculations in materials science, written once, run anywhere."""

__version__ = "0.1.0"
