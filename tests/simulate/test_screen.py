"""Simulated screens: effects in the right direction, truth, reproducibility, files, errors."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc._contrasts import contrasts_of_screen
from cdn_sc.simulate import Pair, screen, screen_pairs
from cdn_sc.simulate.perturbation import KINDS
from cdn_sc.simulate.relations import TableQuality

screen_module = sys.modules["cdn_sc.simulate.screen"]  # the function of that name hides it


def group_cells(adata, group, *, responding=True):
    chosen = adata.obs["perturbation"] == group
    return adata[chosen & adata.obs["responds"]] if responding and group != "control" else adata[chosen]


def rate(adata):
    """Mean count of each gene in a cell of median depth."""
    return np.asarray(adata.X.sum(axis=0)).ravel() / adata.obs["depth"].sum()


@pytest.fixture(scope="module")
def large():
    groups = dict.fromkeys(KINDS, 3)
    return screen(
        100, groups, n_control=800, n_perturbed=200, strength=0.9, penetrance=0.7, n_inactive=1, seed=5
    )


def test_layout(large):
    assert large.shape == (800 + 13 * 200, 100)
    assert sparse.issparse(large.X)
    assert large.X.format == "csr"
    assert large.X.dtype == np.float32
    assert (large.X.data == np.round(large.X.data)).all()
    assert large.X.data.min() > 0
    assert large.obs["perturbation"].cat.categories[0] == "control"
    assert large.obs["perturbation"].value_counts()["control"] == 800
    assert large.obs["perturbation"].nunique() == 14
    assert large.obs_names.is_unique
    assert large.var_names.is_unique
    assert set(large.obs["kind"].unique()) == {*KINDS, "inactive", "control"}


def test_truth(large):
    targets = large.uns["targets"]
    groups = set(large.obs["perturbation"].unique()) - {"control"}
    assert set(targets) == groups - {"no_target (inactive)"}
    hit = [gene for genes in targets.values() for gene in genes]
    assert set(hit) <= set(large.var_names)
    assert len(hit) == len(set(hit)) == 12  # no gene twice as long as there are others
    network = large.uns["network"]
    assert {*network["regulator"], *network["gene"]} <= set(large.var_names)
    assert len(network["weight"]) == len(network["gene"]) == len(network["regulator"]) > 50


def fold_changes(adata, kind):
    """Fold change of each group's target among the cells that respond."""
    control = rate(group_cells(adata, "control"))
    for group, targets in adata.uns["targets"].items():
        if group.endswith(f"({kind})"):
            column = adata.var_names.get_loc(targets[0])
            yield float(rate(group_cells(adata, group))[column] / control[column])


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [("knockdown", 0.0, 0.6), ("activation", 1.2, 20.0), ("knockout", 0.15, 1.15), ("activity", 0.6, 1.6)],
)
def test_targets_change_as_their_kind_says(large, kind, lowest, highest):
    changes = list(fold_changes(large, kind))
    assert len(changes) == 3
    assert all(lowest <= change <= highest for change in changes), changes


def test_inhibitors_move_what_the_target_regulates():
    """Genes activated by the target fall, those repressed rise, while the target's transcript stays."""
    adata = screen(
        40, {"activity": 4}, n_control=4000, n_perturbed=1500, strength=0.9, penetrance=1.0, seed=5
    )
    network, control = adata.uns["network"], np.log(rate(group_cells(adata, "control")) + 0.02)
    agree, moved = [], []
    for group, (target,) in adata.uns["targets"].items():
        change = np.log(rate(group_cells(adata, group)) + 0.02) - control
        own = network["regulator"] == target
        genes = adata.var_names.get_indexer(network["gene"][own])
        strong = np.abs(change[genes]) > 0.15
        agree += list(np.sign(change[genes][strong]) == -np.sign(network["weight"][own][strong]))
        moved.append(np.abs(change[genes]).max() > 2 * abs(change[adata.var_names.get_loc(target)]))
    assert len(agree) >= 8
    assert np.mean(agree) > 0.85
    assert np.mean(moved) >= 0.75


def test_penetrance(large):
    perturbed = large.obs[~large.obs["kind"].isin(["control", "inactive"])]
    assert perturbed["responds"].mean() == pytest.approx(0.7, abs=0.03)
    assert not large.obs.loc[large.obs["kind"].isin(["control", "inactive"]), "responds"].any()
    everyone = screen(24, 2, n_control=10, n_perturbed=20, penetrance=1.0)
    assert everyone.obs.loc[everyone.obs["kind"] != "control", "responds"].all()
    nobody = screen(24, 2, n_control=10, n_perturbed=20, penetrance=0)
    assert not nobody.obs["responds"].any()


