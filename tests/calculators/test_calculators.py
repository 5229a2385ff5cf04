"""What quacc knows about each code."""

import pytest
from ase.build import bulk, molecule

from quacc.calculators import code_names, get_code
from quacc.errors import InputError, MissingProgramError, ParameterError, StructureError
from quacc.settings import change_settings


@pytest.mark.parametrize("name", code_names())
def test_every_code_says_what_it_is(name):
    code = get_code(name)
    assert code.name == name
    assert code.title
    assert code.install
    assert code.citation.startswith("@article{")
    assert "doi" in code.citation
    assert code.complete({}) == dict(code.defaults)


@pytest.mark.parametrize("name", ["emt", "lj"])
def test_in_memory_codes_are_always_usable(name):
    code = get_code(name)
    assert code.missing() is None
    assert "ase" in code.version()
    assert code.version() in code.fingerprint({})


def test_an_unknown_code():
    with pytest.raises(InputError, match=r"no calculator 'etm'. Did you mean 'emt'\?"):
        get_code("etm")


def test_an_unknown_keyword_is_named_with_the_nearest():
    with pytest.raises(ParameterError, match=r"'sigm'. Did you mean 'sigma'\?.*epsilon"):
        get_code("lj").complete({"sigm": 2.0})


def test_elements_without_parameters_are_named():
    with pytest.raises(StructureError, match="no parameters for Fe, Zn.*It has them for Ag, Al"):
        get_code("emt").check(bulk("FeZn", "cesiumchloride", a=3), {"asap_cutoff": False})


def test_emt_warns_of_elements_that_were_never_fitted():
    code = get_code("emt")
    assert code.check(bulk("Cu"), code.complete({})) == []
    (warning,) = code.check(molecule("H2O"), code.complete({}))
    assert "H, O" in warning
    assert "tests only" in warning


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epsilon": 0}, "epsilon must be a finite number above zero, not 0"),
        ({"sigma": float("nan")}, "sigma"),
        ({"rc": -1}, "rc"),
        ({"ro": 4.0}, "must be below the cutoff rc = 3.0"),
        ({"smooth": 1}, "smooth must be True or False"),
    ],
)
def test_lennard_jones_refuses(given, told):
    code = get_code("lj")
    with pytest.raises(ParameterError, match=told):
        code.check(bulk("Ar", "fcc", a=5), code.complete(given))


def test_a_missing_program_says_how_to_get_and_name_it():
    code = get_code("mopac")
    with change_settings(commands={"mopac": "/no/such/mopac --fast"}):
        with pytest.raises(MissingProgramError) as caught:
            code.check(molecule("H2O"), code.complete({}))
    for part in ("/no/such/mopac", "commands.mopac", "QUACC_COMMANDS__MOPAC", "apt-get install"):
        assert part in str(caught.value)


def test_a_command_for_no_code_is_an_error():
    with change_settings(commands={"mopca": "mopac"}):
        with pytest.raises(ParameterError, match=r"commands.mopca.*Did you mean 'mopac'\?"):
            get_code("mopac").start_command()


@pytest.mark.mopac
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "PM8"}, "Did you mean 'PM"),
        ({"relscf": 0}, "relscf"),
        ({"charge": 0.5}, "whole number"),
        ({"task": "1SCF"}, "no forces"),
    ],
)
def test_mopac_refuses(given, told):
    code = get_code("mopac")
    with pytest.raises(ParameterError, match=told):
        code.check(molecule("H2O"), code.complete(given))


@pytest.mark.mopac
def test_mopac_tells_its_version():
    assert get_code("mopac").version()[0].isdigit()
