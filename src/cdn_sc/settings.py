"""Settings of the package: `cdn_sc.settings`, in the manner of `scanpy.settings`."""

import logging
import os
import re
import sys
from os import PathLike
from pathlib import Path

from cdn_sc._logging import logger
from cdn_sc.errors import InputError

__all__ = ["Settings", "settings"]

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
_VERBOSITIES = tuple(_LEVELS)
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class _Console(logging.StreamHandler):
    """Writes to the current `sys.stderr`, unless the application has set up logging itself.

    Records also travel on to the root logger, so an application that configured logging gets each
    line once, where it wants it; everybody else gets it on the terminal. No global configuration is
    touched for that.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers and sys.stderr is not None:
            self.stream = sys.stderr
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave out what cannot be written (full disk, closed stream): the work that it tells of goes on."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


class Settings:
    """Verbosity, data set folder, device and number of jobs, checked when they are set.

    The values are defaults: an argument of a function wins over them.
    """

    def __init__(self) -> None:
        if not any(isinstance(handler, _Console) for handler in logger.handlers):
            console = _Console()
            console.setFormatter(logging.Formatter("%(message)s"))
            logger.addHandler(console)
        self._dataset_dir: Path | None = None
        self.verbosity = "info"
        self.device = "auto"
        self.n_jobs = None

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            known = ", ".join(("verbosity", "dataset_dir", "device", "n_jobs"))
            raise AttributeError(f"cdn_sc.settings has no setting {name!r}. There are: {known}.")
        super().__setattr__(name, value)

    @property
    def verbosity(self) -> str:
        """How much is told: `error`, `warning`, `info` (the default) or `debug`, or their numbers 0 to 3.

        Sets the level of the logger `cdn_sc` alone. Progress bars show from `info` on.
        """
        return self._verbosity

    @verbosity.setter
    def verbosity(self, value: str | int) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_VERBOSITIES):
            value = _VERBOSITIES[value]
        if not isinstance(value, str) or value.lower() not in _LEVELS:
            raise InputError(
                f"settings.verbosity is one of {', '.join(_VERBOSITIES)} (or 0 to {len(_VERBOSITIES) - 1}), "
                f"not {value!r}."
            )
        self._verbosity = value.lower()
        logger.setLevel(_LEVELS[self._verbosity])

    @property
    def show_progress(self) -> bool:
        """Whether progress bars show where a function is not told: from verbosity `info` on."""
        return _LEVELS[self._verbosity] <= logging.INFO

    @property
    def dataset_dir(self) -> Path:
        """Folder of downloaded data and weights.

        By default the environment variable `CDN_SC_DATASETDIR`, or else the user's cache folder. It
        is made when something is first downloaded.
        """
        if self._dataset_dir is not None:
            return self._dataset_dir
        from_environment = os.environ.get("CDN_SC_DATASETDIR")
        if from_environment:
            return Path(from_environment).expanduser()
        import pooch  # takes a moment to import, and most calls never come here

        return Path(pooch.os_cache("cdn-sc"))

    @dataset_dir.setter
    def dataset_dir(self, value: str | PathLike[str]) -> None:
        if not isinstance(value, str | PathLike) or not str(value):
            raise InputError(f"settings.dataset_dir is the path of a folder, not {value!r}.")
        path = Path(value).expanduser()
        if path.exists() and not path.is_dir():
            raise InputError(f"settings.dataset_dir is a folder, but {str(path)!r} is a file.")
        self._dataset_dir = path

    @property
    def device(self) -> str:
        """Where networks run: `auto` (a GPU when there is one), `cpu`, `cuda`, `cuda:1`, `mps`."""
        return self._device

    @device.setter
    def device(self, value: str) -> None:
        if not isinstance(value, str) or not _DEVICE.fullmatch(value):
            raise InputError(
                f"settings.device is 'auto', 'cpu', 'cuda', 'cuda:<number>' or 'mps', not {value!r}."
            )
        self._device = value

    @property
    def n_jobs(self) -> int | None:
        """Number of threads; -1 means all cores that the process may use.

        `None` (the default) means those cores, but 8 at most, and no more than `torch.get_num_threads()` and
        the variable `OMP_NUM_THREADS` say.
        """
        return self._n_jobs

    @n_jobs.setter
    def n_jobs(self, value: int | None) -> None:
        if value is not None and not is_number_of_jobs(value):
            raise InputError(
                f"settings.n_jobs is a positive whole number, or -1 for all cores, or None, not {value!r}."
            )
        self._n_jobs = None if value is None else int(value)

    def __repr__(self) -> str:
        return (
            "cdn_sc.settings\n"
            f"  verbosity   = {self.verbosity!r}\n"
            f"  dataset_dir = {str(self.dataset_dir)!r}\n"
            f"  device      = {self.device!r}\n"
            f"  n_jobs      = {self.n_jobs!r}"
        )


def is_number_of_jobs(value: object) -> bool:
    """Return whether the value is a number of jobs: 1 and above, or -1 for all cores."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return False
    number = int(value.__index__())
    return number >= 1 or number == -1


settings = Settings()
