"""Jobs and workflows. A calculator's folder has its jobs; the workflows are bound to them here."""

import sys

from quacc.recipes.binding import Finder

sys.meta_path.append(Finder())
