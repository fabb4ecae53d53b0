import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
from cdn_sc._memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(3 << 20, np.uint8) for _ in range(5)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
keep_freed_memory()
faults()
print(plain, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_not_asked_for_anew():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    plain, kept = map(int, run.stdout.split())
    if plain < 10_000:  # of some 77,000 pages of 4 KB
        pytest.skip("this system's pages are large, or its C library is set to keep memory anyway")
    assert kept < plain / 10
