"""Whether a model takes a gene for the target because of how the panel was chosen.

A decoy is a gene at random that is no target and did not change: it must not be found, whatever panel it
stands in. Each group of a simulated screen is scored on three panels of as many genes: the most changed ones;
the same with the weakest replaced by the decoy; and genes at random, the decoy among them. The second
experiment asks as a user would, with `mask_var`.

    python benchmarks/decoys.py --model default --model path/to/other.safetensors --output docs/results

Networks of both experiments are in no suite and in no training.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import cdn_sc
from cdn_sc.predictors import Predictor, load_predictor
from cdn_sc.simulate import Pair, screen_pairs
from cdn_sc.simulate.scm import seeded_rng
from common import markdown

MEASURED, PANEL = 600, 200


def rank_on(predictor: Predictor, pair: Pair, genes: np.ndarray, gene: int) -> int:
    """Rank of a gene among those of a panel."""
    genes = np.sort(genes)
    arms = (np.ascontiguousarray(values[:, genes]) for values in (pair.control, pair.perturbed))
    logits = predictor.predict(*arms, rng=np.random.default_rng(0)).logits
    return int((logits > logits[np.searchsorted(genes, gene)]).sum()) + 1


def decoy_ranks(predictor: Predictor, n_networks: int, n_groups: int) -> pd.DataFrame:
    """Ranks of the decoy forced in and in a random panel, and of the weakest gene that was chosen."""
    rows = []
    for network in range(n_networks):
        kind = ("activity", "knockdown", "knockout", "activation")[network % 4]
        rng = seeded_rng("decoys", network)
        pairs = screen_pairs(
            rng, n_genes=MEASURED, n_groups=n_groups, n_control=1000, kinds={kind: 1.0}, n_targets=(1.0,)
        )
        for pair in pairs:
            c, p = pair.control, pair.perturbed
            error = c.var(axis=0) / len(c) + p.var(axis=0) / len(p)
            order = np.argsort(-np.abs(p.mean(axis=0) - c.mean(axis=0)) / np.sqrt(error + 1e-9))
            top = order[:PANEL]
            decoys = [g for g in order[MEASURED // 2 :] if c[:, g].var() > 0 and g not in pair.targets]
            decoy = int(rng.choice(decoys))
            others = rng.choice(np.setdiff1d(np.arange(MEASURED), decoy), PANEL - 1, replace=False)
            rows.append(
                {
                    "kind": kind,
                    "weakest chosen": rank_on(predictor, pair, top, top[-1]),
                    "decoy forced in": rank_on(predictor, pair, np.append(top[:-1], decoy), decoy),
                    "decoy in a random panel": rank_on(predictor, pair, np.append(others, decoy), decoy),
                }
            )
    return pd.DataFrame(rows)


def masked_ranks(model: str, n_screens: int) -> pd.DataFrame:
    """Ranks of an unchanged gene in `mask_var` beside the 149 most changed ones, and among all 500."""
    import scanpy as sc

    rows = []
    for seed in range(n_screens):
        adata = cdn_sc.simulate.screen(
            500, {"knockdown": 4, "activity": 4}, n_control=800, n_perturbed=120, seed=900 + seed
        )
        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)
        rng = np.random.default_rng(seed)
        sc.tl.rank_genes_groups(adata, "perturbation", reference="control", method="t-test")
        for group, targets in adata.uns["targets"].items():
            tests = sc.get.rank_genes_groups_df(adata, group)
            names = tests.reindex(tests["scores"].abs().sort_values(ascending=False).index)["names"].tolist()
            decoy = str(rng.choice([name for name in names[300:450] if name not in targets]))
            row = {}
            for what, genes in (
                ("149 changed genes and the decoy", [*names[:149], decoy]),
                ("all 500", names),
            ):
                cdn_sc.tl.predict_targets(
                    adata, "perturbation", "control", groups=[group], model=model, progress=False,
                    mask_var=adata.var_names.isin(genes),
                )  # fmt: skip
                table = cdn_sc.get.predicted_targets_df(adata, group).set_index("gene")
                row[what] = int(table.loc[decoy, "rank"]) if decoy in table.index else len(genes)
            rows.append(row)
    return pd.DataFrame(rows)


def summary(ranks: pd.DataFrame) -> pd.DataFrame:
    """Quartiles of each column's ranks and how often they are among the first."""
    columns = ranks.select_dtypes("number")
    found = pd.DataFrame(
        {
            "groups": columns.count(),
            "lower quartile": columns.quantile(0.25),
            "median rank": columns.median(),
            "upper quartile": columns.quantile(0.75),
            "first": (columns == 1).mean().round(3),
            "in the first 10": (columns <= 10).mean().round(3),
        }
    )
    return found.rename_axis("gene").reset_index()


def main() -> None:
    """Write the tables of each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", help="name or path, several times; default: the bundled one"
    )
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument("--screens", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path())
    arguments = parser.parse_args()
    cdn_sc.settings.verbosity = "error"
    lines = []
    for model in arguments.model or ["default"]:
        predictor = load_predictor(model, columns=False)
        lines.append(f"## {predictor.name} {predictor.version}\n")
        ranks = decoy_ranks(predictor, arguments.networks, arguments.groups)
        forced, random = ranks["decoy forced in"], ranks["decoy in a random panel"]
        test = stats.mannwhitneyu(forced, random, alternative="less")
        lines += [
            f"Panels of {PANEL} of {MEASURED} genes. That the decoy ranks before where it stands in a random "
            f"panel: p = {test.pvalue:.2g} (Mann-Whitney, one-sided).\n",
            markdown(summary(ranks)),
            "\nBy `mask_var`, ranks among 150 and among 500 genes:\n",
            markdown(summary(masked_ranks(model, arguments.screens))),
            "",
        ]
    text = "\n".join(lines)
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "decoys.md").write_text(text)


if __name__ == "__main__":
    main()
