"""Writes a small folder in the published layout."""

import numpy as np
import pandas as pd

from cdn_sc.simulate import scm_pair


def write_published(folder, n_pairs=12, n_test=2):
    """Pairs of 6 to 8 genes in `folder/data/single_cell/line`, and `folder/perturbseq.csv`; returns them."""
    rng = np.random.default_rng(5)
    (folder / "data/single_cell/line").mkdir(parents=True)
    pairs, rows = [], []
    for number in range(n_pairs + n_test):
        pair = scm_pair(rng, n_genes=(6, 8), n_control=(30, 40), n_perturbed=(20, 30), n_targets=(1, 1))
        name = f"data/single_cell/line/data_interv-ENSG{number}.npy"
        np.save(folder / name, pair.perturbed.astype(np.float64))
        np.save(folder / name.replace("data_interv", "data"), pair.control.astype(np.float64))
        split = "train" if number < n_pairs else "test"
        rows.append((f"ENSG{number}", f"GENE{number}", number // 2, split, name, int(pair.targets[0])))
        pairs.append(pair)
    columns = ["pert", "name", "cluster", "split", "fp_data", "label"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "perturbseq.csv", index=False)
    return pairs
