"""Names of weights: bundled with the package, and published by the authors on figshare.

A bundled model is one more `Entry` in `ENTRIES`, with its file in the folder `weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from cdn_sc.errors import did_you_mean
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.published import published_weights

BUNDLED_DIR = Path(__file__).parent / "weights"
#: Name that "default" stands for; None while no weights are bundled.
DEFAULT: str | None = "gene-transformer"

CONCAT_PARAMETERS, DIFFERENCE_PARAMETERS, SEA_PARAMETERS = 705_544, 573_448, 502_151


@dataclass(frozen=True)
class Entry:
    """One line of the registry.

    Attributes
    ----------
    name
        What the user writes.
    architecture
        Key in `cdn_sc.nn.ARCHITECTURES`.
    source
        "bundled" (file ``<name>.safetensors`` in the package) or "figshare" (file ``<name>.ckpt``).
    recommended_for
        What the weights are meant for.
    parameters
        Number of parameters, None where not known.
    """

    name: str
    architecture: str
    source: Literal["bundled", "figshare"]
    recommended_for: str
    parameters: int | None = None


_HELD_OUT = "genetic perturbations, evaluation on the held-out cell line"
ENTRIES: tuple[Entry, ...] = (
    Entry(
        "gene-transformer",
        "gene_transformer",
        "bundled",
        "genetic and chemical perturbations, and synthetic benchmarks; the default",
        210_631,
    ),
    Entry(
        "cdn-scm",
        "cdn",
        "bundled",
        "comparison with the published architecture on synthetic data; not for cells",
        CONCAT_PARAMETERS,
    ),
    Entry(
        "cdn-scm-difference",
        "cdn",
        "bundled",
        "comparison with the published architecture on synthetic data; not for cells",
        DIFFERENCE_PARAMETERS,
    ),
    Entry(
        "cdn-screens",
        "cdn",
        "bundled",
        "comparison with the published architecture on cells; panels of up to about 60 genes",
        CONCAT_PARAMETERS,
    ),
    Entry("cdn_finetuned-seen", "cdn", "figshare", "genetic perturbations"),
    Entry("cdn_synthetic_diff-all", "cdn", "figshare", "chemical perturbations", DIFFERENCE_PARAMETERS),
    Entry("cdn_synthetic-all", "cdn", "figshare", "synthetic benchmarks", CONCAT_PARAMETERS),
    Entry("cdn_synthetic-no_scale", "cdn", "figshare", "synthetic: trained without scale interventions"),
    Entry("cdn_synthetic-no_shift", "cdn", "figshare", "synthetic: trained without shift interventions"),
    Entry("cdn_synthetic_noG-no_scale", "cdn", "figshare", "ablation of cdn_synthetic-no_scale"),
    *(
        Entry(f"cdn_finetuned-unseen-no_{line}", "cdn", "figshare", f"{_HELD_OUT} {line}")
        for line in ("hepg2", "jurkat", "k562", "rpe1")
    ),
    Entry("sea_fci_corr", "sea", "figshare", "start of training (encoder only)", SEA_PARAMETERS),
)


def available() -> pd.DataFrame:
    """List the weights that `load` knows by name.

    Returns
    -------
    One row a name, with columns `name`, `architecture`, `source` ("bundled" or "figshare"),
    `recommended_for` (for published weights: what their authors recommend), `bundled` (bool) and
    `parameters` (nullable integer, missing where not known before the file is read).

    Examples
    --------
    >>> "sea_fci_corr" in set(available()["name"])
    True
    """
    table = pd.DataFrame(
        {
            "name": [entry.name for entry in ENTRIES],
            "architecture": [entry.architecture for entry in ENTRIES],
            "source": [entry.source for entry in ENTRIES],
            "recommended_for": [entry.recommended_for for entry in ENTRIES],
            "bundled": [entry.source == "bundled" for entry in ENTRIES],
            "parameters": [entry.parameters for entry in ENTRIES],
        }
    )
    return table.astype({"parameters": "Int64", "bundled": bool})


def is_known(name: str) -> bool:
    """Whether a name is that of a model."""
    return name == "default" or any(entry.name == name for entry in ENTRIES)


def find_entry(name: str) -> Entry:
    """Entry of a name, with "default" resolved.

    Raises
    ------
    WeightsError
        If the name is unknown; the message offers names that look alike.
    """
    if name == "default":
        if DEFAULT is None:
            raise WeightsError(
                'no weights are bundled with this version, so there is no "default": give a path'
            )
        name = DEFAULT
    by_name = {entry.name: entry for entry in ENTRIES}
    if name in by_name:
        return by_name[name]
    hint = did_you_mean(name, ["default", *by_name], show=len(by_name) + 1)
    raise WeightsError(f"there is no file {name!r} and no model of that name. {hint}")


def entry_path(entry: Entry) -> Path:
    """File of an entry; published weights are fetched if they are not there.

    Raises
    ------
    WeightsError
        If the file is not there; for published weights the message says where to get it.
    """
    if entry.source == "figshare":
        return published_weights(entry.name)
    path = BUNDLED_DIR / f"{entry.name}.safetensors"
    if not path.is_file():
        raise WeightsError(f"the bundled file {path.name} is missing from the installation: reinstall cdn-sc")
    return path
