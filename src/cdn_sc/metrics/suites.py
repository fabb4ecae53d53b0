"""Named suites of pairs with known targets, for `cdn_sc.metrics.evaluate` and the command line."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from inspect import Parameter, signature
from itertools import islice, product
from os import PathLike
from pathlib import Path
from typing import Any

from cdn_sc._logging import logger
from cdn_sc.simulate.pair import Pair

Suite = Callable[..., Iterator[Pair]]

# Groups of screens are told apart by this number of cells.
MANY_CELLS = 100
# A simulation holds several matrices of genes x genes.
MOST_GENES = 20_000

_SUITES: dict[str, Suite] = {}
_SIZES: dict[str, Callable[[Mapping[str, Any]], int]] = {}


def register_suite(
    name: str, *, n_pairs: Callable[[Mapping[str, Any]], int] | None = None
) -> Callable[[Suite], Suite]:
    """Return a decorator that makes a function of keyword options a suite of that name.

    Parameters
    ----------
    name
        What `suite` and the command line call it.
    n_pairs
        Number of its pairs, from all its options; for progress bars.

    Returns
    -------
    The decorator, which gives the function back unchanged.

    Raises
    ------
    ValueError
        If there is a suite of that name already.
    """

    def add(function: Suite) -> Suite:
        if name in _SUITES:
            raise ValueError(f"there is a suite {name!r} already")
        _SUITES[name] = function
        if n_pairs is not None:
            _SIZES[name] = n_pairs
        return function

    return add


def available_suites() -> list[str]:
    """Names of the suites.

    Returns
    -------
    The names, sorted.
    """
    return sorted(_SUITES)


def suite(name: str, *, limit: int | None = None, **options: Any) -> Iterator[Pair]:
    """Generate the pairs of a suite.

    Parameters
    ----------
    name
        One of `available_suites`.
    limit
        Stop after this many pairs.
    options
        Of the suite; `cdn_sc.metrics.suites` lists them.

    Returns
    -------
    The pairs, made while they are read. Pairs that share an array of control cells follow each other.

    Raises
    ------
    ValueError
        If there is no suite of that name, it has no such option, or it needs one that is not given.
    """
    if name not in _SUITES:
        raise ValueError(f"unknown suite {name!r}; known: {', '.join(available_suites())}")
    known = signature(_SUITES[name]).parameters.values()
    takes_all = any(option.kind is Parameter.VAR_KEYWORD for option in known)
    wrong = [] if takes_all else sorted(set(options) - {option.name for option in known})
    if wrong:
        listed = ", ".join(option.name for option in known)
        raise ValueError(f"the suite {name!r} has no option {', '.join(wrong)}; it has: {listed}")
    missing = [
        option.name
        for option in known
        if option.kind is Parameter.KEYWORD_ONLY
        and option.default is Parameter.empty
        and option.name not in options
    ]
    if missing:
        raise ValueError(f"the suite {name!r} needs the option {', '.join(missing)}")
    return islice(_SUITES[name](**options), limit)


def suite_size(name: str, *, limit: int | None = None, **options: Any) -> int | None:
    """Return the number of pairs of a suite, None where that is not known beforehand.

    Parameters
    ----------
    name, limit, options
        As of `suite`.
    """
    if name not in _SIZES:
        return None
    defaults = {option.name: option.default for option in signature(_SUITES[name]).parameters.values()}
    size = _SIZES[name](defaults | options)
    return size if limit is None else min(size, limit)


def _scm_size(options: Mapping[str, Any], n_mechanisms: int) -> int:
    from cdn_sc.simulate.scm import INTERVENTIONS, SIZES

    # a data set has as many interventional regimes as genes
    regimes = sum(genes for genes, _ in SIZES if options["genes"] in (None, genes))
    return regimes * n_mechanisms * len(INTERVENTIONS) * options["n_datasets"]


def _screens_size(options: Mapping[str, Any]) -> int:
    sizes = 1 if isinstance(options["genes"], int) else len(options["genes"])
    return sizes * len(options["kinds"]) * options["n_networks"] * options["n_groups"]


@register_suite("scm240", n_pairs=lambda options: _scm_size(options, 3))
def scm240_suite(
    *, seed: int = 0, genes: int | None = None, n_datasets: int = 5, n_cells: int | None = None
) -> Iterator[Pair]:
    """Published synthetic test set, generated afresh: see `cdn_sc.simulate.scm.scm240`.

    Parameters
    ----------
    seed, genes, n_datasets
        Passed on.
    n_cells
        Use only the first cells of each arm; None for all of them, about 2,700 to 2,860.
    """
    from cdn_sc.simulate.scm import scm240

    for pair in scm240(seed, genes=genes, n_datasets=n_datasets):
        yield _first_cells(pair, n_cells)


@register_suite("scm_untrained", n_pairs=lambda options: _scm_size(options, 1))
def untrained_mechanism_suite(
    *, seed: int = 0, genes: int | None = None, n_datasets: int = 5, n_cells: int | None = None
) -> Iterator[Pair]:
    """Like scm240, with the non-additive neural network mechanism that is never trained on."""
    from cdn_sc.simulate.scm import UNTRAINED_MECHANISM, scm240

    for pair in scm240(seed, genes=genes, n_datasets=n_datasets, mechanisms=(UNTRAINED_MECHANISM,)):
        yield _first_cells(pair, n_cells)


def _first_cells(pair: Pair, n_cells: int | None) -> Pair:
    if n_cells is None:
        return pair
    control, perturbed = pair.control[:n_cells], pair.perturbed[:n_cells]
    return replace(pair, control=control, perturbed=perturbed)


@register_suite("real")
def real_suite(
    *,
    path: str | PathLike[str],
    groupby: str = "perturbation",
    control: str = "control",
    truth: str = "target_in_var",
    drop: tuple[str, ...] = ("multi",),
    kind: str | None = None,
    within: str | None = None,
    correlations: str = "screen",
) -> Iterator[Pair]:
    """Groups of a real screen whose target is measured.

    Counts (whole numbers) are normalised to the median total and log1p-transformed; other values are taken as
    log-normalised expression, as they are, and so are any values where ``uns["scale"]`` is ``"log"`` or
    ``"z"`` (proteins, bulk samples). The pair's genes are all genes of the file.

    Parameters
    ----------
    path
        An h5ad file or a zarr store, with raw counts or log-normalised expression in `X`.
    groupby, control
        Column of `obs` with the perturbations, and its label of the control cells.
    truth
        Key of `uns` with a mapping of label to measured target gene, empty where it is not measured; several
        are joined by ``|``.
    drop
        Labels to leave out.
    kind
        What was done (``"knockdown"``, ``"knockout"`` ...), for the attributes; what ``uns["kind"]`` says
        where None.
    within
        Column of `obs` with batches, stimuli or blocks to compare within: from the cells of each the mean of
        its control cells is taken; cells of one without control cells are left out.
    correlations
        As of `screens_suite`; those in `drop` count too.

    Raises
    ------
    ValueError
        If the file cannot be read, has no unique names of genes, values that are neither counts nor
        logarithms, or lacks the values, the column, the label or the mapping.
    """
    import numpy as np

    from cdn_sc._contrasts import contrasts_of_screen
    from cdn_sc._labels import LabelIndex, is_missing, label_name
    from cdn_sc._read import read_object

    adata = read_object(Path(path))
    if groupby not in adata.obs or truth not in adata.uns or adata.X is None:
        raise ValueError(f"{path} needs values in X, obs[{groupby!r}] and uns[{truth!r}]")
    targets = adata.uns[truth]
    if not isinstance(targets, Mapping) or not all(isinstance(gene, str) for gene in targets.values()):
        raise ValueError(f"uns[{truth!r}] of {path} is no mapping of label to the name of one gene")
    if not adata.var_names.is_unique:
        raise ValueError(f"{path} has names of genes twice")
    names = [label_name(label) for label in adata.obs[groupby].astype(object)]
    labels = np.array(names, dtype=object)
    meant = adata.obs[groupby].notna().to_numpy() & [
        name == str(control) or not is_missing(name) for name in names
    ]
    index = LabelIndex(sorted(set(labels[meant])), f"obs[{groupby!r}]")
    found = index.find(control)
    if found is None:
        raise ValueError(f"no cell of {path} has obs[{groupby!r}] == {control!r}")
    control = found
    drop = tuple(name for label in drop if (name := index.find(label)) is not None)
    targets, _ = index.by_name(targets)
    if adata.uns.get("scale") not in ("log", "z"):
        _log_normalise(adata, path)
    if kind is None and isinstance(adata.uns.get("kind"), str):
        kind = adata.uns["kind"]
    if within is not None:
        adata, labels, meant = _less_controls(adata, within, labels, meant, control)

    def cells(label: str) -> np.ndarray:
        values = adata.X[labels == label]
        return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float32)

    control_cells = cells(control)
    contrasts = None
    if _from_screen(correlations):
        # the first cells of large conditions are taken: of a random order, always the same
        rng = np.random.default_rng(0)
        conditions = [rng.permutation(cells(label)) for label in sorted(set(labels[meant]) - {control})]
        contrasts = contrasts_of_screen(len(control_cells), conditions)
    for label in sorted(set(labels[meant]) - {control, *drop}):
        target = targets.get(label, "")
        measured = [name for name in target.split("|") if name in adata.var_names]
        places = adata.var_names.get_indexer(measured)
        if not places.size:
            continue
        attributes: dict[str, str | int | float] = {"group": label, "target": target, "genes": adata.n_vars}
        if kind is not None:
            attributes["kind"] = kind
        yield Pair(
            control_cells,
            cells(label),
            places,
            attributes,
            contrasts=contrasts,
        )


def _less_controls(adata: Any, within: str, labels: Any, meant: Any, control: str) -> tuple[Any, Any, Any]:
    """Take from the cells of each block the mean of its control cells."""
    import numpy as np

    if within not in adata.obs:
        raise ValueError(f"there is no column {within!r} in obs to compare within")
    blocks = adata.obs[within].astype(str).to_numpy()
    values = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float32)
    kept = np.zeros(len(blocks), dtype=bool)
    for block in np.unique(blocks):
        of_block = blocks == block
        controls = of_block & (labels == control)
        if controls.any():
            values[of_block] -= values[controls].mean(axis=0)
            kept |= of_block
    adata = adata[kept].copy()
    adata.X = values[kept]
    return adata, labels[kept], meant[kept]


def _log_normalise(adata: Any, path: str | PathLike[str]) -> None:
    """Normalise and log counts in place; leave logarithms as they are, and refuse what is neither."""
    import scanpy

    from cdn_sc._counts import are_counts
    from cdn_sc.tl._checks import looks_logarithmic
    from cdn_sc.tl._expression import extremes

    if are_counts(adata.X):
        scanpy.pp.normalize_total(adata)
        scanpy.pp.log1p(adata)
        return
    least, largest = extremes(adata.X)
    if not looks_logarithmic(least, largest):
        raise ValueError(
            f"X of {path} holds neither counts (whole numbers of at least 0) nor log-normalised values (from "
            f"0 up to some 10): it has values from {least:g} to {largest:g}"
        )
    logger.info("X of %s holds no counts: it is taken as log-normalised, as it is.", path)


def _register_screens(name: str, description: str, default_genes: tuple[int, ...], networks: int) -> Suite:
    """Make and register a suite of simulated screens; all take the same options."""

    def screens(
        *,
        seed: int = 0,
        genes: int | tuple[int, ...] = default_genes,
        kinds: tuple[str, ...] = ("knockdown", "activation", "knockout", "activity"),
        n_networks: int = networks,
        n_groups: int = 8,
        n_control: int | tuple[int, int] = (8, 60) if name == "samples" else (1000, 4000),
        n_perturbed: tuple[int, int] = (2, 12) if name == "samples" else (20, 500),
        n_targets: tuple[float, ...] = (0.75, 0.15, 0.10),
        strength: float | None = None,
        correlations: str = "screen",
        relations: tuple[float, float] | None = None,
        reference: float | None = None,
    ) -> Iterator[Pair]:
        options = {
            "n_groups": n_groups,
            "n_perturbed": n_perturbed,
            "n_targets": n_targets,
            "strength": strength,
            "contrasts": _from_screen(correlations),
            "wide": name in ("screens_wide", "samples"),
            "samples": name == "samples",
            "relations": _table_quality(relations, reference),
        }
        yield from _screens(name, seed, genes, kinds, n_networks, n_control, options)

    screens.__name__ = f"{name}_suite"
    screens.__doc__ = f"""{description}

    Parameters
    ----------
    seed
        Which edition of the suite.
    genes
        Numbers of genes.
    kinds
        Kinds of perturbation; each has networks of its own.
    n_networks, n_groups
        Networks for each number of genes and kind, and groups on each.
    n_control
        Control cells, or the smallest and largest number.
    n_perturbed
        Smallest and largest number of cells in a group.
    n_targets
        Relative frequencies of one, two, three targets.
    strength
        Mean weight of a regulatory edge; drawn per network where None.
    correlations
        "screen" to give models the cells of all groups on a network to tell correlations from, of each a
        twentieth of them at most, as `cdn_sc.tl.predict_targets` does, "control" to give them the control
        cells alone.
    relations
        Give models that take one a table of known relations: the share of the true edges that it holds, and
        the share of its entries that are true (0: as many, and none is).
    reference
        Give them what a simulated screen of a related cell line says, 100 cells a gene: the share of the
        edges that lead to other genes there.
    """
    return register_suite(name, n_pairs=_screens_size)(screens)


screens_suite = _register_screens(
    "screens",
    "Simulated single-cell screens on networks that training never draws.",
    (100, 200, 300, 500),
    10,
)
large_screens_suite = _register_screens(
    "screens_large",
    "Like screens, with more genes; on networks that are in neither training nor screens.",
    (300, 500, 1000),
    4,
)
wide_screens_suite = _register_screens(
    "screens_wide",
    "Like screens, drawn from wider ranges: feedback on the target's own transcript, agonists, strong "
    "cascades, dominant programmes, cell types, uneven batches, regulators seldom seen.",
    (100, 200, 300, 500),
    10,
)
samples_suite = _register_screens(
    "samples", "Like screens_wide, with few samples an arm in place of cells.", (50, 200, 500), 10
)


def _table_quality(relations: tuple[float, float] | None, reference: float | None) -> Any:
    from cdn_sc.simulate.relations import TableQuality

    if reference is not None:
        if relations is not None:
            raise ValueError("give either relations or reference, not both")
        return TableQuality(known=1.0, reference=True, rewired=_share(reference, "reference"), simulated=True)
    if relations is None:
        return None
    known, correct = relations
    return TableQuality(known=_share(known, "relations"), correct=_share(correct, "relations"))


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is given as {value}; it is a share, from 0 to 1")
    return float(value)


def _from_screen(correlations: str) -> bool:
    if correlations not in ("screen", "control"):
        raise ValueError(f"correlations is 'screen' or 'control', not {correlations!r}")
    return correlations == "screen"


def _screens(
    name: str,
    seed: int,
    genes: int | tuple[int, ...],
    kinds: tuple[str, ...],
    n_networks: int,
    n_control: int | tuple[int, int],
    options: dict[str, Any],
) -> Iterator[Pair]:
    """Simulate the networks of a suite, the groups of each of one kind."""
    import numpy as np

    from cdn_sc.simulate.scm import seeded_rng
    from cdn_sc.simulate.screen import screen_pairs

    sizes = (genes,) if isinstance(genes, int) else genes
    if max(sizes) > MOST_GENES:
        raise ValueError(f"genes is {max(sizes):,}; screens of at most {MOST_GENES:,} genes are simulated")
    low, high = (n_control, n_control) if isinstance(n_control, int) else n_control
    for network, n_genes, kind in product(range(n_networks), sizes, kinds):
        rng = seeded_rng("test", seed, name, n_genes, kind, network)
        cells = round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))
        for pair in screen_pairs(rng, n_genes=n_genes, n_control=cells, kinds={kind: 1.0}, **options):
            few = len(pair.perturbed) < MANY_CELLS
            words = f"fewer than {MANY_CELLS}" if few else f"{MANY_CELLS} or more"
            yield replace(pair, attributes=pair.attributes | {"cells": words})
