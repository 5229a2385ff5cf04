"""Species defaults, for tests of FHI-aims's input.

Those of FHI-aims are under its licence and can't be shipped. These files have nothing but the lines
that say which element they are of, in the documented form; nothing can be computed with them.
"""

from pathlib import Path

from ase.data import atomic_numbers

_HEAD = """################################################################################
#
#  Of no calculation: this is here for tests of the input alone.
#
################################################################################
  species        {element}
#
    nucleus             {number}
    mass                1.0
#
"""


def write_species(root: Path, *folders: str, elements: str = "H C O Na Al Si Cl Fe Cu Au") -> Path:
    """Write heads of species defaults in the layout of FHI-aims's species_defaults."""
    for folder in folders or ("defaults_2020/intermediate", "defaults_2020/tight"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for element in elements.split():
            number = atomic_numbers[element]
            file = root / folder / f"{number:02}_{element}_default"
            file.write_text(_HEAD.format(element=element, number=number))
    return root
