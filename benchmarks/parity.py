"""Compare the networks and the local graphs with numbers of the published implementation.

    python benchmarks/parity.py --parity ../shared/parity --output results/parity

Writes `logits.csv` (largest difference of the logits for each case and form, in float32 and float64),
`fci.csv` (graphs that differ from causal-learn 0.1.3.8 for each kind of data) and `parity.md` with both.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from cdn_sc import models
from cdn_sc.graphs import fci_graphs
from cdn_sc.nn import collate
from common import markdown

FORMS = {"cat": "concat", "diff": "difference"}
KINDS = ("linear", "tanh", "log counts", "some duplicated genes", "some unexpressed genes")


def parity_arm(case: dict[str, np.ndarray], which: str) -> SimpleNamespace:
    """Inputs of one arm of a case; `which` is "obs" (control) or "int" (perturbed)."""
    entries = case[f"edge_tokens_{which}"]
    tokens = np.zeros((len(entries), len(case[f"edge_nodes_1based_{which}"])), entries.dtype)
    np.put_along_axis(tokens, case[f"edge_index_{which}"], entries, axis=1)
    return SimpleNamespace(
        tokens=tokens,
        pairs=case[f"edge_nodes_1based_{which}"],
        correlation=case[f"corr_{which}"],
        mean_variance=case[f"mean_var_{which}"],
    )


def compare_logits(folder: Path) -> pd.DataFrame:
    """Largest absolute difference from the published logits, a row for each case and form."""
    rows = []
    for path in sorted(folder.glob("case_*.npz")):
        with np.load(path) as arrays:
            case = dict(arrays)
        arms = parity_arm(case, "obs"), parity_arm(case, "int")
        batch = collate([arms], permutations=case["permutations"][None])
        for short, form in FORMS.items():
            network = models.load(folder / f"official_{short}.ckpt")
            published = case[f"logits_{short}"]
            found = {}
            for name, precise in (("float32", network), ("float64", network.double())):
                if name == "float32":
                    precise = models.load(folder / f"official_{short}.ckpt")
                with torch.inference_mode():
                    found[name] = precise(batch)[0].numpy().astype(np.float64)
            rows.append(
                {
                    "case": path.stem,
                    "genes": len(published),
                    "form": form,
                    "float32 - published": np.abs(found["float32"] - published).max(),
                    "float64 - published": np.abs(found["float64"] - published).max(),
                    "float32 - float64": np.abs(found["float32"] - found["float64"]).max(),
                    "bound": 1e-4 if len(published) <= 20 else 2e-2,
                }
            )
    return pd.DataFrame(rows)


def compare_graphs(folder: Path) -> pd.DataFrame:
    """Graphs that differ from the oracle's, a row for each kind of data."""
    with np.load(folder / "fci_oracle.npz") as oracle:
        graphs, succeeded = fci_graphs(oracle["corr"].astype(np.float64), oracle["n_samples"])
        other_outcome = succeeded != oracle["succeeded"]
        both = succeeded & oracle["succeeded"]
        other_graph = both & (graphs != oracle["graph"]).any(axis=(1, 2))
        kinds = oracle["kind"]
        failed = ~oracle["succeeded"]
    rows = [
        {
            "kind": name,
            "cases": int((kinds == kind).sum()),
            "failed in causal-learn": int(failed[kinds == kind].sum()),
            "different graph": int(other_graph[kinds == kind].sum()),
            "failed in one alone": int(other_outcome[kinds == kind].sum()),
        }
        for kind, name in enumerate(KINDS)
    ]
    total = {"kind": "all"} | {column: sum(row[column] for row in rows) for column in list(rows[0])[1:]}
    return pd.DataFrame([*rows, total])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parity", type=Path, default=Path("../shared/parity"), help="folder of the cases")
    parser.add_argument("--output", type=Path, default=Path("results/parity"), help="folder for the tables")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    logits, graphs = compare_logits(options.parity), compare_graphs(options.parity)
    logits.to_csv(options.output / "logits.csv", index=False)
    graphs.to_csv(options.output / "fci.csv", index=False)
    text = f"Logits, largest difference:\n\n{markdown(logits)}\nLocal graphs:\n\n{markdown(graphs)}"
    (options.output / "parity.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
