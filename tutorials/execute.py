"""Run the notebooks of this folder and keep their outputs: `.venv/bin/python tutorials/execute.py`.

Needs the extra `docs` (`make docs` installs it). Names of notebooks as arguments run only these. With
`--check` the notebooks stay as they are: it is only seen whether they run, and how long they take.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent


def execute(path: Path, *, keep: bool) -> None:
    """Run one notebook with a fresh kernel in an empty folder, and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    print(f"{path.name}: ran in {time.perf_counter() - started:.0f} s", flush=True)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # warnings name folders of the machine that they come from
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name} wrote to stderr, and was not kept:\n{output['text']}")
    if not keep:
        return
    # the version of Python would change the file with every machine
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    print(f"Written: {path}, {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    # tqdm warns in notebooks that ipywidgets are not installed
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    # where cdn-sc lies, for cells that use the shell
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    for notebook_path in [Path(name) for name in arguments] or sorted(FOLDER.glob("*.ipynb")):
        execute(notebook_path, keep=len(arguments) == len(sys.argv[1:]))
