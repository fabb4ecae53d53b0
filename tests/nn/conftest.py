"""Lets the tests of this folder import its helper modules and the plain network of the benchmarks."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(1, str(HERE.parents[1] / "benchmarks"))
