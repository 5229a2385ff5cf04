"""What jobs and flows return: plain dictionaries, typed.

Energies are in eV, lengths in Å, forces in eV/Å, and stresses in eV/Å³ in ASE's Voigt
order (xx, yy, zz, yz, xz, xy). Values are numbers, texts, lists, dictionaries with text
keys, NumPy arrays and Atoms without a calculator, so that a result survives JSON (with
ASE's encoder) and pickle unchanged.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from ase import Atoms
from numpy.typing import NDArray


class CalculatorInfo(TypedDict):
    """Which code ran."""

    name: str
    version: str
    fingerprint: str
    """Hash of everything beside the parameters that decides the numbers."""


class Costs(TypedDict):
    """What a result took, in all attempts if it was stopped and went on from a checkpoint."""

    started: str
    """Start of the first attempt: ISO 8601, UTC."""
    attempts: int
    wall_seconds: float
    """Without what a killed attempt did after its last checkpoint; so the next."""
    cpu_seconds: float


class Provenance(Costs):
    """Where, when and with what a result was made; the last attempt's, if there were more."""

    quacc: str
    ase: str
    python: str
    host: str
    pid: int
    job_id: str | None
    """The batch job (Slurm, PBS, …), if any."""
    checksum: str
    """Checksum of ``results`` and the structure: numbers that were changed later do not pass for
    these."""
    model: NotRequired[dict[str, str]]
    """Of a trained potential: functional, training data and licence."""
    dispersion: NotRequired[dict[str, Any]]
    """Of the keyword ``dispersion``: the package, and its part of the energy (eV)."""
    environment: NotRequired[str]
    """The Python that the code lives in, where that is not this one."""
    options: NotRequired[dict[str, Any]]
    """Those of the code, such as a device, which decide no number."""


class Result(TypedDict):
    """What every job returns."""

    name: str
    """The recipe, such as ``emt.relax_job``."""
    formula: str
    """Reduced formula of a crystal, full formula of a molecule."""
    key: str
    """SHA-256 of what was asked for; equal keys mean equal calculations."""
    calculator: CalculatorInfo
    parameters: dict[str, Any]
    """Everything that was set, defaults included."""
    input_atoms: Atoms
    atoms: Atoms
    """The final structure."""
    results: dict[str, Any]
    """``energy``, ``forces``, ``stress``, ``magmoms``, … as ASE names them."""
    provenance: Provenance
    directory: str | None
    warnings: list[str]


class StaticResult(Result):
    """One energy, and its derivatives where the code has them."""


class OptResult(Result):
    """A relaxation."""

    converged: bool
    steps: int
    """Steps taken; the first force call does not count."""
    force_calls: int
    """Calculations of energy and forces; a line search may take several a step."""
    fmax: float
    """The threshold that was asked for (eV/Å)."""
    history: dict[str, NDArray[Any]]
    """``energy`` and ``fmax`` at every step, the start included: two (steps + 1,) arrays."""
    trajectory: NotRequired[list[Atoms]]
    """One frame a step, with ``info["energy"]`` and ``arrays["forces"]``."""


class NEBResult(Result):
    """A minimum-energy path; ``atoms`` and ``results`` are of its highest image."""

    converged: bool
    steps: int
    fmax: float
    """The threshold that was asked for (eV/Å)."""
    images: list[Atoms]
    """Both ends included."""
    energies: NDArray[Any]
    """Energies of the images (eV)."""
    path: NDArray[Any]
    """How far along the path each is (Å)."""
    barrier: float
    """Energy of the highest image above the initial structure (eV)."""
    reverse_barrier: float
    """Above the final one (eV)."""
    reaction_energy: float
    """eV."""
    history: dict[str, NDArray[Any]]
    """``barrier`` (highest less lowest image, eV) and ``fmax`` (eV/Å) at every step."""


