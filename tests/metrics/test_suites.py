from itertools import pairwise

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cdn_sc._contrasts import contrasts_of_screen
from cdn_sc.metrics import available_suites, evaluate, register_suite, suite
from cdn_sc.metrics.suites import suite_size


@pytest.fixture
def screen_file(tmp_path):
    rng = np.random.default_rng(0)
    labels = ["control"] * 60 + ["a"] * 30 + ["b"] * 28 + ["multi"] * 10 + ["unmeasured"] * 10
    counts = rng.poisson(5.0, (138, 12)).astype(np.float32)
    counts[60:90, 3] = rng.poisson(1.0, 30)
    adata = anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(138)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(12)]),
        uns={"target_in_var": {"a": "g3", "b": "g5", "multi": "g1", "unmeasured": ""}},
    )
    adata.write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


def test_real_suite_normalises_and_keeps_measured_targets(screen_file):
    pairs = list(suite("real", path=screen_file, kind="knockdown"))
    assert [pair.attributes["group"] for pair in pairs] == ["a", "b"]
    assert [pair.targets.tolist() for pair in pairs] == [[3], [5]]
    assert pairs[0].attributes["kind"] == "knockdown"
    assert pairs[0].control.shape == (60, 12)
    totals = np.expm1(pairs[0].perturbed).sum(axis=1)
    np.testing.assert_allclose(totals, totals[0], rtol=1e-4)
    with pytest.raises(ValueError, match=r"no cell of .* 'untreated'"):
        next(suite("real", path=screen_file, control="untreated"))
    with pytest.raises(ValueError, match=r"needs values in X, obs\['guide'\]"):
        next(suite("real", path=screen_file, groupby="guide"))


def changed(path, name, change):
    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path.with_name(name))
    return path.with_name(name)


def test_real_files_that_cannot_be_used(screen_file, tmp_path):
    with h5py.File(tmp_path / "foreign.h5ad", "w") as file:
        file["cells"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"foreign\.h5ad"):
        next(suite("real", path=tmp_path / "foreign.h5ad"))
    with h5py.File(tmp_path / "odd.h5ad", "w") as file:
        file["obs"] = np.zeros(3)
        file["uns"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"cannot read .*odd\.h5ad as an h5ad file"):
        next(suite("real", path=tmp_path / "odd.h5ad"))
    without_counts = changed(screen_file, "none.h5ad", lambda adata: delattr(adata, "X"))
    with pytest.raises(ValueError, match=r"none\.h5ad needs values in X"):
        next(suite("real", path=without_counts))
    for number, truth in enumerate((["g3", "g5"], {"a": ["g3", "g5"]})):
        path = changed(
            screen_file, f"{number}.h5ad", lambda adata, t=truth: adata.uns.update(target_in_var=t)
        )
        with pytest.raises(ValueError, match="is no mapping of label to the name of one gene"):
            next(suite("real", path=path))


def test_scm_suites():
    pairs = list(suite("scm240", genes=10, limit=3, n_cells=50))
    assert [pair.attributes["regime"] for pair in pairs] == [1, 2, 3]
    assert pairs[0].perturbed.shape == (50, 10)
    (pair,) = suite("scm_untrained", limit=1)
    assert pair.attributes["mechanism"] == "neural_network"


def test_registry():
    assert {"scm240", "scm_untrained", "real"} <= set(available_suites())
    with pytest.raises(ValueError, match=r"unknown suite 'scm24'; known: .*scm240"):
        suite("scm24")
    with pytest.raises(ValueError, match="a suite 'real' already"):
        register_suite("real")(lambda: iter(()))