def test_silent_cells_of_a_knockdown_are_like_the_control(large):
    for group, (target,) in large.uns["targets"].items():
        if group.endswith("(knockdown)"):
            cells = group_cells(large, group, responding=False)
            column = large.var_names.get_loc(target)
            untouched = rate(cells[~cells.obs["responds"]])[column]
            assert untouched > 1.3 * rate(cells[cells.obs["responds"]])[column]


def test_same_seed_same_screen():
    first, same, other = (screen(30, 3, n_control=20, n_perturbed=10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.X.toarray(), same.X.toarray())
    assert first.obs.equals(same.obs)
    assert (first.X != other.X).nnz > 0


def test_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    screen(24, 2, n_control=10, n_perturbed=5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_kinds_in_turn_and_cell_ranges():
    adata = screen(30, 6, n_control=20, n_perturbed=(5, 9), seed=3)
    kinds = [name.split("(")[1].split(")")[0] for name in adata.obs["perturbation"].cat.categories[1:]]
    assert kinds == [*KINDS, *KINDS[:2]]
    sizes = adata.obs["perturbation"].value_counts().drop("control")
    assert sizes.between(5, 9).all()
    assert sizes.nunique() > 1


def test_several_targets():
    adata = screen(30, 4, n_control=20, n_perturbed=5, n_targets=(0, 0, 1))
    for group, targets in adata.uns["targets"].items():
        assert len(set(targets)) == 3
        assert group.startswith("+".join(targets))


def test_more_groups_than_genes_are_numbered():
    adata = screen(24, {"knockdown": 60}, n_control=20, n_perturbed=2)
    names = adata.obs["perturbation"].cat.categories[1:]
    assert len(names) == 60
    assert names.is_unique
    assert names.str.contains("#2").any()
    assert len(adata.uns["targets"]) == 60


def test_file_keeps_everything(tmp_path):
    adata = screen(30, 2, n_control=20, n_perturbed=10, n_targets=(0.5, 0.5), n_inactive=1)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert {k: list(v) for k, v in back.uns["targets"].items()} == {
        k: list(v) for k, v in adata.uns["targets"].items()
    }
    np.testing.assert_array_equal(back.uns["network"]["weight"], adata.uns["network"]["weight"])
    np.testing.assert_array_equal(back.X.toarray(), adata.X.toarray())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_genes": 23}, "n_genes is 23; a screen needs at least 24"),
        ({"n_groups": {"knock-down": 2}}, "unknown kind of perturbation 'knock-down'; known: knockdown"),
        ({"n_groups": {"inactive": 2}}, "unknown kind of perturbation 'inactive'"),
        ({"n_control": 1}, "n_control is 1"),
        ({"n_perturbed": 1}, "n_perturbed is .*at least 2 cells"),
        ({"n_perturbed": (30, 20)}, r"n_perturbed is \(30, 20\).*smaller number first"),
        ({"n_perturbed": 20.5}, "whole numbers of at least 2 cells"),
        ({"penetrance": 1.5}, "penetrance is 1.5"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"strength": -1.0}, "strength is -1.0"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"n_groups": -1}, "n_groups is -1"),
        ({"n_groups": {"knockdown": -2}}, "cannot be negative"),
        ({"n_inactive": -1}, "n_inactive -1"),
        ({"n_targets": (0,)}, r"n_targets is \(0,\)"),
        ({"seed": None}, "seed is None"),
        ({"seed": -3}, "seed is -3"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        screen(**({"n_genes": 24, "n_groups": 2, "n_control": 5, "n_perturbed": 5} | arguments))


def test_dropout_takes_counts_away():
    whole, thinned = (screen(24, 2, n_control=300, n_perturbed=20, dropout=share) for share in (0.0, 0.4))
    before, after = whole.X.toarray(), thinned.X.toarray()
    seen = before > 0
    assert np.all((after == before) | (after == 0))
    assert np.mean(after[seen] == 0) == pytest.approx(0.4, abs=0.03)


def test_a_network_without_edges_can_be_written(tmp_path):
    adata = screen(24, 1, n_control=5, n_perturbed=5, strength=0.0)
    assert np.all(adata.uns["network"]["weight"] == 0)
    adata.write_h5ad(tmp_path / "screen.h5ad")


def test_targets_are_measured_and_new_as_long_as_there_are_genes():
    rng = np.random.default_rng(0)
    for _ in range(40):
        for pair in screen_pairs(
            rng, n_genes=4, n_groups=4, n_control=5, n_perturbed=(5, 5), hidden_share=0.5
        ):
            assert pair.targets.max() < 4
    groups = screen(24, {"knockdown": 22}, n_control=5, n_perturbed=5).uns["targets"].values()
    assert len({gene for targets in groups for gene in targets}) == 22


def test_import_is_light():
    """Neither torch nor AnnData, which only some of the functions need."""
    heavy = "{'torch', 'anndata', 'numba', 'scanpy'}"
    code = f"import sys, cdn_sc.simulate; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_name():
    assert cdn_sc.simulate.screen is screen


def pairs_of(seed=0, **options):
    sizes = {"n_genes": 30, "n_groups": 5, "n_control": 60, "n_perturbed": (10, 20)}
    return screen_pairs(np.random.default_rng(seed), **(sizes | options))


def test_pairs_share_their_control():
    pairs = pairs_of()
    assert len(pairs) == 5
    for pair in pairs:
        assert pair.control is pairs[0].control
        assert pair.control.shape == (60, 30)
        assert 10 <= pair.perturbed.shape[0] <= 20
        assert pair.perturbed.shape == (pair.attributes["perturbed_cells"], 30)
        assert pair.control.dtype == pair.perturbed.dtype == np.float32
        assert pair.attributes["kind"] in KINDS
        assert pair.attributes["n_targets"] == len(pair.targets) == len(set(pair.targets.tolist())) > 0
        assert pair.graph.shape == (30, 30)
        assert np.isfinite(pair.control).all()
        assert pair.control.min() >= 0


def test_pairs_are_reproducible():
    for first, second in zip(pairs_of(), pairs_of(), strict=True):
        np.testing.assert_array_equal(first.perturbed, second.perturbed)
        np.testing.assert_array_equal(first.targets, second.targets)


@pytest.mark.parametrize("measured_per_gene", [1.0, 3.0])
def test_targets_point_at_the_genes_hit(measured_per_gene):
    """Knocked-down genes fall, also where panels keep only the genes that changed most."""
    pairs = pairs_of(
        kinds={"knockdown": 1}, n_control=400, n_perturbed=(300, 300), n_groups=12, n_targets=(1,),
        measured_per_gene=measured_per_gene,
    )  # fmt: skip
    falls = []
    for pair in pairs:
        assert pair.control.shape[1] == pair.perturbed.shape[1] == 30
        change = pair.perturbed.mean(axis=0) - pair.control.mean(axis=0)
        falls += (change[pair.targets] < 0).tolist()
    assert np.mean(falls) > 0.9
    # one panel for all groups, wherever it came from
    assert all(pair.control is pairs[0].control for pair in pairs)


def test_selected_panels_keep_the_most_changed():
    narrow = pairs_of(measured_per_gene=4.0, n_groups=8, n_targets=(0, 1))
    for pair in narrow:
        assert len(pair.targets) + pair.n_missing == 2
        assert (pair.targets < 30).all()
        assert pair.graph.shape == (30, 30)
    assert any(pair.n_missing for pair in narrow)

    def largest_t(pairs):
        """Of each gene in any group."""
        t = []
        for pair in pairs:
            arms = pair.control, pair.perturbed
            error = sum(arm.var(axis=0) / len(arm) for arm in arms)
            t.append(np.abs(arms[1].mean(0) - arms[0].mean(0)) / np.sqrt(error + 1e-9))
        return np.max(t, axis=0)

    # same seed, same cells: chosen genes changed more than all measured ones
    everything = pairs_of(n_genes=120, n_groups=8, n_targets=(0, 1))
    assert np.median(largest_t(narrow)) > 1.3 * np.median(largest_t(everything))
    assert np.sort(largest_t(everything))[-30:].min() == pytest.approx(largest_t(narrow).min(), rel=1e-4)


def test_panels_are_chosen_without_a_look_at_the_targets(monkeypatch):
    """The largest |t| of all measured genes, and nothing else: whoever was hit, the panel is the same."""
    wide, chosen = [], []

    def spy(control, groups, number):
        wide.append((control, groups))
        chosen.append(most_changed(control, groups, number))
        return chosen[-1]

    most_changed = screen_module._most_changed
    monkeypatch.setattr(screen_module, "_most_changed", spy)
    pairs = pairs_of(measured_per_gene=4.0, n_groups=6, n_perturbed=(40, 40))
    ((control, groups),), (kept,) = wide, chosen
    assert len(pairs) == len(groups) == 6
    t = []
    for perturbed in groups:
        error = np.sqrt(control.var(axis=0) / len(control) + perturbed.var(axis=0) / len(perturbed) + 1e-9)
        t.append(np.abs(perturbed.mean(axis=0) - control.mean(axis=0)) / error)
    largest = np.max(t, axis=0)
    assert largest[kept].min() >= np.delete(largest, kept).max() - 1e-4
    # in the order that they were measured in
    assert (np.diff(kept) > 0).all()
    for pair, perturbed in zip(pairs, groups, strict=True):
        np.testing.assert_array_equal(pair.control, control[:, kept])
        np.testing.assert_array_equal(pair.perturbed, perturbed[:, kept])


@pytest.mark.parametrize("measured_per_gene", [1.0, 3.0])
def test_contrasts_are_those_of_the_whole_screen(measured_per_gene):
    """One array for all groups, of the panel's genes, no group with more than its share of cells."""
    options = {
        "n_control": 900,
        "n_groups": 4,
        "n_perturbed": (30, 90),
        "measured_per_gene": measured_per_gene,
    }
    pairs = pairs_of(contrasts=True, **options)
    expected = contrasts_of_screen(900, [pair.perturbed for pair in pairs])
    assert expected.shape[1] == 30
    assert len(expected) < sum(len(pair.perturbed) - 1 for pair in pairs)
    for pair in pairs:
        assert pair.contrasts is pairs[0].contrasts
        np.testing.assert_allclose(pair.contrasts, expected, atol=1e-5)
    assert all(pair.contrasts is None for pair in pairs_of(**options))
    # too few cells beside few control cells: there is nothing to be had
    assert all(pair.contrasts is None for pair in pairs_of(contrasts=True, n_control=20))


def test_targets_of_a_panel_are_the_same_genes():
    """Whether all measured genes are kept or some: same cells, and who is left out is counted."""
    whole = pairs_of(n_genes=90, n_groups=8, hidden_share=0.2)
    panel = pairs_of(n_genes=30, n_groups=8, hidden_share=0.2, measured_per_gene=3.0)
    assert sum(pair.n_missing for pair in panel) > 0
    for all_genes, some in zip(whole, panel, strict=True):
        assert len(all_genes.perturbed) == len(some.perturbed)
        kept = [np.flatnonzero((column == all_genes.control.T).all(axis=1)) for column in some.control.T]
        assert all(len(places) == 1 for places in kept)
        kept = np.concatenate(kept)
        np.testing.assert_array_equal(all_genes.perturbed[:, kept], some.perturbed)
        np.testing.assert_array_equal(all_genes.graph[np.ix_(kept, kept)], some.graph)
        assert sorted(kept[some.targets]) == sorted(set(all_genes.targets) & set(kept))
        assert len(some.targets) + some.n_missing == len(all_genes.targets)


def test_genes_of_interest_are_drawn_at_random():
    """As often targets as chance makes them: in place of the weakest of the genes that changed."""
    options = {"measured_per_gene": 3.0, "n_groups": 40, "n_targets": (1,), "kinds": {"activity": 1}}
    plain, mixed = pairs_of(**options), pairs_of(of_interest=0.5, **options)
    assert all(pair.control.shape[1] == 30 for pair in mixed)

    def found(pairs):
        return np.mean([len(pair.targets) for pair in pairs])

    # 15 of 90 by |t|, and 15 of the other 75 at random
    assert 0.1 < found(mixed) < 0.6
    assert found(plain) < 0.7
    with pytest.raises(ValueError, match=r"of_interest is 1\.5"):
        pairs_of(of_interest=1.5)


def test_unusable_pairs():
    with pytest.raises(ValueError, match="unknown kind of perturbation 'drug'"):
        pairs_of(kinds={"knockdown": 1.0, "drug": 1e-9})
    with pytest.raises(ValueError, match="n_control is 1"):
        pairs_of(n_control=1)
    with pytest.raises(ValueError, match="n_perturbed is"):
        pairs_of(n_perturbed=(1, 5))
    with pytest.raises(ValueError, match="at least 5 genes"):
        pairs_of(n_genes=3, hidden_share=0.0)
    with pytest.raises(ValueError, match=r"kinds is \[\]"):
        pairs_of(kinds={})
    with pytest.raises(ValueError, match="penetrance is 2"):
        pairs_of(penetrance=2)
    with pytest.raises(ValueError, match=r"hidden_share is -0\.5"):
        pairs_of(hidden_share=-0.5)
    with pytest.raises(ValueError, match="groups of up to 3 targets need as many genes, but n_genes is 2"):
        pairs_of(n_genes=2)


def test_repr_of_a_pair_has_sizes_and_no_values():
    pair = Pair(np.zeros((30, 4)), np.ones((20, 4)), np.array([2]), {"kind": "knockout"})
    assert repr(pair) == "Pair(30 control and 20 perturbed cells, 4 genes, targets [2], kind='knockout')"


def test_depth_is_taken_from_the_panel_or_from_the_cell():
    """By the panel's own totals in half of the networks, which are then alike in all cells."""
    by_panel = []
    for seed in range(80):
        (pair,) = pairs_of(seed, n_groups=1, n_control=40, hidden_share=0.0)
        totals = np.expm1(pair.control.astype(float)).sum(axis=1)
        counted = totals[totals > 0]
        by_panel.append(np.ptp(counted) < 1e-3 * counted.mean())
    assert np.mean(by_panel) == pytest.approx(0.5, abs=0.15)


def test_genes_of_interest_take_the_place_of_the_weakest(monkeypatch):
    numbers = []

    def spy(control, perturbed, number):
        numbers.append(number)
        return np.arange(number)

    monkeypatch.setattr(screen_module, "_most_changed", spy)
    shared = pairs_of(measured_per_gene=1.0, n_groups=1)
    assert not numbers
    assert shared[0].control.shape[1] == 30
    places = []
    for seed in range(20):
        panel = pairs_of(seed, measured_per_gene=4.0, n_groups=1, of_interest=0.2)[0].control
        everything = pairs_of(seed, n_genes=120, n_groups=1)[0].control
        assert panel.shape[1] == 30
        np.testing.assert_array_equal(panel[:, :24], everything[:, :24])
        for column in panel[:, 24:].T:
            places.append(24 + int(np.flatnonzero((column == everything[:, 24:].T).all(axis=1))[0]))
    assert numbers == 20 * [24]  # of 30
    # the rest comes from anywhere
    assert len(set(places)) > 50
    assert np.mean(places) == pytest.approx(72, abs=8)


def test_wide_pairs_say_which_way_their_targets_went():
    pairs = [
        pair
        for seed in range(12)
        for pair in screen_pairs(
            np.random.default_rng(seed), n_genes=50, n_groups=6, n_control=80, wide=True, contrasts=True
        )
    ]
    for pair in pairs:
        assert len(pair.directions) == len(pair.targets)
        assert set(pair.directions.tolist()) <= {-1.0, 1.0}
    by_kind = {kind: [p for p in pairs if p.attributes["kind"] == kind] for kind in KINDS}
    assert {d for p in by_kind["activation"] for d in p.directions} == {1.0}
    assert {d for p in by_kind["knockdown"] for d in p.directions} == {-1.0}
    assert {d for p in by_kind["activity"] for d in p.directions} == {-1.0, 1.0}
    assert max(len(p.targets) for p in pairs) > 3


def test_pairs_as_before_unless_asked_otherwise():
    """Suites stay what they were: nothing more is drawn."""
    options = {"n_genes": 60, "n_groups": 4, "n_control": 50}
    pairs = screen_pairs(np.random.default_rng(3), **options)
    assert float(pairs[0].control.sum()) == pytest.approx(1610.3896, rel=1e-5)
    assert float(pairs[2].perturbed.sum()) == pytest.approx(1829.0497, rel=1e-5)
    assert pairs[3].targets.tolist() == [55]


def test_pairs_of_samples():
    options = {"n_genes": 40, "n_groups": 5, "samples": True, "wide": True, "contrasts": True}
    few = screen_pairs(np.random.default_rng(0), n_control=12, n_perturbed=(2, 4), **options)
    assert few[0].control.shape == (12, 40)
    assert {len(pair.perturbed) for pair in few} <= {2, 3, 4}
    assert (few[0].control != 0).all()
    many = screen_pairs(np.random.default_rng(0), n_control=400, n_perturbed=(100, 200), **options)
    # samples of many cells vary less than single cells, whatever the unit
    spread = [np.median(p[0].control.std(axis=0)) / np.ptp(p[0].control) for p in (few, many)]
    assert spread[0] < spread[1]


def test_relations_of_a_screen_are_of_its_panel():
    """Also of a panel of the most changed genes; all groups share the table."""
    quality = TableQuality(known=0.9, correct=1.0)
    pairs = screen_pairs(
        np.random.default_rng(1),
        n_genes=40,
        n_groups=3,
        n_control=60,
        measured_per_gene=3.0,
        relations=quality,
    )
    known = pairs[0].relations
    assert all(pair.relations is known for pair in pairs)
    assert known.n_genes == 40
    assert len(known) > 5
    assert pairs[0].graph[known.sources, known.targets].all()
    without = screen_pairs(np.random.default_rng(1), n_genes=40, n_groups=3, n_control=60)
    assert without[0].relations is None
