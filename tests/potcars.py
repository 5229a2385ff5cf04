"""Heads of POTCARs, for tests of VASP's input.

POTCARs are under VASP's licence and can't be shipped. These files have nothing but the lines that
ASE and quacc read, of the documented form; nothing can be computed with them.
"""

from pathlib import Path

_HEAD = """  PAW_{family} {name} 01Jan2001
   {electrons:.14f}
 parameters from PSCTR are:
   VRHFIN ={element}: of no atom
   LEXCH  = {lexch}
   EATOM  =   100.0000 eV,    7.0000 Ry

   TITEL  = PAW_{family} {name} 01Jan2001
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        1    unscreen: 0-lin 1-nonlin 2-no
   RPACOR =     .000    partial core radius
   POMASS =   10.000; ZVAL   =   {electrons:.3f}    mass and valenz
   RCORE  =    1.500    outmost cutoff radius
   ENMAX  =  {enmax:.3f}; ENMIN  =  100.000 eV
"""

ELECTRONS = {
    "Fe": 8,
    "Fe_pv": 14,
    "O": 6,
    "Si": 4,
    "Al": 3,
    "H": 1,
    "Cu": 11,
    "Cu_pv": 17,
    "N": 5,
    "Na_pv": 7,
    "Cl": 7,
    "C": 4,
    "Ni": 10,
    "Ni_pv": 16,
    "Li_sv": 3,
    "Co": 9,
}


def write_potcars(root: Path, version: str = "", family: str = "PBE", **changes: object) -> Path:
    """Write heads of POTCARs in the layout of VASP_PP_PATH, and return the folder."""
    plain = "potpaw" if family == "LDA" else f"potpaw_{family}"
    folder = root / (f"potpaw_{family}.{version}" if version else plain)
    for name, electrons in ELECTRONS.items():
        values = {
            "name": name,
            "element": name.split("_")[0],
            "electrons": electrons,
            "enmax": 400.0,
            "family": family,
            "lexch": "CA" if family == "LDA" else "PE",
        }
        (folder / name).mkdir(parents=True)
        (folder / name / "POTCAR").write_text(_HEAD.format(**values | changes))
    return root
