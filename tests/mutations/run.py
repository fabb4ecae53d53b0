"""Count deliberate faults that the tests do not notice.

    python tests/mutations/run.py                        # all faults
    python tests/mutations/run.py --file features/ nn/   # those in files whose path begins so
    python tests/mutations/run.py --check                # only that each fault still has its place

Each fault of `faults.toml` is written into a temporary copy of the source alone; its tests then run against
that copy. A fault is killed when one of them fails, and survives when all pass. The tests must pass without
any fault first. Ends with 1 if a fault survived, and with an error where a fault has lost its place.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).with_name("faults.toml")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
TIMEOUT = 600
# pytest's exit codes: all passed; some failed; interrupted, as by a module that cannot be imported
PASSED, NOTICED = 0, (1, 2)


@dataclass(frozen=True)
class Fault:
    """A text of one file of the package, what it becomes, and the tests that should notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """Return the text with the fault; ValueError where its place is not there exactly once."""
        places = text.count(self.old)
        if places != 1:
            raise ValueError(f"{self.file} has {places} times, not once: {self.old!r}")
        if self.old == self.new:
            raise ValueError(f"{self.file}: a fault changes something, {self.old!r} does not")
        return text.replace(self.old, self.new)

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())}  ->  {' '.join(self.new.split()) or '(nothing)'}"


def read_faults(path: Path, beginnings: Sequence[str] = ("",)) -> list[Fault]:
    """Read the faults in files whose path begins in one of these ways."""
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    faults = [Fault(one["file"], one["old"], one["new"], tuple(one["tests"])) for one in listed]
    return [fault for fault in faults if fault.file.startswith(tuple(beginnings))]


def check(faults: Sequence[Fault], package: Path) -> None:
    """Raise ValueError, with all of them, where faults have lost their place in a package."""
    lost = []
    for fault in faults:
        try:
            fault.applied((package / fault.file).read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            lost.append(str(error))
    if lost:
        raise ValueError("\n".join(lost))


def run_tests(tests: Sequence[str], source: Path, root: Path = ROOT) -> tuple[int, str]:
    """Run tests against a source folder; returns pytest's exit code and what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    # no bytecode, which is told from a changed file by the second and the size alone
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return NOTICED[0], f"not done after {TIMEOUT} seconds"
    return done.returncode, done.stdout + done.stderr


def survives(fault: Fault, source: Path, package: str = "cdn_sc", root: Path = ROOT) -> bool:
    """Whether all tests of a fault pass with it in a copy of the source, which is put back afterwards."""
    path = source / package / fault.file
    text = path.read_text(encoding="utf-8")
    path.write_text(fault.applied(text), encoding="utf-8")
    try:
        code, printed = run_tests(fault.tests, source, root)
    finally:
        path.write_text(text, encoding="utf-8")
    # below 0: a signal ended the process, as where compiled code goes beyond its arrays
    if code != PASSED and code not in NOTICED and code >= 0:
        raise RuntimeError(f"pytest ended with {code} for {fault}\n{printed}")
    return code == PASSED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=Path, default=FAULTS, help="TOML file with the faults")
    parser.add_argument("--file", nargs="+", default=[""], help="only faults in files that begin so")
    parser.add_argument("--check", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    faults = read_faults(options.faults, options.file)
    check(faults, ROOT / "src" / "cdn_sc")
    print(f"{len(faults)} faults, each in its place", flush=True)
    if options.check:
        return 0
    survived: list[Fault] = []
    with TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        code, printed = run_tests(sorted({test for fault in faults for test in fault.tests}), source)
        if code != PASSED:
            raise RuntimeError(f"the tests fail without any fault:\n{printed}")
        for number, fault in enumerate(faults, 1):
            if survives(fault, source):
                survived.append(fault)
            print(f"{number:3d} {'SURVIVED' if fault in survived else 'killed  '} {fault}", flush=True)
    print(f"\n{len(faults) - len(survived)} of {len(faults)} killed, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
