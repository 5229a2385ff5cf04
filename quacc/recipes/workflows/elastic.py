"""Elastic constants: the full tensor, averaged moduli, anisotropy, mechanical stability."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike, as_pymatgen
from quacc.atoms.modify import in_cell
from quacc.errors import (
    ParameterError,
    require_bool,
    require_count,
    require_positive,
)
from quacc.extras import check_free
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.schemas import FlowResult

UNITS = {
    "elastic_tensor": "GPa, Voigt order xx yy zz yz xz xy",
    "compliance_tensor": "1/GPa, Voigt order",
    "bulk_modulus": "GPa",
    "shear_modulus": "GPa",
    "youngs_modulus": "GPa",
    "bulk_modulus_voigt": "GPa",
    "bulk_modulus_reuss": "GPa",
    "shear_modulus_voigt": "GPa",
    "shear_modulus_reuss": "GPa",
    "eigenvalues": "GPa",
    "asymmetry": "GPa",
    "residual_stress": "GPa",
}
REFERENCES = ("deJong2015", "Hill1952", "Ranganathan2008", "Mouhat2014", "Ong2013")

_STRESSFUL = 0.5
"""GPa: with more of it, the constants are not those of a relaxed crystal."""

_LEFT = 0.1
"""eV/Å that strained cells may keep, for a strain of one: some per cent of what strain causes."""


class ElasticResult(FlowResult):
    """Elastic constants of a crystal in the axes of ``atoms``."""

    elastic_tensor: NDArray[Any]
    """(6, 6) in GPa, with the symmetry of the crystal."""
    compliance_tensor: NDArray[Any]
    """(6, 6) in 1/GPa."""
    bulk_modulus: float
    """Voigt-Reuss-Hill average (GPa); so the next two."""
    shear_modulus: float
    youngs_modulus: float
    poisson_ratio: float
    bulk_modulus_voigt: float
    bulk_modulus_reuss: float
    shear_modulus_voigt: float
    shear_modulus_reuss: float
    universal_anisotropy: float
    """Zero for an isotropic crystal."""
    stable: bool
    """Born's criterion: all eigenvalues of the tensor are positive."""
    eigenvalues: NDArray[Any]
    """(6,) of the tensor in Mandel's notation (GPa), ascending."""
    residual_stress: float
    """The largest component in the unstrained crystal (GPa)."""
    asymmetry: float
    """What the symmetry of the crystal changed at most in the tensor (GPa): an error estimate."""