@pytest.mark.parametrize(
    ("name", "t_test", "wilcoxon"),
    [("papalexi2021_thp1", 0.901, 0.849), ("gasperini2019_k562_igvf", 1.0, 1.0)],
)
def test_real_screens_as_measured_before(shared_dir, name, t_test, wilcoxon):
    pairs = suite("real", path=shared_dir / "data" / f"{name}.h5ad")
    summary = evaluate(pairs, progress=False, n_bootstrap=10).summary
    means = summary.query("stratum == 'all' and metric == 'reciprocal_rank'").set_index("method")["mean"]
    assert means["t_test"] == pytest.approx(t_test, abs=0.001)
    assert means["wilcoxon"] == pytest.approx(wilcoxon, abs=0.06)


def test_screens_suite():
    options = {"genes": 30, "kinds": ("knockdown", "activity"), "n_networks": 2, "n_groups": 3}
    pairs = list(suite("screens", **options, n_control=80, n_perturbed=(20, 40), n_targets=(0.5, 0.5)))
    assert [pair.attributes["kind"] for pair in pairs] == (["knockdown"] * 3 + ["activity"] * 3) * 2
    assert all(pair.control.shape == (80, 30) for pair in pairs)
    assert all(20 <= len(pair.perturbed) <= 40 for pair in pairs)
    assert {len(pair.targets) for pair in pairs} == {1, 2}
    # groups of one network share their control cells, in a row, so that a predictor can keep what it made
    # of them
    shared = [a.control is b.control for a, b in pairwise(pairs)]
    assert shared == ([True, True, False] * 4)[:-1]
    again = list(suite("screens", **options, n_control=80, n_perturbed=(20, 40), n_targets=(0.5, 0.5)))
    assert all(np.array_equal(a.perturbed, b.perturbed) for a, b in zip(pairs, again, strict=True))
    other = next(suite("screens", seed=1, **options, n_control=80))
    assert not np.array_equal(other.control, pairs[0].control)


def test_correlations_of_a_suite():
    options = {"genes": 30, "kinds": ("knockout",), "n_networks": 1, "n_groups": 3, "n_control": 400}
    first, *_ = pairs = list(suite("screens", **options))
    # of each group at most a twentieth of all cells that count
    expected = contrasts_of_screen(400, [pair.perturbed for pair in pairs])
    assert len(expected) <= 3 * (0.05 * (400 + 3 * 23) - 1)
    np.testing.assert_array_equal(first.contrasts, expected)
    assert all(pair.contrasts is first.contrasts for pair in pairs)
    (without, *_) = suite("screens", correlations="control", **options)
    assert without.contrasts is None
    np.testing.assert_array_equal(without.perturbed, first.perturbed)
    with pytest.raises(ValueError, match="correlations is 'screen' or 'control', not 'all'"):
        next(suite("screens", correlations="all", **options))


def test_correlations_of_a_real_screen(screen_file):
    first, second = suite("real", path=screen_file)
    # 60 control cells: three cells of each of four conditions are a twentieth of what counts
    assert first.contrasts is second.contrasts
    assert len(first.contrasts) == 4 * (3 - 1)

    def more_control(adata):
        labels = np.array(["control"] * 940 + list(adata.obs["perturbation"][60:]))
        values = np.concatenate([np.random.default_rng(1).poisson(5.0, (940, 12)), adata.X[60:].toarray()])
        large = anndata.AnnData(
            sparse.csr_matrix(values.astype(np.float32)),
            obs=pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))]),
            var=adata.var,
            uns=dict(adata.uns),
        )
        large.write_h5ad(screen_file.with_name("large.h5ad"))

    more_control(anndata.read_h5ad(screen_file))
    path = screen_file.with_name("large.h5ad")
    first, second = suite("real", path=path)
    # all conditions but the control, those without a known target too: one row less than cells of each
    assert first.contrasts is second.contrasts
    assert len(first.contrasts) == (30 - 1) + (28 - 1) + (10 - 1) + (10 - 1)
    expected = contrasts_of_screen(940, [first.perturbed])
    products = first.contrasts[:29].T @ first.contrasts[:29]
    np.testing.assert_allclose(products, expected.T @ expected, rtol=1e-4, atol=1e-4)
    (again, _) = suite("real", path=path)
    np.testing.assert_array_equal(again.contrasts, first.contrasts)
    assert next(suite("real", path=path, correlations="control")).contrasts is None


