"""Rivals that other packages compute, each where its package is installed."""

from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd

from cdn_sc._logging import logger

PACKAGES = {"ulm_50": "decoupler", "cipher": "cipher-perturb", "permscore": "permscore"}
"""Rival -> the distribution that it needs."""

# A matrix of genes x genes is built or decomposed anew for every pair.
MOST_GENES = 2000
# It searches over orders of the genes: seconds a pair at 20 genes
MOST_GENES_OF_SEARCH = 30
MOST_CORRELATES = 50
# A gene is scored by the largest of these at which it still counts as hit.
MARGINS = (1.0, 4.0, 16.0, 64.0)


@cache
def installed() -> dict[str, str]:
    """Return the packages that are there, with their versions."""
    found = {}
    for package in PACKAGES.values():
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@cache
def say_what_is_left_out() -> None:
    """Tell, the first time, which rivals have no package."""
    missing = [f"{rival} ({package})" for rival, package in PACKAGES.items() if package not in installed()]
    if missing:
        logger.info(
            "Rivals left out, since their packages are not installed: %s. pip install 'cdn-sc[rivals]' "
            "brings them.",
            ", ".join(missing),
        )


def rivals_of_other_packages(
    control: np.ndarray, perturbed: np.ndarray, relations: np.ndarray, welch: np.ndarray
) -> dict[str, np.ndarray]:
    """Score every gene by those that are installed and suit the pair.

    Parameters
    ----------
    control, perturbed
        Cells x the same genes; at least two cells an arm.
    relations
        Correlations among the control cells, genes x genes, zero diagonal.
    welch
        Signed Welch's t of each gene.

    Returns
    -------
    Name -> score of each gene, larger is more likely a target, NaN where there is none. Only rivals that can
    be computed.
    """
    packages, scores = installed(), {}
    n_genes = control.shape[1]
    if "decoupler" in packages and n_genes <= MOST_GENES and np.count_nonzero(np.nan_to_num(welch)) > 2:
        scores["ulm_50"] = correlate_activity(relations, welch)
    if "cipher-perturb" in packages and 1 < n_genes <= MOST_GENES and _are_logarithms(control, perturbed):
        scores["cipher"] = driver_probability(control, perturbed)
    if "permscore" in packages and 1 < n_genes <= MOST_GENES_OF_SEARCH:
        scores["permscore"] = flagged_margin(control, perturbed)
    return scores


def correlate_activity(relations: np.ndarray, statistics: np.ndarray) -> np.ndarray:
    """Absolute t of decoupler's univariate linear model, each gene's strongest correlates as its set.

    Parameters
    ----------
    relations
        Correlations, genes x genes, zero diagonal: of each gene the 50 largest are the weights of its set.
    statistics
        Signed statistic of each gene; genes without one are left out, infinite ones count as the largest.

    Returns
    -------
    One a gene; NaN for genes that correlate with none.
    """
    from decoupler.mt import ulm

    known = np.flatnonzero(~np.isnan(statistics))
    values = statistics[known]
    largest = np.abs(values[np.isfinite(values)]).max(initial=1.0)
    names = known.astype(str)
    weights = relations[np.ix_(known, known)]
    number = min(MOST_CORRELATES, len(known) - 1)
    nearest = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :number]
    net = pd.DataFrame(
        {
            "source": np.repeat(names, number),
            "target": names[nearest.ravel()],
            "weight": np.take_along_axis(weights, nearest, axis=1).ravel(),
        }
    )
    net = net[net["weight"] != 0]
    scores = np.full(len(statistics), np.nan)
    if len(net):
        table = pd.DataFrame([np.clip(values, -largest, largest)], index=["pair"], columns=names)
        found = ulm(table, net, tmin=1)[0].loc["pair"]
        scores[found.index.astype(int)] = np.abs(found.to_numpy())
    return scores


def _are_logarithms(control: np.ndarray, perturbed: np.ndarray) -> bool:
    from cdn_sc.tl._checks import looks_logarithmic

    return looks_logarithmic(min(control.min(), perturbed.min()), max(control.max(), perturbed.max()))


def driver_probability(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """CIPHER's probability that a gene is the driver, with the setting that its authors found best.

    Parameters
    ----------
    control, perturbed
        Log1p values, cells x the same genes. CIPHER normalises counts in its own way, so it is given the
        values that were counts before the logarithm.

    Returns
    -------
    One a gene.
    """
    from cipher import condition_drivers_from_matrices

    names = np.arange(control.shape[1]).astype(str)
    ranking = condition_drivers_from_matrices(
        np.expm1(control), np.expm1(perturbed), names, normalization="pflog", method="pip"
    ).ranking
    return ranking.set_index("gene")["driver_score"].reindex(names).to_numpy(np.float64)


def flagged_margin(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """How clearly PermScore takes a gene to be hit: the largest margin at which it still does, else 0.

    Its own answer is a set of genes without an order, and its matching of genes to environments needs several
    perturbed ones; so every gene is judged by itself, at stricter and stricter margins.

    Parameters
    ----------
    control, perturbed
        Cells x the same genes.

    Returns
    -------
    One a gene.
    """
    from permscore import fit

    scores = np.zeros(control.shape[1])
    for margin in MARGINS:
        hit = fit([control, perturbed], assignment=False, margin=margin, restarts=1).target_sets[1]
        scores[sorted(hit)] = margin
    return scores
