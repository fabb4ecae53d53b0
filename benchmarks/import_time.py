"""Time `import cdn_sc` in fresh processes, and check that it loads none of the large libraries.

    python benchmarks/import_time.py --repeats 15

Prints a Markdown table; `--output FILE` writes it too, and a CSV file beside it. Ends with 1 if a large
library was loaded.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common import markdown

LARGE = ("torch", "scanpy", "anndata", "numba", "pandas", "numpy", "matplotlib", "causallearn")
CODE = """
import json, sys, time
start = time.perf_counter()
import cdn_sc
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {large!r} if name in sys.modules]]))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="fresh processes (default: 15)")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args(arguments)
    seconds, loaded = [], set()
    for _ in range(options.repeats + 1):
        run = subprocess.run(
            [sys.executable, "-c", CODE.format(large=LARGE)], capture_output=True, text=True, check=True
        )
        took, names = json.loads(run.stdout)
        seconds.append(took)
        loaded.update(names)
    # the first process reads the files from disk
    warm = 1e3 * np.array(seconds[1:])
    table = pd.DataFrame(
        [
            {
                "processes": len(warm),
                "median, ms": float(np.median(warm)),
                "slowest, ms": float(warm.max()),
                "first, ms": 1e3 * seconds[0],
                "large libraries loaded": ", ".join(sorted(loaded)) or "none",
            }
        ]
    )
    text = markdown(table)
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
        table.to_csv(options.output.with_suffix(".csv"), index=False, float_format="%.5g")
    if loaded:
        sys.exit(1)


if __name__ == "__main__":
    main()