def test_large_screens_are_like_screens_on_networks_of_their_own():
    options = {
        "kinds": ("knockout",),
        "n_networks": 1,
        "n_groups": 2,
        "n_control": 40,
        "n_perturbed": (100, 500),
    }
    pairs = list(suite("screens_large", genes=30, **options))
    assert all(pair.control.shape == (40, 30) and 100 <= len(pair.perturbed) <= 500 for pair in pairs)
    assert pairs[0].control is pairs[1].control
    assert not np.array_equal(pairs[0].control, next(suite("screens", genes=30, **options)).control)
    sizes = [pair.attributes["genes"] for pair in suite("screens_large", **options | {"n_groups": 1})]
    assert sizes == [300, 500, 1000]


def test_suites_and_training_draw_from_different_seeds():
    from cdn_sc.simulate.scm import seeded_rng
    from cdn_sc.train import read_config
    from cdn_sc.train.data import step_rng

    config = read_config("gene-transformer")
    suite_draws = [
        seeded_rng("test", 0, name, genes, kind, network).random()
        for name in ("screens", "screens_large")
        for genes in (100, 500)
        for kind in ("knockdown", "activity")
        for network in range(10)
    ]
    training = [
        step_rng(config, space, step).random() for space in ("train", "validation") for step in range(200)
    ]
    assert not set(suite_draws) & set(training)
    assert len(set(suite_draws)) == 80


@pytest.mark.parametrize("name", ["screens", "screens_large"])
def test_suites_of_screens_draw_from_the_space_of_tests(name):
    from cdn_sc.simulate import screen_pairs
    from cdn_sc.simulate.scm import seeded_rng

    options = {"n_control": 20, "n_groups": 1, "n_perturbed": (5, 9), "n_targets": (1.0,)}
    first = next(suite(name, seed=4, genes=30, kinds=("knockdown",), **options))
    rng = seeded_rng("test", 4, name, 30, "knockdown", 0)
    rng.uniform()  # the number of control cells
    (expected,) = screen_pairs(rng, n_genes=30, kinds={"knockdown": 1.0}, **options)
    np.testing.assert_array_equal(first.control, expected.control)


@pytest.mark.parametrize("name", ["screens", "screens_large"])
def test_more_genes_than_are_simulated(name):
    with pytest.raises(ValueError, match="genes is 20,001; screens of at most 20,000 genes are simulated"):
        next(suite(name, genes=(30, 20_001)))


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"'scm240' has no option path; it has: seed, genes"):
        suite("scm240", path="x.h5ad")
    with pytest.raises(ValueError, match="'real' needs the option path"):
        suite("real")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scm240", {"genes": 10, "n_datasets": 1, "n_cells": 2, "limit": 7}),
        ("scm_untrained", {"genes": 10, "n_datasets": 2, "n_cells": 2}),
        (
            "screens",
            {"genes": (30, 40), "kinds": ("activity",), "n_networks": 2, "n_groups": 3, "n_control": 20},
        ),
        ("screens", {"genes": 30, "kinds": ("activity",), "n_networks": 1, "n_groups": 3, "n_control": 20}),
    ],
)
def test_size(name, options):
    assert suite_size(name, **options) == sum(1 for _ in suite(name, **options))


def test_size_of_whole_suites():
    assert suite_size("scm240") == 3600
    assert suite_size("scm_untrained", genes=20) == 800
    assert suite_size("screens") == 10 * 4 * 4 * 8
    assert suite_size("screens_large") == 4 * 3 * 4 * 8
    assert suite_size("real", path="x.h5ad") is None


