"""Run the speed benchmarks one after another, each in a process of its own, and draw the picture.

    python benchmarks/all.py --output docs/results --figure docs/_static/speed.png

Made to end within 20 minutes on two cores with nothing else to do. `--only` chooses tables; `--quick` runs
all on sizes that take a minute or two together, to see that everything works: its figures mean nothing.
Prints how long each table took, and ends with 1 if one of them failed.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

TABLES: dict[str, str] = {
    "import_time": "",
    "fci": "",
    "arm_inputs": "",
    "startup": "--models default --repeats 2",
    "scaling": "--groups 1 20 2000 10000",
    "speed": "",
    "profile_prediction": "",
    "training_speed": "--steps 3 --plain-steps 1",
}
"""Script -> its arguments where they are not its defaults, in the order of running."""

QUICK: dict[str, str] = {
    "import_time": "--repeats 1",
    "fci": "--subsets 5 --cells 100 --repeats 50",
    "arm_inputs": "--genes 12 --cells 60 --subsets 4 --repeats 1 --plain-repeats 1",
    "startup": "--models default --caches cold --repeats 1",
    "scaling": "--cells 300 600 --groups 1 4 --genes 60",
    "speed": "--genes 8 12 --repeats 1 --plain-repeats 1",
    "profile_prediction": "--genes 8",
    "training_speed": "--genes 8 --steps 1 --plain-steps 1",
}

FIGURE = "speed_figure"


def command(table: str, output: Path, *, quick: bool) -> list[str]:
    """Arguments of the process that makes a table."""
    target = output / "import_time.md" if table == "import_time" else output
    chosen = QUICK[table] if quick else TABLES[table]
    return [*chosen.split(), "--output", str(target)]


def run(script: str, arguments: Sequence[str]) -> tuple[float, bool]:
    """Run a script of this folder; returns the seconds it took and whether it succeeded."""
    path = Path(__file__).with_name(f"{script}.py")
    print(f"== {script} {' '.join(arguments)}", flush=True)
    started = perf_counter()
    done = subprocess.run([sys.executable, str(path), *arguments], check=False)
    return perf_counter() - started, done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the tables that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(TABLES), help="tables to make (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the scripts")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--figure", type=Path, help="file for the picture, of the tables speed and scaling")
    options = parser.parse_args(arguments)
    chosen = [table for table in TABLES if options.only is None or table in options.only]
    runs = {table: run(table, command(table, options.output, quick=options.quick)) for table in chosen}
    if options.figure is not None:
        paths = ["--results", str(options.output), "--output", str(options.figure)]
        runs[FIGURE] = run(FIGURE, paths)
    for script, (seconds, succeeded) in runs.items():
        print(f"{script:<20}{seconds:8.1f} s{'' if succeeded else '   FAILED'}")
    print(f"{'in all':<20}{sum(seconds for seconds, _ in runs.values()):8.1f} s")
    if not all(succeeded for _, succeeded in runs.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
