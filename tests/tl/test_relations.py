"""Known relations: the table of the user, a table from another screen, and what comes of it."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import cdn_sc
from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.models import build_network
from cdn_sc.tl._relations import resolve_relations

GENES = pd.Index(["a", "b", "c", "d"])
VAR = pd.DataFrame({"symbol": ["A1", "B1", "C1", "C1"]}, index=GENES)


def table(*rows):
    return pd.DataFrame(rows, columns=["source", "target", "weight"][: len(rows[0])])


def entries(found):
    return {
        (GENES[s], GENES[t]): (None if np.isnan(w) else float(w))
        for s, t, w in zip(found.sources, found.targets, found.weights, strict=True)
    }


def test_names_are_matched():
    found = resolve_relations(
        table(("a", "b", 2), ("c", "a", -1), ("x", "a", 1), ("a", "y", 1)), GENES, VAR, None
    )
    assert entries(found) == {("a", "b"): 2.0, ("c", "a"): -1.0}


def test_names_of_a_column():
    """Names that several genes share stand for none of them."""
    found = resolve_relations(table(("A1", "B1", 1), ("C1", "A1", 1)), GENES, VAR, "symbol")
    assert entries(found) == {("a", "b"): 1.0}


def test_unknown_signs_repeats_and_self():
    given = table(("a", "b", None), ("a", "c", 0), ("b", "b", 1), ("c", "d", 1), ("c", "d", 3))
    found = resolve_relations(given, GENES, VAR, None)
    assert entries(found) == {("a", "b"): None, ("a", "c"): None, ("c", "d"): 2.0}
    assert entries(resolve_relations(table(("a", "b")), GENES, VAR, None)) == {("a", "b"): None}


def test_the_table_is_left_alone():
    given = table(("a", "b", 1), ("x", "b", 2)).set_index(pd.Index([7, 7]))
    before = given.copy()
    assert len(resolve_relations(given, GENES, VAR, None)) == 1
    pd.testing.assert_frame_equal(given, before)


def test_what_is_covered_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="cdn_sc"):
        resolve_relations(table(("a", "b", 1), ("zz", "b", 2), ("c", "c", 1)), GENES, VAR, None)
    assert "1 of 3 entries are between genes" in caplog.text
    assert "1 genes with known targets of 4" in caplog.text
    assert "zz" in caplog.text


@pytest.mark.parametrize(
    ("given", "key", "error", "message"),
    [
        ([("a", "b", 1)], None, InputError, "a data frame with columns 'source'"),
        (pd.DataFrame({"source": ["a"]}), None, InputError, "no column 'target': it has 'source'"),
        (table(("a", "b", 1)).iloc[:0], None, InputError, "no rows"),
        (table(("a", None, 1)), None, InputError, "1 rows without a name in 'target'"),
        (table(("a", "b", "up")), None, InputError, "weights that are no numbers"),
        (table(("a", "b", np.inf)), None, InputError, "1 weights that are infinite"),
        (table(("A1", "B1", 1)), None, InputError, "none of the 1 relations .* such as 'A1', 'B1'"),
        (table(("a", "a", 1)), None, InputError, "none of the 1 relations"),
        (table(("a", "b", 1)), "name", MissingNameError, "no column 'name' in adata.var"),
    ],
)
def test_unusable_tables(given, key, error, message):
    with pytest.raises(error, match=message):
        resolve_relations(given, GENES, VAR, key)


@pytest.fixture(scope="module")
def network():
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build_network({"architecture": "gene_transformer", "channels": 16, "heads": 2, "layers": 1})


@pytest.fixture
def screen():
    adata = cdn_sc.datasets.simulated_screen()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


def scores(adata, network, **options):
    cdn_sc.tl.predict_targets(
        adata, "perturbation", "control", model=network, device="cpu", progress=False, **options
    )
    return adata.uns["cdn_targets"]


def true_table(adata):
    edges = adata.uns["network"]
    return pd.DataFrame({"source": edges["regulator"], "target": edges["gene"], "weight": edges["weight"]})


def test_relations_change_the_scores(screen, network):
    without = scores(screen, network)
    told = scores(screen, network, relations=true_table(screen))
    assert "score_relations" not in without["table"]
    assert without["params"]["relations"] == ""
    assert told["params"]["relations"] == f"{len(true_table(screen))} entries"
    by = ["group", "gene"]
    both = told["table"].merge(without["table"], on=by, suffixes=("", "_without"))
    np.testing.assert_allclose(both["score_relations"], both["score"] - both["score_without"], atol=1e-5)
    assert both["score_relations"].abs().max() > 1e-3


def test_order_and_names_of_the_table_do_not_matter(screen, network):
    given = true_table(screen)
    expected = scores(screen, network, relations=given)["table"]
    screen.var["id"] = [f"id_{i}" for i in range(screen.n_vars)]
    renamed = given.sample(frac=1, random_state=0)
    for column in ("source", "target"):
        renamed[column] = screen.var["id"].reindex(renamed[column]).to_numpy()
    found = scores(screen, network, relations=renamed, relations_key="id")["table"]
    pd.testing.assert_frame_equal(found, expected, atol=1e-5, check_exact=False)


def test_only_relations_of_the_mask_count(screen, network):
    """As if the object had no other genes."""
    mask = np.arange(screen.n_vars) % 2 == 0
    given = true_table(screen)
    found = scores(screen, network, relations=given, mask_var=mask)["table"]
    part = screen[:, mask].copy()
    expected = scores(part, network, relations=given)["table"]
    by = ["group", "gene"]
    both = found.merge(expected, on=by, suffixes=("", "_part"))
    assert len(both) == len(found) == len(expected)
    np.testing.assert_allclose(both["score"], both["score_part"], atol=1e-5)


def test_the_object_is_unchanged_after_an_error(screen, network):
    before = set(screen.uns)
    with pytest.raises(InputError, match="none of the 1 relations"):
        scores(screen, network, relations=table(("x", "y", 1)))
    with pytest.raises(InputError, match="without relations"):
        scores(screen, network, relations_key="symbol")
    assert set(screen.uns) == before


def test_published_networks_take_no_relations(screen):
    network = build_network({"architecture": "cdn", "num_vars": 12, "channels": 8, "heads": 2, "blocks": 1})
    first = [next(iter(screen.uns["targets"]))]
    with pytest.warns(UserWarning, match="relations='.*' without effect: .* takes no relations"):
        found = scores(screen, network, relations=true_table(screen), n_genes=8, groups=first, n_subsets=4)
    assert found["params"]["relations"] == ""
    assert "score_relations" not in found["table"]


def test_groups_have_a_table(screen, network, tmp_path):
    found = scores(screen, network)
    groups = found["groups"]
    assert groups["group"].tolist() == sorted(screen.uns["targets"])
    cells = screen.obs["perturbation"].value_counts()
    assert groups["n_cells"].tolist() == [cells[group] for group in groups["group"]]
    best = found["table"].query("rank == 1").set_index("group")
    assert groups["best_gene"].tolist() == [best["gene"][group] for group in groups["group"]]
    np.testing.assert_allclose(groups["best_score"], [best["score"][group] for group in groups["group"]])
    assert set(groups["likely_kind"]) <= {"knockdown", "activation", "knockout", "activity"}
    assert groups["kind_probability"].between(0.25, 1).all()
    screen.write_h5ad(tmp_path / "x.h5ad")
    again = ad.read_h5ad(tmp_path / "x.h5ad").uns["cdn_targets"]["groups"]
    pd.testing.assert_frame_equal(again.reset_index(drop=True), groups, check_dtype=False)


@pytest.fixture
def reference():
    """Two genes that act on others, by knockdown; labels are not names of genes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "sg_a", "sg_a2", "sg_b", "pair", "few"], [200, 60, 40, 60, 50, 4])
    values = rng.normal(3, 0.3, (len(labels), 6)).astype(np.float32)
    for label in ("sg_a", "sg_a2"):
        values[labels == label, 0] -= 1
        values[labels == label, 2] -= 1  # activated by a
        values[labels == label, 3] += 0.5  # repressed by a
    values[labels == "sg_b", 1] -= 1
    values[labels == "sg_b", 4] -= 2
    obs = pd.DataFrame({"label": labels}, index=[f"c{i}" for i in range(len(labels))])
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(6)]))