@workflow
def elastic_flow(
    atoms: StructureLike,
    relax_job: Job | None = "relax_job",
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    strain: float = 0.005,
    points: int = 2,
    relax_positions: bool = True,
    from_energy: bool = False,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> ElasticResult:
    """Compute the elastic tensor from stresses, or energies, of strained cells.

    Second Piola-Kirchhoff stresses at small Green-Lagrange strains are fitted by least squares
    (de Jong et al., Sci. Data 2, 150009 (2015)); strains that symmetry makes equal are computed
    once. Averages are Voigt's, Reuss' and Hill's (Hill, Proc. Phys. Soc. A 65, 349 (1952)),
    anisotropy is Ranganathan and Ostoja-Starzewski's (Phys. Rev. Lett. 101, 055504 (2008)), and
    stability Born's for all crystals (Mouhat and Coudert, Phys. Rev. B 90, 224104 (2014)).

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is.
    relax_job
        Relaxes the crystal, and the positions at each strain; None takes all as they are.
    static_job
        Computes energy and stress of every strained cell.
    strain
        The largest: Green-Lagrange, as a part of one.
    points
        Strains of each kind on either side of zero.
    relax_positions
        Relax the atoms at each strain; without, the tensor is that of clamped ions.
    from_energy
        Use energies, for a code without stresses; takes more calculations.
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"steps": 500}``. Without ``fmax``, atoms of strained cells
        relax to a tenth of the strain (eV/Å), since the forces that a strain causes are small.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some strains failed; carries the results of the others.
    """
    require_positive(strain=strain)
    require_count(points=points)
    require_bool(relax_positions=relax_positions, from_energy=from_energy)
    if strain > 0.1:
        raise ParameterError(f"strain = {strain} is far beyond linear elasticity; take 0.01 or so.")
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs)
    given = check_start(atoms, relax_job, relax_kwargs)
    check_free(given, "an elastic tensor", symmetry=False)
    loosest = _LEFT * float(strain)
    tight = {"fmax": loosest, **relax_kwargs}
    steps = (
        (relax_job, tight) if relax_positions and relax_job is not None else None,
        (static_job, static_kwargs),
    )
    calculation = check_chain(given, *steps)[-1]
    if not from_energy and calculation and "stress" not in calculation.code.properties:
        raise _no_stress(calculation.code.title)
    reference, jobs = start(atoms, relax_job, relax_kwargs)

    amounts = [sign * strain * (i + 1) / points for i in range(points) for sign in (1, -1)]
    strains = _of_energies(amounts) if from_energy else _of_stresses(amounts)
    rotations = _rotations(reference)
    distinct, origin = _reduce(strains, rotations)
    zero = np.zeros((3, 3))
    cells = [reference.cell.array @ _deformation(one).T for one in [zero, *distinct]]
    chains = [submit_chain(in_cell(reference, cell), *steps) for cell in cells]
    formula = reference.get_chemical_formula()
    names = [f"{formula} strained by {_words(one)}" for one in [zero, *distinct]]
    results = gather(chains, names, "elastic_flow", jobs)
    ends = [chain[-1] for chain in results]

    if from_energy:
        energies = np.array([end["results"]["energy"] for end in ends])
        tensor, residual = elastic_constants_of_energies(
            [zero, *strains],
            [energies[0], *energies[[i + 1 for i, _ in origin]]],
            reference.get_volume(),
        )
    else:
        stresses = [_stress(end, reference) for end in ends]
        turned = [
            rotations[rotation] @ stresses[number + 1] @ rotations[rotation].T
            for number, rotation in origin
        ]
        tensor, residual = elastic_constants([zero, *strains], [stresses[0], *turned])
    properties = moduli(tensor, reference) | {"residual_stress": residual}
    warnings = []
    if residual > _STRESSFUL:
        warnings.append(
            f"The crystal is under a stress of {residual:.2f} GPa: these are not the elastic "
            "constants at zero pressure. Relax the cell first, with a smaller fmax."
        )
    left = max((_last_force(chain[0]) for chain in results if len(chain) == 2), default=0.0)
    if left > 1.01 * loosest:
        warnings.append(
            f"The atoms of strained cells were left with forces of {left:.2g} eV/Å: the constants "
            "lack a part of what their relaxation softens. Take "
            f"relax_kwargs={{'fmax': {loosest:.1g}}} or less, and enough steps."
        )
    if not properties["stable"]:
        warnings.append(
            "The crystal is mechanically unstable: its elastic tensor has the eigenvalue "
            f"{properties['eigenvalues'][0]:.3g} GPa."
        )
    parameters = {
        "strain": float(strain),
        "points": points,
        "relax_positions": relax_positions,
        "from_energy": from_energy,
        "relax_kwargs": relax_kwargs,
        "static_kwargs": static_kwargs,
    }
    jobs += [result for chain in results for result in chain]
    result: ElasticResult = finish(
        "elastic_flow", reference, jobs, parameters, properties, UNITS, warnings
    )
    return result


_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # Voigt's order


def _unit(voigt: int) -> NDArray[Any]:
    """Return the strain whose Voigt component (twice the tensor's for shear) is one."""
    i, j = _PAIRS[voigt]
    matrix = np.zeros((3, 3))
    matrix[i, j] = matrix[j, i] = 1.0 if i == j else 0.5
    return matrix


def _of_stresses(amounts: Sequence[float]) -> list[NDArray[Any]]:
    return [amount * _unit(voigt) for voigt in range(6) for amount in amounts]


def _of_energies(amounts: Sequence[float]) -> list[NDArray[Any]]:
    """Return strains of one and of two components, which decide all 21 constants."""
    pairs = [_unit(i) + _unit(j) for i, j in itertools.combinations(range(6), 2)]
    return _of_stresses(amounts) + [amount * pair for pair in pairs for amount in amounts]