def test_values_on_a_scale_of_their_own_are_taken_as_they_are(tmp_path):
    """Proteins: below 0, several targets joined, the kind from the file."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 2, (30, 4)).astype(np.float32)
    labels = np.repeat(["control", "drug", "other"], 10)
    adata = anndata.AnnData(
        values,
        obs=pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(30)]),
        var=pd.DataFrame(index=["A", "A_p1", "B", "C"]),
        uns={"scale": "log", "kind": "activity", "target_in_var": {"drug": "A_p1|A|Z", "other": "Z"}},
    )
    adata.write_h5ad(tmp_path / "proteins.h5ad")
    (pair,) = suite("real", path=tmp_path / "proteins.h5ad")
    np.testing.assert_array_equal(pair.control, values[:10])
    assert sorted(pair.targets) == [0, 1]
    assert pair.attributes["kind"] == "activity"
    adata.uns.pop("scale")
    adata.write_h5ad(tmp_path / "no_scale.h5ad")
    with pytest.raises(ValueError, match="neither counts"):
        list(suite("real", path=tmp_path / "no_scale.h5ad"))


def test_comparison_within_blocks(tmp_path):
    """Each block's controls become its zero; a block without any is left out."""
    rng = np.random.default_rng(1)
    labels = np.array((["control"] * 4 + ["drug"] * 3) * 2 + ["drug"] * 5)
    blocks = np.array(["x"] * 7 + ["y"] * 7 + ["z"] * 5)
    values = rng.normal(0, 0.1, (19, 3)) + (blocks == "y")[:, None] * 50.0
    values[labels == "drug", 1] += 1.0
    adata = anndata.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame({"perturbation": labels, "plate": blocks}, index=[f"c{i}" for i in range(19)]),
        var=pd.DataFrame(index=list("abc")),
        uns={"scale": "z", "target_in_var": {"drug": "b"}},
    )
    path = tmp_path / "x.h5ad"
    adata.write_h5ad(path)
    (pair,) = suite("real", path=path, within="plate")
    assert (len(pair.control), len(pair.perturbed)) == (8, 6)
    np.testing.assert_allclose(pair.control[:4].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(pair.perturbed.mean(axis=0), [0, 1, 0], atol=0.3)
    assert np.abs(pair.perturbed).max() < 2
    with pytest.raises(ValueError, match="no column 'lane'"):
        list(suite("real", path=path, within="lane"))


def test_suites_of_wider_screens_and_of_samples():
    options = {"genes": 50, "n_networks": 1, "n_groups": 3, "kinds": ("activity",)}
    wide = list(suite("screens_wide", n_control=100, **options))
    assert {tuple(pair.directions.tolist()) for pair in wide} <= {
        (1.0,),
        (-1.0,),
        (-1.0, -1.0),
        (1.0, 1.0),
    } | {tuple(pair.directions.tolist()) for pair in wide if len(pair.targets) > 2}
    samples = list(suite("samples", **options))
    assert all(8 <= len(pair.control) <= 60 for pair in samples)
    assert all(2 <= len(pair.perturbed) <= 12 for pair in samples)
    assert (samples[0].control != 0).all()


def test_tables_of_relations_in_suites():
    options = {"genes": 60, "n_networks": 1, "n_groups": 2, "kinds": ("activity",), "n_control": 100}
    plain = list(suite("screens", **options))
    told = list(suite("screens", relations=(0.8, 0.5), **options))
    related = list(suite("screens", reference=0.3, **options))
    assert all(pair.relations is None for pair in plain)
    for with_table in (told, related):
        # the cells are the same, whatever is known
        np.testing.assert_array_equal(with_table[0].control, plain[0].control)
        assert len(with_table[0].relations) > 0
    table = told[0].relations
    assert told[0].graph[table.sources, table.targets].mean() == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="either relations or reference"):
        list(suite("screens", relations=(0.5, 0.5), reference=0.3, **options))
    with pytest.raises(ValueError, match="reference is given as 3"):
        list(suite("screens", reference=3, **options))