TARGETS = {"sg_a": "g0", "sg_a2": "g0", "sg_b": "g1", "pair": ["g0", "g1"], "few": "g5"}


def test_a_screen_becomes_a_table(reference):
    before = reference.copy()
    found = cdn_sc.tl.relations_from_screen(reference, "label", "control", TARGETS)
    strong = found[found["weight"].abs() > 8]
    assert list(strong[["source", "target"]].itertuples(index=False, name=None)) == [
        ("g0", "g2"), ("g0", "g3"), ("g1", "g4"),
    ]  # fmt: skip
    assert np.sign(strong["weight"]).tolist() == [1, -1, 1]
    assert not (found["source"] == found["target"]).any()
    assert (found["weight"].abs() > 2).all()
    pd.testing.assert_frame_equal(reference.obs, before.obs)
    np.testing.assert_array_equal(reference.X, before.X)
    assert not reference.uns


def test_activation_turns_the_signs(reference):
    knockdown, activation = (
        cdn_sc.tl.relations_from_screen(reference, "label", "control", TARGETS, kind=kind)
        for kind in ("knockdown", "activation")
    )
    np.testing.assert_allclose(activation["weight"], -knockdown["weight"])


def test_labels_that_are_genes_need_no_targets(reference):
    named = reference.copy()
    named.obs["label"] = named.obs["label"].replace({"sg_a": "g0", "sg_a2": "g0", "sg_b": "g1"})
    with pytest.warns(UserWarning, match="left out"):
        found = cdn_sc.tl.relations_from_screen(named, "label", "control")
    assert set(found["source"]) == {"g0", "g1"}


