"""The plot of the local causal edges of a gene."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.pl import _graph_difference as module
from cdn_sc.pl import graph_difference

EDGES = pd.DataFrame(
    {
        "neighbour": ["kept", "lost", "gained", "turned", "maybe", "rare", "never"],
        "subsets": [20, 18, 15, 12, 9, 8, 7],
        "edge_control": ["-->", "<->", "", "<-o", "o-o", "", ""],
        "edge_perturbed": ["-->", "", "o->", "-->", "o-o", "o-o", ""],
        "share_control": [1.0, 0.8, 0.0, 0.9, 0.6, 0.0, 0.0],
        "share_perturbed": [0.95, 0.0, 1.0, 0.9, 0.4, 0.25, 0.0],
        "marks_control": [0.8, 0.7, 0.0, 0.7, 0.5, 0.0, 0.0],
        "marks_perturbed": [0.8, 0.0, 0.6, 0.7, 0.4, 0.25, 0.0],
        "chance": [1.0, 0.01, 0.02, 1.0, 0.6, 0.3, 1.0],
        "change": ["kept", "lost", "gained", "turned", "unclear", "none", "none"],
    }
)


@pytest.fixture
def asked_for(monkeypatch):
    """Puts the edges above in the place of computed ones; keeps what was asked for."""
    calls = []
    monkeypatch.setattr(
        module, "graph_difference_table", lambda *args, **options: calls.append((args, options)) or EDGES
    )
    return calls


@pytest.fixture
def adata():
    return ad.AnnData(np.zeros((2, 2), np.float32))


def texts(axis):
    return [text.get_text() for text in axis.texts if text.get_text()]


def lines(axis):
    """Colours and widths of the edges."""
    return [(to_hex(line.get_color()), line.get_linewidth()) for line in axis.lines]


def test_edges_of_both_arms(adata, asked_for):
    control, perturbed = graph_difference(adata, "drug", "GENE", show=False)
    assert (control.get_title(), perturbed.get_title()) == ("control", "drug")
    neighbours = {"kept", "lost", "gained", "turned", "maybe", "rare"}
    for axis in (control, perturbed):
        assert neighbours | {"GENE"} <= set(texts(axis))
        assert "never" not in texts(axis)
    assert {"1.00", "0.80", "0.90", "0.60"} == set(texts(control)) - neighbours - {"GENE"}
    assert {"0.95", "1.00", "0.90", "0.40", "0.25"} == set(texts(perturbed)) - neighbours - {"GENE"}
    assert len(lines(control)) == 4
    assert len(lines(perturbed)) == 5


def test_wider_is_more_frequent(adata, asked_for):
    control, _ = graph_difference(adata, "drug", "GENE", show=False)
    widths = dict(lines(control))
    assert widths[to_hex(module.VERMILLION)] < widths[to_hex(module.ORANGE)] < widths[to_hex("0.25")]


def test_marks_of_the_ends(adata, asked_for):
    control, perturbed = graph_difference(adata, "drug", "GENE", show=False)

    def arrows(axis):
        return sum(getattr(text, "arrow_patch", None) is not None for text in axis.texts)

    def circles(axis):
        return sum(to_hex(drawn.get_facecolor()[0]) == "#ffffff" for drawn in axis.collections)

    # --> one arrow; <-> two; <-o one and a circle; o-o two circles; o-> one and a circle
    assert (arrows(control), circles(control)) == (1 + 2 + 1, 1 + 2)
    assert (arrows(perturbed), circles(perturbed)) == (1 + 1 + 1, 1 + 2 + 2)


def test_changed_edges_have_half_of_the_places(adata, asked_for):
    control, _ = graph_difference(adata, "drug", "GENE", n_genes=4, show=False)
    assert set(texts(control)) >= {"lost", "gained", "kept", "maybe"}
    assert not {"turned", "rare"} & set(texts(control))
    control, _ = graph_difference(adata, "drug", "GENE", n_genes=1, show=False)
    assert "lost" in texts(control)
    control, _ = graph_difference(adata, "drug", "GENE", n_genes=50, show=False)
    assert len(EDGES) - 1 == sum(text in set(EDGES["neighbour"]) for text in texts(control))


def test_legend_and_note(adata, asked_for):
    figure = graph_difference(adata, "drug", "GENE", show=False)[0].get_figure()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["gained", "lost", "other ends", "kept", "may be chance", "in few subsets"]
    assert figure.get_supxlabel().startswith("2 of 7 neighbours gained or lost an edge")


def test_nothing_to_show(adata, monkeypatch):
    monkeypatch.setattr(
        module, "graph_difference_table", lambda *_, **__: EDGES[EDGES["neighbour"] == "never"]
    )
    control, _ = graph_difference(adata, "drug", "GENE", show=False)
    assert texts(control) == ["no edges", "GENE"]


def test_arguments_are_passed_on(adata, asked_for, plt):
    given = plt.subplots(1, 2)[1]
    drawn = graph_difference(
        adata, "drug", "GENE", control="dmso", n_subsets=7, n_shuffles=30, rng=3, ax=given
    )
    assert drawn == list(given)
    ((called, options),) = asked_for
    assert called[1:] == ("drug", "GENE")
    assert options["control"] == "dmso"
    assert (options["n_subsets"], options["n_shuffles"], options["rng"]) == (7, 30, 3)


def test_picture(adata, asked_for, fixed_axes, same_picture):
    axes = fixed_axes((0.02, 0.05, 0.46, 0.9), (0.52, 0.05, 0.46, 0.9), size=(5, 2.4))
    graph_difference(adata, "drug", "GENE", ax=axes)
    same_picture(axes[0].figure, "graph_difference")


def test_bad_input(adata, plt):
    with pytest.raises(InputError, match="1 axes for two graphs"):
        graph_difference(adata, "drug", "GENE", ax=plt.figure().add_subplot())
    with pytest.raises(InputError, match="n_genes"):
        graph_difference(adata, "drug", "GENE", n_genes=0)
    with pytest.raises(MissingNameError, match=r"Run cdn_sc\.tl\.predict_targets"):
        graph_difference(adata, "drug", "GENE", show=False)
