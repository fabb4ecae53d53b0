"""The runner: every method on the same pairs in the same run."""

import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from cdn_sc.metrics.baselines import log_fold_change
from cdn_sc.metrics.baselines import rivals as score_rivals
from cdn_sc.metrics.ranking import is_trivial, rank_metrics, score_ranks
from cdn_sc.metrics.summary import STRATA, summarise, to_markdown
from cdn_sc.settings import settings as package_settings
from cdn_sc.simulate.pair import Pair


class PairPredictor(Protocol):
    """What `evaluate` needs of a model: one score a gene, larger is more likely a target."""

    def predict(
        self, control: np.ndarray, perturbed: np.ndarray, *, rng: np.random.Generator, kind: str | None
    ) -> Any:
        """Score the genes of one pair, NaN where a gene has no score: an array, or ``logits`` of the result."""


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of several methods on one suite, with the settings that made them.

    Parameters
    ----------
    per_group
        One row for every pair and method: the pair's attributes, `pair` (its number), `method`, the metrics
        of `cdn_sc.metrics.METRICS`, `n_candidates`, `n_targets`, `n_missing`, `trivial` and `seconds`.
    summary
        Means with bootstrap intervals over pairs, as `cdn_sc.metrics.summarise` returns them: by method,
        and with `evaluate`'s `by`.
    settings
        What is needed to make the same numbers again.
    """

    per_group: pd.DataFrame
    summary: pd.DataFrame
    settings: dict[str, Any]

    def summarise(self, by: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Means by method and further columns of `per_group`, such as ``["mechanism", "intervention"]``."""
        columns = [by] if isinstance(by, str) else list(by or ())
        return summarise(
            self.per_group,
            ["method", *columns],
            n_bootstrap=self.settings["n_bootstrap"],
            seed=self.settings["seed"],
        )

    def to_markdown(self) -> str:
        """Markdown tables of the summary: one for every stratum that has pairs."""
        index = list(self.summary.columns[: list(self.summary.columns).index("stratum")])
        parts = []
        for stratum in STRATA:
            if (self.summary["stratum"] == stratum).any():
                parts.append(f"## {stratum}\n\n" + to_markdown(self.summary, index=index, stratum=stratum))
        return "\n".join(parts)

    def write(self, folder: str | PathLike[str]) -> None:
        """Write `per_group.csv`, `summary.csv`, `summary.md` and `settings.json` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.per_group.to_csv(folder / "per_group.csv", index=False)
        self.summary.to_csv(folder / "summary.csv", index=False)
        (folder / "summary.md").write_text(self.to_markdown(), encoding="utf-8")
        text = json.dumps(self.settings, indent=2, default=str) + "\n"
        (folder / "settings.json").write_text(text, encoding="utf-8")


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
    progress: bool | None = None,
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
        Whether to score the rivals of `cdn_sc.metrics.rivals`, too.
    by
        Attributes of the pairs that `summary` tells apart, next to the method.
    tell_kind
        Whether predictors are told the pair's attribute `kind`; else they get None.
    n_bootstrap
        Number of resamples for the intervals.
    seed
        Seed of the predictors, of ties, of the random rival and of the bootstrap.
    n_jobs
        Number of processes.
    progress
        Whether to show a progress bar; None follows `cdn_sc.settings.verbosity`.
    total
        Number of pairs, if known, for the progress bar.
    description
        Further facts for `settings`, such as the suite's name and options; plain values.

    Raises
    ------
    ValueError
        If there is nothing to evaluate, a name is both a predictor's and a rival's, or a predictor does not
        return one score a gene.
    """
    predictors = dict(predictors or {})
    if not predictors and not rivals:
        raise ValueError("nothing to evaluate: no predictors, and rivals=False")
    started = perf_counter()
    jobs = (
        delayed(_score_pair)(pair, number, predictors, rivals, tell_kind, seed)
        for number, pair in enumerate(pairs)
    )
    results = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    if total is None and isinstance(pairs, Sized):
        total = len(pairs)
    show = package_settings.show_progress if progress is None else progress
    rows = [row for part in tqdm(results, total=total, unit="pair", disable=not show) for row in part]
    if not rows:
        raise ValueError("there are no pairs to evaluate")
    per_group = pd.DataFrame(rows)
    columns = [by] if isinstance(by, str) else list(by or ())
    summary = summarise(per_group, ["method", *columns], n_bootstrap=n_bootstrap, seed=seed)
    settings = {
        "package_version": version("cdn-sc"),
        "numpy_version": np.__version__,
        "seed": seed,
        "n_bootstrap": n_bootstrap,
        "n_pairs": int(per_group["pair"].nunique()),
        "methods": list(per_group["method"].unique()),
        "predictors": {name: _describe(predictor) for name, predictor in predictors.items()},
        "tell_kind": tell_kind,
        "by": columns,
        "n_jobs": n_jobs,
        "seconds": round(perf_counter() - started, 3),
        **dict(description or {}),
    }
    return EvaluationResult(per_group, summary, settings)


def _describe(predictor: PairPredictor) -> dict[str, str]:
    facts = {key: getattr(predictor, key, None) for key in ("name", "version", "sha256")}
    return {key: str(value) for key, value in facts.items() if value is not None}


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
        prediction = predictor.predict(
            pair.control, pair.perturbed, rng=stream(0), kind=None if kind is None else str(kind)
        )
        scores = np.asarray(getattr(prediction, "logits", prediction))
        if scores.shape != (n_genes,):
            raise ValueError(f"predictor {name!r} gave scores of shape {scores.shape} for {n_genes} genes")
        scored[name] = scores, perf_counter() - started
    if with_rivals:
        started = perf_counter()
        by_rival = score_rivals(pair.control, pair.perturbed, rng=stream(1))
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
            **rank_metrics(score_ranks(scores, tie_break)[is_target], n_genes),
            "n_candidates": n_genes,
            "n_targets": int(is_target.sum()),
            "n_missing": 0,
            "trivial": trivial,
            "seconds": seconds,
        }
        for method, (scores, seconds) in scored.items()
    ]