class TSResult(Result):
    """A saddle point; ``atoms`` and ``results`` are of it."""

    converged: bool
    """To ``fmax``, with a negative curvature along the dimer."""
    steps: int
    force_calls: int
    """Calculations of energy and forces, those for Hessians included."""
    fmax: float
    """The threshold that was asked for (eV/Å)."""
    frequencies: NDArray[Any]
    """Wavenumbers (1/cm), as in :class:`VibResult`: of a transition state, only the first is
    imaginary, a negative number."""
    imaginary_modes: int
    """1 for a transition state."""
    mode: NDArray[Any]
    """(atoms, 3), of length 1: how atoms move in the lowest vibration, in the sense of the mode
    that was given."""
    hessian: NDArray[Any]
    """(3n, 3n) in eV/Å² for the n atoms that move."""
    history: dict[str, NDArray[Any]]
    """``energy`` (eV), ``fmax`` (eV/Å) and ``curvature`` (eV/Å²) along the dimer at every step,
    the start included."""


class MDResult(Result):
    """Molecular dynamics. ``atoms`` carries the final momenta."""

    steps: int
    history: dict[str, NDArray[Any]]
    """``time`` (fs), ``energy`` (potential, eV), ``kinetic_energy`` (eV), ``temperature``
    (K; without the motion of the whole) and, for a periodic cell, ``volume`` (Å³): (n,) arrays,
    the start included."""
    trajectory: NotRequired[list[Atoms]]


class VibResult(Result):
    """Harmonic vibrations and thermochemistry."""

    frequencies: NDArray[Any]
    """Wavenumbers (1/cm), ascending, imaginary ones as negative numbers; the translations
    and rotations of a free molecule are left out."""
    hessian: NDArray[Any]
    """(3n, 3n) in eV/Å² for the n atoms that move."""
    thermo: dict[str, Any]
    """``model``, ``temperature``, ``zero_point_energy``, ``entropy`` (eV/K) and, for an ideal gas,
    ``pressure``, ``geometry``, ``symmetry_number``, ``spin``, ``enthalpy``, ``gibbs_energy``; for
    harmonic and hindered, ``internal_energy``, ``helmholtz_energy``. Energies include the potential
    energy (eV); where the code's energy is an enthalpy at 298.15 K (``Code.energy_is_enthalpy``,
    MOPAC), only the difference to zero-point and thermal energy at 298.15 K is added, as in MOPAC's
    own THERMO (http://openmopac.net/manual/thermochemistry.html)."""


class BandsResult(Result):
    """Bands along a path."""

    eigenvalues: NDArray[Any]
    """(spins, k-points, bands), eV."""
    kpoints: NDArray[Any]
    """(k-points, 3), parts of the reciprocal vectors."""
    weights: NDArray[Any]
    """(k-points,); on a path, all alike."""
    fermi_energy: float
    """eV; of an insulator, the middle of the gap; of two, which a given magnetization makes, the
    higher."""
    band_gap: dict[str, Any]
    """On these k-points, see :func:`quacc.runners.electrons.band_gap`."""
    distances: NDArray[Any]
    """(k-points,), along the path (1/Å, with 2π)."""
    special_points: list[dict[str, Any]]
    """``distance`` and ``label`` of each."""


class DOSResult(Result):
    """Densities of states."""

    eigenvalues: NDArray[Any]
    kpoints: NDArray[Any]
    weights: NDArray[Any]
    fermi_energy: float
    band_gap: dict[str, Any]
    """All as in :class:`BandsResult`, on a mesh."""
    energies: NDArray[Any]
    """eV."""
    dos: NDArray[Any]
    """(spins, energies), 1/eV for the cell; of one spin, if there are two, else of both."""
    pdos: NotRequired[list[dict[str, Any]]]
    """Of each shell of each atom: ``atom``, ``shell``, ``orbital``, ``j`` and ``dos``; in spheres
    around the atoms, as with ABINIT, there are no shells (None)."""


class WorkFunctionResult(Result):
    """The potential through a slab, and what it takes to remove an electron on either side."""

    heights: NDArray[Any]
    """(n,), along the third cell vector (Å)."""
    potential: NDArray[Any]
    """(n,), the mean electrostatic potential of an electron in each plane (eV)."""
    fermi_energy: float
    """On the same scale (eV); where occupations are fixed, the highest occupied level."""
    vacuum_levels: list[float]
    """Below and above the slab (eV)."""
    work_functions: list[float]
    """The same, less the Fermi energy (eV)."""