def _rotations(atoms: Atoms) -> list[NDArray[Any]]:
    """Return the point group of a crystal, as Cartesian matrices; the identity first."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell)
    moments = atoms.get_initial_magnetic_moments()
    if moments.any():
        if moments.ndim > 1:
            return [np.eye(3)]  # vectors turn, too: nothing is taken for equal
        # Atoms of one element with other moments are of another kind: other elements stand for it.
        kinds = np.column_stack([plain.numbers, np.round(moments, 2)])
        which = np.unique(kinds, axis=0, return_inverse=True)[1].ravel()
        plain.numbers = which + atomic_numbers["K"]
    found = SpacegroupAnalyzer(as_pymatgen(plain), symprec=1e-3)
    group = [one.rotation_matrix for one in found.get_point_group_operations(cartesian=True)]
    return [np.eye(3), *group]


def _last_force(result: Mapping[str, Any]) -> float:
    """Return the largest force (eV/Å) that a relaxation left; zero if its job does not tell."""
    forces = (result.get("history") or {}).get("fmax", [0.0])
    return float(forces[-1])


def _reduce(
    strains: Sequence[NDArray[Any]], rotations: Sequence[NDArray[Any]]
) -> tuple[list[NDArray[Any]], list[tuple[int, int]]]:
    """Return the distinct strains; and for each strain, of which one and by which rotation."""
    distinct: list[NDArray[Any]] = []
    origin = []
    for strain in strains:
        for number, rotation in itertools.product(range(len(distinct)), range(len(rotations))):
            turned = rotations[rotation] @ distinct[number] @ rotations[rotation].T
            if np.allclose(turned, strain, atol=1e-3 * np.abs(strain).max(), rtol=0):
                origin.append((number, rotation))
                break
        else:
            distinct.append(strain)
            origin.append((len(distinct) - 1, 0))
    return distinct, origin


def _deformation(strain: NDArray[Any]) -> NDArray[Any]:
    """Return the symmetric deformation gradient F with this Green-Lagrange strain."""
    values, vectors = np.linalg.eigh(np.eye(3) + 2 * strain)  # F² = 1 + 2η
    return vectors @ np.diag(np.sqrt(values)) @ vectors.T


def _stress(result: Mapping[str, Any], reference: Atoms) -> NDArray[Any]:
    """Return the second Piola-Kirchhoff stress (GPa)."""
    if "stress" not in result["results"]:
        raise _no_stress(result["calculator"]["name"])
    cauchy = voigt_6_to_full_3x3_stress(np.array(result["results"]["stress"])) / units.GPa
    gradient = np.linalg.solve(reference.cell.array, result["atoms"].cell.array).T
    inverse = np.linalg.inv(gradient)
    return np.linalg.det(gradient) * inverse @ cauchy @ inverse.T


def _no_stress(code: str) -> ParameterError:
    return ParameterError(
        f"{code} gives no stress, so that elastic constants have to come from energies: pass "
        "from_energy=True."
    )


def _voigt(strain: NDArray[Any]) -> NDArray[Any]:
    """Return the six strains of Voigt, shears twice the tensor's."""
    return np.array([strain[i, j] * (1 if i == j else 2) for i, j in _PAIRS])


def elastic_constants(
    strains: Sequence[NDArray[Any]], stresses: Sequence[NDArray[Any]]
) -> tuple[NDArray[Any], float]:
    """Return elastic constants, fitted to stresses as S = S0 + C η by least squares.

    Parameters
    ----------
    strains
        (3, 3) arrays of Green-Lagrange strains η.
    stresses
        (3, 3) arrays of second Piola-Kirchhoff stresses S (GPa); the first at no strain.

    Returns
    -------
    C (GPa), a (6, 6) array in Voigt's order, as fitted: not symmetrised; and the largest component
    of the stress at no strain (GPa).
    """
    knowns = np.array([[1.0, *_voigt(strain)] for strain in strains])
    values = np.array([[stress[i, j] for i, j in _PAIRS] for stress in stresses])
    found = np.linalg.lstsq(knowns, values, rcond=None)[0]
    return found[1:].T, float(np.abs(stresses[0]).max())


def elastic_constants_of_energies(
    strains: Sequence[NDArray[Any]], energies: Sequence[float], volume: float
) -> tuple[NDArray[Any], float]:
    """Return elastic constants, fitted to energies as E / V = E0 + S0 η + η C η / 2.

    Parameters
    ----------
    strains
        (3, 3) arrays of Green-Lagrange strains η.
    energies
        One for each (eV).
    volume
        Without strain (Å³).

    Returns
    -------
    C (GPa), a (6, 6) array in Voigt's order; and the largest component of S0 (GPa).
    """
    upper = list(itertools.combinations_with_replacement(range(6), 2))
    rows = []
    for strain in strains:
        eta = _voigt(strain)
        quadratic = [eta[i] * eta[j] * (0.5 if i == j else 1) for i, j in upper]
        rows.append([1.0, *eta, *quadratic])
    density = (np.array(energies) - energies[0]) / volume / units.GPa
    found = np.linalg.lstsq(np.array(rows), density, rcond=None)[0]
    tensor = np.zeros((6, 6))
    for (i, j), value in zip(upper, found[7:], strict=True):
        tensor[i, j] = tensor[j, i] = value
    return tensor, float(np.abs(found[1:7]).max())


