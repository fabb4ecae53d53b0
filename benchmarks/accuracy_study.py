"""Accuracy of a model beside expression tests, along one property of simulated screens at a time.

    python benchmarks/accuracy_study.py --model default --output docs
    python benchmarks/accuracy_study.py --axes genes effect --jobs 4 --output docs

Mean average precision on networks that neither training nor a suite draws (seed space "test", words of its
own). Writes `results/accuracy_study.csv`, a table `results/study_<axis>.md` for each axis and the picture
`_static/accuracy_study.png` into the output folder. Points that the CSV holds for these weights and numbers
are not scored again: remove it where the simulator or the package's inputs changed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from accuracy_points import AXES, COLUMNS, Design, missing, score_point, short
from accuracy_report import draw, table_of
from cdn_sc.predictors import load_predictor

QUICK = Design(seeds=2, networks=1, groups=2)


def read(path: Path) -> pd.DataFrame:
    """Rows scored so far, none where there is no file."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS).astype({"seed": str, "sha256": str})
    return pd.read_csv(path, dtype={"value": float, "seed": str, "sha256": str}, keep_default_na=False)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the rows in one step, so that a run that is stopped leaves a whole file."""
    unfinished = path.with_suffix(".part")
    order = ["axis", "value", "kind", "method", "told", "seed", "design", "sha256"]
    table.sort_values(order).to_csv(unfinished, index=False, float_format="%.5g")
    unfinished.replace(path)


def of_run(table: pd.DataFrame, design: Design, sha256: str) -> pd.DataFrame:
    """Rows of these numbers of networks and groups and of these weights."""
    return table[(table["design"] == str(design)) & (table["sha256"] == sha256)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default", help="name, or file of weights")
    parser.add_argument(
        "--axes", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS", help=f"{[*AXES]}"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=Design.seeds, help="editions")
    parser.add_argument("--networks", type=int, default=Design.networks, help="networks an edition")
    parser.add_argument("--groups", type=int, default=Design.groups, help="groups a network")
    parser.add_argument("--quick", action="store_true", help="hardly any groups: to see that it runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the points that are missing, and lay out all there are."""
    options = parse(arguments)
    design = QUICK if options.quick else Design(options.seeds, options.networks, options.groups)
    predictor = load_predictor(options.model, device=options.device, columns=False)
    results, pictures = options.output / "results", options.output / "_static"
    for folder in (results, pictures):
        folder.mkdir(parents=True, exist_ok=True)
    path = results / "accuracy_study.csv"
    table = read(path)
    points = missing(of_run(table, design, short(predictor)), options.axes)
    jobs = (delayed(score_point)(predictor, *point, design) for point in points)
    with parallel_config(backend="loky", inner_max_num_threads=1):
        scored = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(jobs)
        for rows in tqdm(scored, total=len(points), unit="point"):
            table = rows if table.empty else pd.concat([table, rows], ignore_index=True)
            write(table, path)

    chosen = of_run(table, design, short(predictor))
    for axis in chosen["axis"].unique():
        (results / f"study_{axis}.md").write_text(table_of(chosen, axis, design), encoding="utf-8")
    draw(chosen, pictures / "accuracy_study.png")
    print(f"Written: {results}, {pictures}")


if __name__ == "__main__":
    main()
