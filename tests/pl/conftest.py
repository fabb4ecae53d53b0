"""Results to plot, and pictures to compare with."""

import os
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

BASELINES = Path(__file__).parent / "baselines"


@pytest.fixture(autouse=True)
def plt():
    """Pyplot without windows, with the settings that matplotlib comes with; closes what was drawn."""
    import matplotlib.pyplot as plt

    with mpl.rc_context():
        mpl.rcdefaults()
        plt.switch_backend("Agg")
        yield plt
        plt.close("all")


def result_of(table):
    return {
        "params": {},
        "table": table,
        "skipped": pd.DataFrame({"group": [], "reason": []}, dtype=object),
    }


def random_result(n_groups, n_genes, seed=0):
    """A result in which group i has the best score at gene i, modulo the number of genes."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.5, 8, (n_groups, n_genes))
    scores[np.arange(n_groups), np.arange(n_groups) % n_genes] = rng.uniform(0.85, 0.99, n_groups)
    order = np.argsort(-scores, axis=1)
    genes = np.array([f"gene{i:02d}" for i in range(n_genes)])
    change = rng.normal(0, 1.2, (n_groups, n_genes))
    table = pd.DataFrame(
        {
            "group": pd.Categorical(np.repeat([f"group{i:04d}" for i in range(n_groups)], n_genes)),
            "gene": pd.Categorical(genes[order].ravel()),
            "rank": np.tile(np.arange(1, n_genes + 1, dtype=np.int32), n_groups),
            "score": np.take_along_axis(scores, order, axis=1).ravel().astype(np.float32),
            "logfoldchange": np.take_along_axis(change, order, axis=1).ravel().astype(np.float32),
        }
    )
    table["wilcoxon_statistic"] = (3 * table["logfoldchange"]).astype(np.float32)
    return ad.AnnData(np.zeros((2, 3), np.float32), uns={"cdn_targets": result_of(table)})


@pytest.fixture
def make_result():
    return random_result


@pytest.fixture
def fixed_axes(plt):
    """Makes axes at fixed places, so that no width of a text moves them."""

    def make(*boxes, size=(4, 3)):
        figure = plt.figure(figsize=size)
        axes = [figure.add_axes(box) for box in boxes]
        return axes[0] if len(axes) == 1 else axes

    return make


@pytest.fixture
def same_picture(tmp_path):
    """Compares a figure with the picture in the folder `baselines`, all texts left out.

    Versions of matplotlib draw letters a little differently; what is written is for other tests to check.
    With CDN_SC_WRITE_BASELINES=1 the pictures are written anew: look at them before you commit them.
    """

    def compare(figure, name):
        for text in figure.findobj(Text):
            text.set_text("")
        for axis in figure.axes:
            axis.tick_params(which="both", labelleft=False, labelright=False, labelbottom=False)
        kept = BASELINES / f"{name}.png"
        if os.environ.get("CDN_SC_WRITE_BASELINES"):
            BASELINES.mkdir(exist_ok=True)
            figure.savefig(kept, dpi=60)
        drawn = tmp_path / f"{name}.png"
        figure.savefig(drawn, dpi=60)
        difference = compare_images(kept, drawn, tol=2)
        assert difference is None, difference

    return compare