def moduli(raw: NDArray[Any], atoms: Atoms) -> dict[str, Any]:
    """Return elastic constants with the crystal's symmetry, and what follows from them.

    Parameters
    ----------
    raw
        (6, 6) elastic constants (GPa) in Voigt's order, as fitted.
    atoms
        The crystal, in whose Cartesian axes they are.

    Returns
    -------
    As in :class:`ElasticResult`; ``asymmetry`` (GPa) is how far the raw ones were from it.
    """
    from pymatgen.core.elasticity.elastic import ElasticTensor

    full = np.array(ElasticTensor.from_voigt((raw + raw.T) / 2))
    group = _rotations(atoms)[1:]
    turned = [np.einsum("ai,bj,ck,dl,ijkl", r, r, r, r, full) for r in group]
    elastic = ElasticTensor(np.mean(turned, axis=0))
    tensor = np.array(elastic.voigt)
    mandel = np.diag([1, 1, 1, *[np.sqrt(2)] * 3])
    eigenvalues = np.linalg.eigvalsh(mandel @ tensor @ mandel)
    stable = bool(eigenvalues[0] > 0)
    compliance = np.linalg.inv(tensor)
    return {
        "elastic_tensor": tensor,
        "compliance_tensor": compliance,
        "bulk_modulus": float(elastic.k_vrh),
        "shear_modulus": float(elastic.g_vrh),
        "youngs_modulus": float(elastic.y_mod) / 1e9,
        "poisson_ratio": float(elastic.homogeneous_poisson),
        "bulk_modulus_voigt": float(elastic.k_voigt),
        "bulk_modulus_reuss": float(elastic.k_reuss),
        "shear_modulus_voigt": float(elastic.g_voigt),
        "shear_modulus_reuss": float(elastic.g_reuss),
        "universal_anisotropy": float(elastic.universal_anisotropy),
        "stable": stable,
        "eigenvalues": eigenvalues,
        "asymmetry": float(np.abs(raw - tensor).max()),
    }


def _words(strain: NDArray[Any]) -> str:
    parts = [
        f"{value:+.4f} {name}"
        for value, name in zip(_voigt(strain), ("xx", "yy", "zz", "yz", "xz", "xy"), strict=True)
        if value
    ]
    return ", ".join(parts) or "nothing"


def summarise(result: ElasticResult) -> str:
    return (
        f"bulk modulus {result['bulk_modulus']:.1f} GPa, shear modulus "
        f"{result['shear_modulus']:.1f} GPa, Poisson's ratio {result['poisson_ratio']:.3f}, "
        f"mechanically {'stable' if result['stable'] else 'UNSTABLE'}"
    )


def tabulate(result: ElasticResult) -> list[dict[str, Any]]:
    axes = ("xx", "yy", "zz", "yz", "xz", "xy")
    tensor = np.array(result["elastic_tensor"])
    tensor[np.abs(tensor) < 1e-9 * np.abs(tensor).max()] = 0.0  # rounding errors
    return [
        {"C (GPa)": row, **dict(zip(axes, map(float, values), strict=True))}
        for row, values in zip(axes, tensor, strict=True)
    ]


def draw(result: ElasticResult, figure: Any) -> None:
    """Draw Young's modulus against direction, in the three planes of the axes.

    Planes whose curves differ by less than 1 % share one, as those of cubic crystals do.
    """
    from matplotlib.ticker import MaxNLocator
    from pymatgen.core.elasticity.elastic import ElasticTensor

    compliance = ElasticTensor.from_voigt(np.array(result["elastic_tensor"])).compliance_tensor
    angles = np.linspace(0, 2 * np.pi, 181)
    axes = figure.add_subplot(projection="polar")
    curves: dict[str, list[float]] = {}
    for name, (i, j) in {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}.items():
        directions = np.zeros((len(angles), 3))
        directions[:, i], directions[:, j] = np.cos(angles), np.sin(angles)
        values = [1 / float(compliance.einsum_sequence([one] * 4)) for one in directions]
        same = [one for one, other in curves.items() if np.allclose(values, other, rtol=0.01)]
        names = f"{same[0]}, {name}" if same else name
        curves[names] = curves.pop(same[0]) if same else values
    for (names, values), line in zip(curves.items(), ("-", "--", ":"), strict=False):
        axes.plot(angles, values, line, label=names)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_rlabel_position(22.5)
    axes.set_title(f"{result['formula']}: Young's modulus (GPa)")
    axes.legend(title="plane", loc="lower left", bbox_to_anchor=(0.95, 0.85))
