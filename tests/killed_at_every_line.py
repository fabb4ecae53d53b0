"""Kill a process before each line of a piece of work that writes files, and look what is left.

Run as a script, so that it forks a process without threads. Each work is prepared anew in a folder of its
own, done by a child that kills itself before the nth line of our code, for n = 1, 2, ... until it gets to the
end, and then done again without a kill.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path

from cdn_sc import _files

SOURCE = Path(_files.__file__).parent


def load(name):
    """A module by itself, without the heavy package around it."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, SOURCE / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


records, log = load("metrics/records.py"), load("train/log.py")
ROWS = [(step, 1, 0.5, 0.1, float("nan"), 0.2, 0.3) for step in (2, 4, 6)]


class File:
    """One file is replaced by another: old or new."""

    def prepare(self, folder):
        (folder / "a.txt").write_text("old" * 1000)

    def work(self, folder):
        _files.write_text(folder / "a.txt", "new" * 1000)

    def state(self, folder):
        return (folder / "a.txt").read_text()[::1000]


class Folder:
    """A folder is replaced by another: old, absent or new."""

    def prepare(self, folder):
        (folder / "a.zarr").mkdir()
        (folder / "a.zarr" / "old").write_text("old")

    def work(self, folder):
        with _files.replacing(folder / "a.zarr") as (part,):
            part.mkdir()
            (part / "new").write_text("new")

    def state(self, folder):
        there = folder / "a.zarr"
        return sorted(path.name for path in there.iterdir()) if there.exists() else "absent"


class Records:
    """A pair is added to those scored before: one more or not."""

    def prepare(self, folder):
        kept = records.Records(folder / "scored.jsonl", {"a": 1})
        kept.add([{"pair": 0, "x": [0.1] * 20}])
        kept.close()
        with (folder / "scored.jsonl").open("a") as file:
            file.write('{"pair": 1')

    def work(self, folder):
        kept = records.Records(folder / "scored.jsonl", {"a": 1})
        if kept.n_pairs < 2:
            kept.add([{"pair": 1, "x": [0.2] * 20}])
        kept.close()

    def state(self, folder):
        kept = records.Records(folder / "scored.jsonl", {"a": 1})
        kept.close()
        assert kept.rows[0] == {"pair": 0, "x": [0.1] * 20}
        return kept.n_pairs


class Log:
    """The log of a run that goes on is cut to its checkpoint: all rows up to it are there."""

    def prepare(self, folder):
        for row in ROWS:
            log.append_row(folder / "log.csv", row)

    def work(self, folder):
        log.truncate_log(folder / "log.csv", 4)

    def state(self, folder):
        steps = log.read_log(folder / "log.csv")["step"]
        assert steps[:2] == [2, 4]
        return len(steps)


def kill_before_line(number):
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if not frame.f_code.co_filename.startswith(str(SOURCE)):
            return None
        if event == "line":
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def main(name, folder):
    work = globals()[name]()
    states, number = [], 0
    while True:
        number += 1
        here = Path(folder) / str(number)
        here.mkdir()
        work.prepare(here)
        child = os.fork()
        if not child:
            kill_before_line(number)
            work.work(here)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        states.append(work.state(here))
        for stray in here.glob("*.tmp"):  # one without a lock is cleared when it has a certain age
            os.utime(stray, (0, 0))
        work.work(here)
        states.append(work.state(here))
        _files.write_text(here / "next", "")  # whoever writes next into this folder clears it
        left = [path.name for path in here.iterdir() if path.name.endswith(".tmp")]
        assert not left, (number, left)
        if not os.WIFSIGNALED(status):
            break
    assert number > 10, number
    found = []
    for state in states:
        if state not in found:
            found.append(state)
    sys.stdout.write(f"{found} {states[-1] == states[-2]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
