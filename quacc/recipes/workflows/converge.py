"""Convergence of a workflow's properties with one of its numerical parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from quacc.errors import ParameterError, plain, require_positive
from quacc.key import digest
from quacc.schemas import FlowResult


class Convergence(FlowResult):
    """How properties depend on a parameter; ``atoms`` is the last result's."""

    parameter: str
    values: list[Any]
    property: str
    """The one that the tolerance is about."""
    properties: list[dict[str, float]]
    """All numbers among the properties, one entry for each value."""
    tolerance: float | None
    enough: Any
    """The first value from which on all agree with the last within the tolerance; None if there
    is none but the last."""


def converge(
    flow: Callable[..., Any],
    parameter: str,
    values: Sequence[Any],
    *args: Any,
    of: str | None = None,
    tolerance: float | None = None,
    **kwargs: Any,
) -> Convergence:
    """Run a workflow with several values of a parameter, the most accurate last.

    >>> converge(elastic_flow, "strain", [0.02, 0.01, 0.005], "Cu", of="bulk_modulus")

    What was computed before, or is the same for several values, is not computed again where the
    workflow is a Prefect flow.

    Parameters
    ----------
    flow
        A workflow, serial or Prefect's.
    parameter
        Its name; ``static_kwargs.kpts`` is the keyword ``kpts`` in ``static_kwargs``.
    values
        The most accurate last, with which the others are compared.
    *args, **kwargs
        Of the workflow.
    of
        The property to look at; the first one that is a number, if none is named.
    tolerance
        In its unit.

    Raises
    ------
    InputError
        The workflow refuses a value, or has no such property.
    """
    if isinstance(values, str) or len(values) < 2:
        raise ParameterError("converge takes at least two values, the most accurate last.")
    if tolerance is not None:
        require_positive(tolerance=tolerance)
    values = plain(list(values))  # as of np.arange
    results, properties = [], []
    for value in values:
        results.append(flow(*args, **_set(kwargs, parameter, value)))
        properties.append(_numbers(results[-1]))
        wanted = next(iter(properties[0]), "") if of is None else of
        if wanted not in properties[-1]:  # told before the next, which takes longer
            raise ParameterError(
                f"{results[-1]['name']} with {parameter} = {value!r} has no number {wanted!r}; it "
                f"has {', '.join(properties[-1])}."
            )
    last = results[-1]
    known = [name for name in properties[-1] if all(name in one for one in properties)]
    jobs = list(dict.fromkeys(key for result in results for key in result["jobs"]))
    calculators = {one["fingerprint"]: one for result in results for one in result["calculators"]}
    parameters = {
        "flow": last["name"],
        "parameter": parameter,
        "values": list(values),
        "of": wanted,
        "tolerance": tolerance,
    }
    name = f"{last['name'].partition('.')[0]}.converge"
    enough = None
    if tolerance is not None:
        for value, number in reversed(list(zip(values, properties, strict=True))[:-1]):
            if abs(number[wanted] - properties[-1][wanted]) > tolerance:
                break
            enough = value
    return {
        "name": name,
        "formula": last["formula"],
        "key": digest([name, parameters, [result["key"] for result in results]]),
        "atoms": last["atoms"],
        "parameters": parameters,
        "units": {name: unit for name, unit in last["units"].items() if name in known},
        "jobs": jobs,
        "calculators": list(calculators.values()),
        "converged": all(result["converged"] for result in results),
        "warnings": list(dict.fromkeys(text for one in results for text in one["warnings"])),
        "parameter": parameter,
        "values": list(values),
        "property": wanted,
        "properties": [{name: one[name] for name in known} for one in properties],
        "tolerance": tolerance,
        "enough": enough,
    }


def _set(kwargs: Mapping[str, Any], parameter: str, value: Any) -> dict[str, Any]:
    name, dot, inner = parameter.partition(".")
    if not dot:
        return {**kwargs, name: value}
    return {**kwargs, name: _set(kwargs.get(name) or {}, inner, value)}


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in result.items()
        if isinstance(value, Real) and not isinstance(value, bool)
    }


def summarise(result: Convergence) -> str:
    unit = result["units"].get(result["property"], "")
    last = result["properties"][-1][result["property"]]
    text = f"{result['property']} = {last:.6g} {unit}".rstrip()
    if result["tolerance"] is not None:
        within = f"within {result['tolerance']:g} {unit}".rstrip()
        if result["enough"] is None:
            return f"{text}, NOT converged {within}"
        return f"{text}, converged {within} from {result['parameter']} = {result['enough']} on"
    return f"{text} at {result['parameter']} = {result['values'][-1]}"


def tabulate(result: Convergence) -> list[dict[str, Any]]:
    name = result["property"]
    last = result["properties"][-1][name]
    return [
        {
            result["parameter"]: str(value),
            f"{name} ({result['units'].get(name, '1')})": numbers[name],
            "difference": numbers[name] - last,
        }
        for value, numbers in zip(result["values"], result["properties"], strict=True)
    ]


def draw(result: Convergence, figure: Any) -> None:
    axes = figure.add_subplot()
    numbers = [one[result["property"]] for one in result["properties"]]
    values = result["values"]
    if all(isinstance(value, int | float) for value in values):
        axes.plot(values, numbers, "o-")
        axes.set_xlabel(result["parameter"])
    else:
        axes.plot(range(len(values)), numbers, "o-")
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlabel(result["parameter"])
    if result["tolerance"] is not None:
        axes.axhspan(
            numbers[-1] - result["tolerance"], numbers[-1] + result["tolerance"], alpha=0.2
        )
    unit = result["units"].get(result["property"])
    axes.set_ylabel(f"{result['property']}{f' ({unit})' if unit else ''}".replace("_", " "))
    axes.set_title(result["formula"])