def test_the_table_is_what_predict_targets_reads(reference):
    found = cdn_sc.tl.relations_from_screen(reference, "label", "control", TARGETS)
    resolved = resolve_relations(found, reference.var_names, reference.var, None)
    assert len(resolved) == len(found)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "drug"}, InputError, "kind is one of"),
        ({"threshold": 0}, InputError, "threshold is a t statistic above 0"),
        ({"threshold": 500.0}, InputError, "no gene responds with an absolute t above 500"),
        ({"min_cells": 1}, InputError, "min_cells"),
        ({"layer": "counts"}, MissingNameError, "counts"),
        ({"targets": {"sg_x": "g0"}}, MissingNameError, "no group 'sg_x'"),
    ],
)
def test_unusable_screens(reference, options, error, message):
    given = {"targets": TARGETS} | options
    with pytest.raises(error, match=message):
        cdn_sc.tl.relations_from_screen(reference, "label", "control", **given)


def test_none_within_the_panel_is_as_none(screen, network, caplog):
    """Of the panel alone: with a mask, or where few genes are scored."""
    outside = table((screen.var_names[0], screen.var_names[1], 1.0))
    mask = np.ones(screen.n_vars, dtype=bool)
    mask[:2] = False
    with caplog.at_level(logging.WARNING, logger="cdn_sc"):
        found = scores(screen, network, relations=outside, mask_var=mask)["table"]
    assert "None of the relations is between two of the" in caplog.text
    pd.testing.assert_frame_equal(found, scores(screen, network, mask_var=mask)["table"])


def test_signs_outlive_their_size():
    given = table(("a", "b", 1.0), ("b", "c", -1e39), ("c", "d", 1e-300))
    found = entries(resolve_relations(given, GENES, VAR, None))
    assert [np.sign(found[pair]) for pair in (("a", "b"), ("b", "c"), ("c", "d"))] == [1, -1, 1]


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (pd.to_datetime(["2020-01-01"]), "no numbers"),
        (pd.to_timedelta(["1 day"]), "no numbers"),
        ([1 + 2j], "no numbers"),
        (["x"], "no numbers"),
    ],
)
def test_weights_that_are_none(weight, said):
    given = pd.DataFrame({"source": ["a"], "target": ["b"], "weight": weight})
    with pytest.raises(InputError, match=said):
        resolve_relations(given, GENES, VAR, None)


def test_two_columns_of_weights():
    given = pd.DataFrame([["a", "b", 1, 2]], columns=["source", "target", "weight", "weight"])
    with pytest.raises(InputError, match="several columns 'weight'"):
        resolve_relations(given, GENES, VAR, None)


def test_keys_that_are_none():
    given = table(("a", "b", 1))
    with pytest.raises(InputError, match=r"relations_key is the name of one column of adata\.var"):
        resolve_relations(given, GENES, VAR, ["symbol"])
    with pytest.raises(MissingNameError, match=r"in adata\.raw\.var \(relations_key\); it has no columns"):
        resolve_relations(given, GENES, pd.DataFrame(index=GENES), "symbol", var_is="adata.raw.var")


def test_reference_screens_that_are_too_small(screen):
    control = np.flatnonzero(screen.obs["perturbation"] == "control")[:3]
    few = screen[np.r_[control, np.flatnonzero(screen.obs["perturbation"] != "control")]].copy()
    targets = dict(screen.uns["targets"])
    with pytest.raises(InputError, match="has 3 cells, fewer than min_cells=10"):
        cdn_sc.tl.relations_from_screen(few, "perturbation", "control", targets)
    with pytest.raises(InputError, match="no group has min_cells=1000 cells"):
        cdn_sc.tl.relations_from_screen(screen, "perturbation", "control", targets, min_cells=1000)
    assert len(
        cdn_sc.tl.relations_from_screen(screen, "perturbation", "control", targets, threshold=np.float32(3))
    )
