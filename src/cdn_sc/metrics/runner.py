"""The runner: every method on the same pairs in the same run."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config

from cdn_sc._files import make_folder, replacing, writing
from cdn_sc._progress import progress_bar
from cdn_sc._threads import pools_held
from cdn_sc.errors import MissingNameError
from cdn_sc.metrics._other_packages import installed, say_what_is_left_out
from cdn_sc.metrics.baselines import log_fold_change
from cdn_sc.metrics.baselines import rivals as score_rivals
from cdn_sc.metrics.ranking import METRICS, is_trivial, rank_metrics, score_ranks
from cdn_sc.metrics.records import Records
from cdn_sc.metrics.summary import STRATA, summarise, to_markdown, to_wide_markdown
from cdn_sc.settings import settings as package_settings
from cdn_sc.simulate.pair import Pair

_MOST_PAIRS_A_JOB = 16
_FILES = ("per_group.csv", "summary.csv", "settings.json")
_COLUMNS_OF_ALL_PAIRS = ("pair", "n_candidates", "n_targets", "n_missing", "trivial")


class PairPredictor(Protocol):
    """What `evaluate` needs of a model: one score a gene, larger is more likely a target.

    One with a true attribute `uses_correlations` is also given ``contrasts=pair.contrasts`` where the pair
    has them, and one with a true `takes_relations` its ``relations``.
    """

    def predict(
        self, control: np.ndarray, perturbed: np.ndarray, *, rng: np.random.Generator, kind: str | None
    ) -> Any:
        """Score the genes of one pair, NaN where there is none: an array, or ``logits`` of the result."""


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of several methods on one suite, with the settings that made them.

    Parameters
    ----------
    per_group
        One row for every pair and method: the pair's attributes, `pair` (its number), `method`, the metrics
        of `cdn_sc.metrics.METRICS`, `n_candidates`, `n_targets`, `n_missing`, `trivial` and `seconds`.
    summary
        Means with bootstrap intervals over the pairs' networks, or over the pairs where they name none, as
        `cdn_sc.metrics.summarise` returns them: by method, and with `evaluate`'s `by`.
    settings
        What is needed to make the same numbers again.
    """

    per_group: pd.DataFrame
    summary: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        shown = [metric for metric in METRICS if metric in self.per_group]
        means = self.per_group.groupby("method", sort=False)[shown].mean()
        n_pairs = self.per_group["pair"].nunique()
        table = means.round(3).to_string(max_cols=None)
        return f"EvaluationResult: {len(means)} methods on {n_pairs} pairs, means of all\n{table}"

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> "EvaluationResult":
        """Read what `write`, or `cdn-sc evaluate`, wrote into a folder."""
        folder = Path(folder)
        for name in _FILES:
            if not (folder / name).is_file():
                raise MissingNameError(
                    f"there is no file {str(folder / name)!r}: a folder that `cdn-sc evaluate`, or "
                    "EvaluationResult.write, made is wanted."
                )
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        return cls(pd.read_csv(folder / "per_group.csv"), pd.read_csv(folder / "summary.csv"), settings)

    def summarise(self, by: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Means by method and further columns of `per_group`, such as ``["mechanism", "intervention"]``."""
        return summarise(
            self.per_group,
            ["method", *_columns(by)],
            n_bootstrap=self.settings["n_bootstrap"],
            seed=self.settings["seed"],
        )

    def to_markdown(self, by: str | Sequence[str] | None = None) -> str:
        """Markdown tables of the summary: one for every stratum that has pairs.

        With `by`, one more table: a row for every combination of these columns, a column for every method.
        """
        index = list(self.summary.columns[: list(self.summary.columns).index("stratum")])
        parts = []
        for stratum in STRATA:
            if (self.summary["stratum"] == stratum).any():
                parts.append(f"## {stratum}\n\n" + to_markdown(self.summary, index=index, stratum=stratum))
        if by := _columns(by):
            metrics = ("average_precision", "auroc")
            title = f"## by {' and '.join(by)}: {' / '.join(metrics)}"
            parts.append(f"{title}\n\n" + to_wide_markdown(self.summarise(by), by, metrics=metrics))
        return "\n".join(parts)

    def write(self, folder: str | PathLike[str], *, by: str | Sequence[str] | None = None) -> None:
        """Write `per_group.csv`, `summary.csv`, `summary.md` and `settings.json` into a folder.

        With `by`, the means by these columns too: in `summary_by.csv`, and in `summary.md`. All are written
        before the first takes the place of an earlier one.

        Raises
        ------
        WriteError
            If they cannot be written; earlier ones are as they were.
        """
        folder = Path(folder)
        make_folder(folder)
        texts = {
            "per_group.csv": self.per_group.to_csv(index=False),
            "summary.csv": self.summary.to_csv(index=False),
            "summary.md": self.to_markdown(by),
            "settings.json": json.dumps(self.settings, indent=2, default=str) + "\n",
        }
        if by:
            texts["summary_by.csv"] = self.summarise(by).to_csv(index=False)
        paths = [folder / name for name in texts]
        with replacing(*paths) as parts, writing(*paths):
            for part, text in zip(parts, texts.values(), strict=True):
                part.write_bytes(text.encode())


def evaluate(
    pairs: Iterable[Pair],
    predictors: Mapping[str, PairPredictor] | None = None,
    *,
    rivals: bool = True,
    by: str | Sequence[str] | None = None,
    tell_kind: bool = False,
    n_bootstrap: int = 1000,
    seed: int = 0,
    n_jobs: int = 1,
    threads: int | None = None,
    progress: bool | None = None,
    resume: str | PathLike[str] | None = None,
    limit: int | None = None,
    total: int | None = None,
    description: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Score predictors and rivals on the same pairs.

    All genes of a pair are candidates. Genes of equal score are ranked in a random order that is drawn for
    each pair and is the same for all methods, so that no method profits from ties; genes without a score
    rank last.

    Parameters
    ----------
    pairs
        Pairs with known targets, such as those of `cdn_sc.metrics.suite`; used one after another, so that
        a generator of a large suite never has to fit into memory.
    predictors
        Name -> model. Each gets a generator of its own for every pair, the same whatever else is evaluated.
    rivals
        Whether to score the rivals of `cdn_sc.metrics.rivals`, too: those of other packages where these are
        installed.
    by
        Attributes of the pairs that `summary` tells apart, next to the method.
    tell_kind
        Whether predictors are told the pair's attribute `kind`; else they get None. The rival `one_sided_t`
        is told it too, and is left out else.
    n_bootstrap
        Number of resamples for the intervals.
    seed
        Seed of the predictors, of ties, of the random rival and of the bootstrap.
    n_jobs
        Number of processes; -1 for all cores. Pairs in a row that share an array of control cells go to one
        process, so that what a predictor keeps of it is used again.
    threads
        Threads of torch in each process; None for one.
    progress
        Whether to show a progress bar; None follows `cdn_sc.settings.verbosity`.
    resume
        File for the rows of the pairs scored so far. A call that finds it, made with the same pairs,
        predictors and seed, only scores the others; `limit` may differ.
    limit
        Score only the first so many pairs.
    total
        Number of pairs that there are, if known, for the progress bar.
    description
        Further facts for `settings`, such as the suite's name and options; plain values.

    Returns
    -------
    Metrics of every pair and method, their means, and the settings.

    Raises
    ------
    ValueError
        If there is nothing to evaluate, a name is both a predictor's and a rival's, a predictor does not
        return one score a gene, pairs have no attribute that `by` names, or the file to resume from belongs
        to another evaluation or is damaged (the error names the line).
    WriteError
        If the file to resume from cannot be written, for lack of space for example, or another run uses it;
        the pairs in it stay.
    """
    predictors = dict(predictors or {})
    if not predictors and not rivals:
        raise ValueError("nothing to evaluate: no predictors, and rivals=False")
    started = perf_counter()
    if rivals:
        say_what_is_left_out()
    settings = {
        "package_version": version("cdn-sc"),
        "numpy_version": np.__version__,
        "seed": seed,
        "rivals": rivals,
        **({"rival_packages": installed()} if rivals else {}),
        "predictors": {name: _describe(predictor) for name, predictor in predictors.items()},
        "tell_kind": tell_kind,
        **dict(description or {}),
    }
    columns = _columns(by)
    if total is None and isinstance(pairs, Sized):
        total = len(pairs)
    if limit is not None and total is not None:
        total = min(limit, total)
    checked = islice(check_attributes(pairs, columns), limit)
    records = Records(resume, settings, limit)
    jobs = (
        delayed(_score_pairs)(run, predictors, rivals, tell_kind, seed)
        for run in _runs_of_one_control(checked, records.n_pairs, 1 if n_jobs == 1 else _MOST_PAIRS_A_JOB)
    )
    show = package_settings.show_progress if progress is None else progress
    with (
        closing(records),
        parallel_config(backend="loky", inner_max_num_threads=threads or 1),
        pools_held(threads or 1),
        progress_bar(show, total=total, initial=records.n_pairs, unit="pair") as bar,
    ):
        for run in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            for rows in run:
                records.add(rows)
                bar.update()
    if not records.rows:
        raise ValueError("there are no pairs to evaluate")
    per_group = pd.DataFrame(records.rows)
    summary = summarise(per_group, ["method", *columns], n_bootstrap=n_bootstrap, seed=seed)
    settings |= {
        "limit": limit,
        "methods": list(per_group["method"].unique()),
        "n_pairs": int(per_group["pair"].nunique()),
        "by": columns,
        "n_bootstrap": n_bootstrap,
        "n_jobs": n_jobs,
        "threads": threads,
        "seconds": round(perf_counter() - started, 3),
    }
    return EvaluationResult(per_group, summary, settings)


def check_attributes(pairs: Iterable[Pair], by: Sequence[str]) -> Iterator[Pair]:
    """Return the pairs, once it is known that the first of them has the attributes to tell apart by.

    Parameters
    ----------
    pairs
        As of `evaluate`.
    by
        Columns of `EvaluationResult.per_group` that are known before anything is scored.

    Raises
    ------
    ValueError
        If the first pair lacks one.
    """
    rest = iter(pairs)
    if not by:
        return rest
    first = list(islice(rest, 1))
    for pair in first:
        known = [*pair.attributes, *_COLUMNS_OF_ALL_PAIRS]
        if absent := [name for name in by if name not in known]:
            raise ValueError(f"the pairs have no attribute {absent} to tell apart by; they have {known}")
    return chain(first, rest)


def _columns(by: str | Sequence[str] | None) -> list[str]:
    return [by] if isinstance(by, str) else list(by or ())


def _runs_of_one_control(pairs: Iterable[Pair], first: int, most: int) -> Iterator[list[tuple[int, Pair]]]:
    """Numbered pairs from the given number on, at most so many together that share their control cells."""
    run: list[tuple[int, Pair]] = []
    for number, pair in enumerate(pairs):
        if number < first:
            continue
        if run and (pair.control is not run[0][1].control or len(run) == most):
            yield run
            run = []
        run.append((number, pair))
    if run:
        yield run


def _describe(predictor: PairPredictor) -> dict[str, str]:
    facts = {key: getattr(predictor, key, None) for key in ("name", "version", "sha256")}
    return {key: str(value) for key, value in facts.items() if value is not None}


def _score_pairs(run: list[tuple[int, Pair]], *options: Any) -> list[list[dict[str, Any]]]:
    return [_score_pair(pair, number, *options) for number, pair in run]


def _score_pair(
    pair: Pair,
    number: int,
    predictors: dict[str, PairPredictor],
    with_rivals: bool,
    tell_kind: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of one pair, one for every method."""

    def stream(purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, purpose)))

    n_genes = pair.control.shape[1]
    kind = pair.attributes.get("kind") if tell_kind else None
    scored: dict[str, tuple[np.ndarray, float]] = {}
    for name, predictor in predictors.items():
        started = perf_counter()
        options: dict[str, Any] = {"kind": None if kind is None else str(kind)}
        if pair.contrasts is not None and getattr(predictor, "uses_correlations", False):
            options["contrasts"] = pair.contrasts
        if pair.relations is not None and getattr(predictor, "takes_relations", False):
            options["relations"] = pair.relations
        prediction = predictor.predict(pair.control, pair.perturbed, rng=stream(0), **options)
        scores = np.asarray(getattr(prediction, "logits", prediction))
        if scores.shape != (n_genes,):
            raise ValueError(f"predictor {name!r} gave scores of shape {scores.shape} for {n_genes} genes")
        scored[name] = scores, perf_counter() - started
    if with_rivals:
        started = perf_counter()
        # of pairs without a kind the rivals are the same as of others, or means would be over different pairs
        told = {"kind": str(pair.attributes.get("kind", "unknown"))} if tell_kind else {}
        by_rival = score_rivals(pair.control, pair.perturbed, rng=stream(1), **told)
        seconds = perf_counter() - started
        if clash := sorted(set(by_rival) & set(scored)):
            raise ValueError(f"predictors may not have the name of a rival: {clash}")
        # one pass gives all rivals, so each is booked with the time of all
        scored |= {name: (scores, seconds) for name, scores in by_rival.items()}
    tie_break = stream(2).permutation(n_genes)
    is_target = np.zeros(n_genes, dtype=bool)
    is_target[pair.targets] = True
    trivial = is_trivial(log_fold_change(pair.control, pair.perturbed), is_target)
    return [
        {
            "pair": number,
            **pair.attributes,
            "method": method,
            **rank_metrics(score_ranks(scores, tie_break)[is_target], n_genes, pair.n_missing),
            "n_candidates": n_genes,
            "n_targets": int(is_target.sum()) + pair.n_missing,
            "n_missing": pair.n_missing,
            "trivial": trivial,
            "seconds": seconds,
        }
        for method, (scores, seconds) in scored.items()
    ]
