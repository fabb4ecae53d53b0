"""The count of deliberate faults, on a package of two lines."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).with_name("run.py")
    spec = importlib.util.spec_from_file_location("mutations_run", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutations_run"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutations_run"]


@pytest.fixture
def project(tmp_path):
    source = tmp_path / "src"
    (source / "little").mkdir(parents=True)
    (source / "little" / "__init__.py").write_text("def double(x):\n    return 2 * x\n\nUNUSED = 3\n")
    (tmp_path / "test_little.py").write_text(
        "from little import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "survives"),
    [
        ("2 * x", "3 * x", False),
        ("2 * x", "2 * (", False),
        ("2 * x", "x * 2", True),
        ("UNUSED = 3", "", True),
    ],
)
def test_what_survives(tool, project, old, new, survives):
    fault = tool.Fault("__init__.py", old, new, ("test_little.py",))
    path = project / "src" / "little" / "__init__.py"
    before = path.read_text()
    assert tool.survives(fault, project / "src", "little", project) == survives
    assert path.read_text() == before


def test_tests_that_are_not_there_are_no_success(tool, project):
    fault = tool.Fault("__init__.py", "2 * x", "3 * x", ("test_absent.py",))
    with pytest.raises(RuntimeError, match="pytest ended with 4"):
        tool.survives(fault, project / "src", "little", project)


def test_a_fault_has_one_place(tool, project):
    package = project / "src" / "little"
    ok, absent, twice, same = (
        tool.Fault("__init__.py", old, new, ())
        for old, new in (("2 * x", "x"), ("4 * x", "x"), ("x", "y"), ("2 * x", "2 * x"))
    )
    tool.check([ok], package)
    with pytest.raises(ValueError, match=r"__init__.py has 0 times, not once: '4 \* x'"):
        tool.check([ok, absent], package)
    with pytest.raises(ValueError, match="has 2 times, not once: 'x'"):
        tool.check([twice], package)
    with pytest.raises(ValueError, match="a fault changes something"):
        tool.check([same], package)
    with pytest.raises(ValueError, match=r"other\.py"):
        tool.check([tool.Fault("other.py", "x", "y", ())], package)


def test_every_listed_fault_has_its_place_and_tests(tool):
    faults = tool.read_faults(tool.FAULTS)
    tool.check(faults, tool.ROOT / "src" / "cdn_sc")
    assert len(faults) >= 60
    assert len({(fault.file, fault.old, fault.new) for fault in faults}) == len(faults)
    for fault in faults:
        assert all((tool.ROOT / test.split("::")[0]).exists() for test in fault.tests), fault
