"""`cdn-sc evaluate`."""

from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn_sc._files import make_folder
from cdn_sc._read import check_there
from cdn_sc._run_lock import folder_lock, only_run
from cdn_sc.cli._threads import limit_threads
from cdn_sc.errors import InputError

if TYPE_CHECKING:
    from cdn_sc.predictors import Predictor

_BY = {
    "scm240": ["mechanism", "intervention"],
    "scm_untrained": ["intervention"],
    "screens": ["kind"],
    "screens_large": ["kind"],
    "screens_wide": ["kind"],
    "samples": ["kind"],
    "perturbseq": ["cell_line"],
    "sciplex": ["cell_line"],
    "synthetic": ["mechanism", "intervention"],
}
# Suites whose data is drawn by the seed; the others are as they are.
_SCREENS = ("screens", "screens_large", "screens_wide", "samples")
_DRAWN = ("scm240", "scm_untrained", *_SCREENS)


def evaluate(
    suite: Annotated[
        str,
        typer.Option(
            help="scm240, scm_untrained, screens, screens_large, screens_wide, samples, real, perturbseq, "
            "sciplex or synthetic."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables and the settings.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name of a model, or file of weights; repeat for several. Default: default."),
    ] = None,
    rivals_only: Annotated[bool, typer.Option("--rivals-only", help="Score no model.")] = False,
    tell_kind: Annotated[
        bool, typer.Option("--tell-kind", help="Tell the models what the perturbations do.")
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Attribute of the pairs to tell apart in further tables; repeat for several."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pairs.")] = None,
    genes: Annotated[
        int | None, typer.Option(min=2, help="[scm240, scm_untrained, screens...] Genes.")
    ] = None,
    n_datasets: Annotated[
        int | None,
        typer.Option(min=1, help="[scm240, scm_untrained, synthetic] Data sets for each setting."),
    ] = None,
    n_cells: Annotated[
        int | None,
        typer.Option(min=2, help="[scm240, scm_untrained] Only the first so many cells of an arm."),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="[screens...] Kind; repeat for several."),
    ] = None,
    n_networks: Annotated[
        int | None,
        typer.Option(min=1, help="[screens...] Networks for each size and kind."),
    ] = None,
    n_groups: Annotated[int | None, typer.Option(min=1, help="[screens...] Groups on each network.")] = None,
    n_perturbed: Annotated[
        tuple[int, int] | None,
        typer.Option(min=2, metavar="LOW HIGH", help="[screens...] Fewest and most cells of a group."),
    ] = None,
    relations: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="KNOWN CORRECT",
            help="[screens...] Give models a table of relations: share of edges known, of entries true.",
        ),
    ] = None,
    reference: Annotated[
        float | None,
        typer.Option(help="[screens...] Give them a screen of related cells: share of other edges there."),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(help="[real] An h5ad file or zarr store, counts or log-normalised values in X."),
    ] = None,
    groupby: Annotated[str | None, typer.Option(help="[real] Column of obs with the perturbations.")] = None,
    control: Annotated[str | None, typer.Option(help="[real] Label of the control cells.")] = None,
    truth: Annotated[
        str | None, typer.Option(help="[real] Key of uns: label -> measured target gene, empty if none.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="[real] What the perturbations did.")] = None,
    within: Annotated[
        str | None, typer.Option(help="[real] Column of obs with batches or blocks to compare within.")
    ] = None,
    correlations: Annotated[
        str | None,
        typer.Option(help="[screens..., real] Cells behind correlations: screen or control."),
    ] = None,
    cell_line: Annotated[
        list[str] | None,
        typer.Option(help="[perturbseq, sciplex] Cell line, such as k562_gw; repeat for several."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="[perturbseq] test (default), train or val.")] = None,
    held_out: Annotated[
        str | None,
        typer.Option(help="[perturbseq] Split of this unseen cell line: hepg2, jurkat, k562, rpe1."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="[synthetic] Setting; repeat for several. Default: all 48.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="[perturbseq, sciplex, synthetic] Folder with the unpacked archive."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the suite's data and of the evaluation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    n_jobs: Annotated[int, typer.Option(help="Processes; -1 for all cores.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each process. Default: one.")] = None,
    n_bootstrap: Annotated[int, typer.Option(min=1, help="Resamples for the intervals.")] = 1000,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, warnings only.")] = False,
) -> None:
    """Measure how well known targets are found, by models and by simple rivals, on the same pairs.

    Pairs that were scored are kept in the folder, so that the same command goes on where it was stopped.
    """
    make_folder(output)
    if path is not None:
        check_there(path)
    given: dict[str, Any] = {
        "genes": genes,
        "n_datasets": n_datasets,
        "n_cells": n_cells,
        "kinds": tuple(kinds) if kinds else None,
        "n_networks": n_networks,
        "n_groups": n_groups,
        "n_perturbed": n_perturbed,
        "relations": relations,
        "reference": reference,
        "path": None if path is None else str(path),
        "groupby": groupby,
        "control": control,
        "truth": truth,
        "kind": kind,
        "within": within,
        "correlations": correlations,
        "cell_line": tuple(cell_line) if cell_line else None,
        "split": split,
        "held_out": held_out,
        "setting": tuple(setting) if setting else None,
        "folder": None if folder is None else str(folder),
    }
    options = {name: value for name, value in given.items() if value is not None}

    from cdn_sc import metrics, settings
    from cdn_sc.metrics.runner import check_attributes
    from cdn_sc.metrics.suites import suite_size

    if quiet:
        settings.verbosity = "warning"
    if threads is not None:
        limit_threads(threads)
    if suite in _DRAWN:
        options["seed"] = seed
    columns = by or _BY.get(suite, [])
    with only_run(output, folder_lock(output)):
        # what cannot be used shows before the models are loaded and hours are spent
        pairs = check_attributes(metrics.suite(suite, **options), columns)
        predictors = {} if rivals_only else _load(model or ["default"], device)
        result = metrics.evaluate(
            pairs,
            predictors,
            tell_kind=tell_kind,
            seed=seed,
            n_jobs=n_jobs,
            threads=threads,
            n_bootstrap=n_bootstrap,
            resume=output / "scored.jsonl",
            limit=limit,
            total=suite_size(suite, **options),
            description={"suite": suite, "options": options, **_content(path)},
        )
        result.write(output, by=columns)
        typer.echo((output / "summary.md").read_text(encoding="utf-8"))
    typer.echo(f"Written: {output}")


def _content(path: Path | None) -> dict[str, str]:
    """Tell a file by what it holds: another one may come to lie under its name."""
    if path is None:
        return {}
    if path.is_file():
        return {"path_sha256": _sha256(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = "\n".join(f"{file.relative_to(path).as_posix()} {_sha256(file)}" for file in files)
    return {"path_sha256": sha256(listed.encode()).hexdigest()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _load(models: list[str], device: str) -> "dict[str, Predictor]":
    from cdn_sc._device import resolve_device
    from cdn_sc.predictors import load_predictor

    predictors: dict[str, Predictor] = {}
    for model in models:
        predictor = load_predictor(model, device=resolve_device(device), columns=False)
        # two files of one run carry the same name
        name = predictor.name if predictor.name not in predictors else model
        if name in predictors:
            raise InputError(f"the model {model!r} is given twice.")
        predictors[name] = predictor
    return predictors
