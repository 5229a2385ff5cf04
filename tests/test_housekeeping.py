"""What those who carry on with the project, or cite it, find."""

import tomllib
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version():
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    for name in ("cff-version", "message", "authors"):
        assert citation[name]
    assert citation["title"] == PROJECT["name"]
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_forms_of_issues():
    files = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(files) == 3
    for file in files:
        form = YAML(typ="safe").load(file)
        assert form["name"]
        assert form["description"]
        for field in form["body"]:
            assert field["type"] == "textarea"
            assert field["attributes"]["label"]


def test_every_file_that_is_named_is_there():
    for page in ("CONTRIBUTING.md", "SECURITY.md"):
        words = (ROOT / page).read_text().replace("`", " ").split()
        for word in words:
            name = word.strip('(),;:."')
            if name.startswith(("quacc/", "tests/", "docs/")) and "*" not in name:
                assert (ROOT / name).exists(), f"{page}: {name}"
