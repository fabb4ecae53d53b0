"""The lowest versions that are declared are those that the tests are run with."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def pins(name):
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {
        pin.name: Version(next(iter(pin.specifier)).version) for pin in map(Requirement, filter(None, lines))
    }


def floors():
    """Lowest declared version of every dependency that has one, also of those that the tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["test"]])
    return {
        wanted.name: Version(limit.version)
        for wanted in declared
        for limit in wanted.specifier
        if limit.operator == ">="
    }


def test_every_declared_floor_is_tried_and_nothing_else():
    lowest = pins("constraints-lowest.txt")
    assert set(lowest) == set(floors())
    assert {name: lowest[name] for name in lowest if name != "torch"} == {
        name: floor for name, floor in floors().items() if name != "torch"
    }


def test_torch_is_the_same_everywhere():
    pinned = pins("constraints.txt")["torch"]
    assert pins("constraints-lowest.txt")["torch"] == pinned >= floors()["torch"]


def test_every_dependency_has_a_floor():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(floors()) >= {Requirement(line).name for line in project["dependencies"]}


@pytest.mark.parametrize("name", ["anndata", "numpy", "pandas", "scanpy", "typer"])
def test_these_versions_are_not_below_the_floor(name):
    from importlib.metadata import version

    assert Version(version(name)) >= floors()[name]