class Phonons(TypedDict):
    """What force constants give. Imaginary frequencies are negative numbers."""

    supercell: list[int]
    """How often the cell is repeated along its vectors."""
    primitive: Atoms
    """The primitive cell, to which bands, densities and thermal properties belong."""
    force_constants: NDArray[Any]
    """(atoms of the primitive cell, atoms of the supercell, 3, 3) in eV/Å²."""
    sum_rule: float
    """By how much force constants broke the acoustic sum rule before it was imposed (eV/Å²)."""
    imaginary_modes: int
    """Modes of the mesh with a frequency below
    :data:`quacc.runners.lattice_dynamics.IMAGINARY`."""
    stable: bool
    """There are none."""
    lowest_frequency: float
    """Lowest frequency of the mesh and the bands (THz)."""
    highest_frequency: float
    bands: list[dict[str, Any]]
    """One for each stretch of the path: ``distances`` (n,) in 1/Å, ``frequencies``
    (n, modes) in THz, ``labels`` of both ends."""
    dos: dict[str, NDArray[Any]]
    """``frequencies`` (THz) and ``density`` (1/THz)."""
    thermal: dict[str, NDArray[Any]]
    """``temperatures`` (K), Helmholtz ``free_energy`` (eV), ``entropy`` and ``heat_capacity`` at
    constant volume (eV/K): harmonic, of a primitive cell."""


class DFPTResult(Result, Phonons):
    """Phonons by density functional perturbation theory."""

    gamma_frequencies: NDArray[Any]
    """(modes,), at Γ without the field of longitudinal modes (THz)."""
    acoustic_residual: float
    """The largest frequency of the acoustic modes at Γ, which is zero, before the sum rule was
    imposed (THz; absolute value)."""
    born_charges: NDArray[Any] | None
    """(atoms, 3, 3), Born effective charges, of a field's and a displacement's direction, with
    the sum rule imposed (e); None for a metal."""
    born_sum_rule: float | None
    """The largest element of their sum before (e)."""
    dielectric_tensor: NDArray[Any] | None
    """(3, 3), of the electrons, with the nuclei at rest; None for a metal."""


class FlowResult(TypedDict):
    """What every workflow returns, beside its properties."""

    name: str
    """Calculator and workflow, such as ``emt.eos_flow``."""
    formula: str
    key: str
    atoms: Atoms
    """The structure that the properties belong to."""
    parameters: dict[str, Any]
    units: dict[str, str]
    """Units of the properties that have one."""
    jobs: list[str]
    """Keys of all results that this one was made from."""
    calculators: list[CalculatorInfo]
    """Calculators of those results: name, version, fingerprint."""
    converged: bool
    """All of those results are."""
    warnings: list[str]


class Surface(TypedDict):
    """One surface of a crystal: a row of :class:`SlabsResult`."""

    miller: list[int]
    """Indices in the conventional cell."""
    termination: int
    """Counts the distinct terminations of these Miller indices from 0."""
    natoms: int
    area: float
    """Area of one side (Å²)."""
    energy_per_atom: float
    """eV."""
    surface_energy: float | None
    """J/m², mean of both sides; None if the slab's composition is not the bulk's."""
    lowest: float | None
    highest: float | None
    """Between these (J/m²) lies the energy of each side: the sides of an asymmetric slab share
    twice the mean in ways that are not known, but none costs less than nothing."""
    symmetric: bool
    """The two sides are equivalent, so that the mean is the energy of each."""
    converged: bool
    steps: int
    key: str


class SlabsResult(FlowResult):
    """The surfaces of a crystal; ``atoms`` is the bulk that the slabs were carved from."""

    surfaces: list[Surface]
    """By surface energy, lowest first."""
    wulff: dict[str, Any] | None
    """The equilibrium shape: ``surface_energy`` (J/m², mean over its area), ``anisotropy``,
    ``shape_factor``, and ``facets`` with ``miller``, ``area_fraction`` and ``surface_energy``.
    None where the surface energies are not known, or only of planes that enclose no volume."""
    bulk: Result
    slabs: list[Result]
    """The last result of each slab, in the order of ``surfaces``."""
