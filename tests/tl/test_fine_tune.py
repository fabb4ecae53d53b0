"""Fine-tuning on a screen: what it returns, what it learns from, and what it refuses."""

import csv
import doctest

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse

import cdn_sc
from cdn_sc import errors, models
from cdn_sc.simulate import Pair
from cdn_sc.tl import _fine_tune as module
from cdn_sc.tl import fine_tune, predict_targets

GENE_TRANSFORMER = {
    "architecture": "gene_transformer", "channels": 8, "heads": 2, "layers": 1, "points": 4,
    "message_channels": 8, "message_heads": 2, "members": 2,
}  # fmt: skip
CDN = {
    "architecture": "cdn", "num_vars": 40, "max_subsets": 60, "channels": 8, "heads": 2, "blocks": 1,
    "encoder_ffn": 4, "comparison_ffn": 8,
}  # fmt: skip
N_GROUPS = 8


def small_network(architecture="gene_transformer"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.build_network(GENE_TRANSFORMER if architecture == "gene_transformer" else CDN)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(cdn_sc.settings, "_verbosity", "warning")


@pytest.fixture(scope="module")
def whole_screen():
    # enough control cells for each group to have no more than its share of those behind the correlations
    adata = cdn_sc.simulate.screen(24, {"knockdown": N_GROUPS}, n_control=300, n_perturbed=20, seed=9)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    genes = {name: targets[0] for name, targets in adata.uns["targets"].items()}
    adata.obs["gene"] = adata.obs["perturbation"].astype(str).map(genes).fillna("control")
    return adata


@pytest.fixture
def screen(whole_screen):
    return whole_screen.copy()


def tuned(adata, architecture="gene_transformer", groupby="gene", **options):
    settings = {"epochs": 2, "progress": False, "device": "cpu"} | options
    if "model" not in settings:
        settings["model"] = small_network(architecture)
    return fine_tune(adata, groupby, "control", **settings)


def same_weights(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def pairs_given_to_training(monkeypatch, adata, **options):
    """Pairs that training would get; it is stopped before it begins."""

    class StoppedError(Exception):
        pass

    def stop(config, folder, *, given, **_):
        found.append((config, given))
        raise StoppedError

    found = []
    import cdn_sc.train

    with monkeypatch.context() as patch:
        patch.setattr(cdn_sc.train, "train", stop)
        with pytest.raises(StoppedError):
            tuned(adata, **options)
    return found[0]


@pytest.mark.parametrize("architecture", ["gene_transformer", "cdn"])
def test_the_model_predicts_saves_and_loads(screen, tmp_path, architecture):
    before = screen.copy()
    start = small_network(architecture)
    state = {name: value.clone() for name, value in start.state_dict().items()}
    network = tuned(screen, model=start, validation=0)
    assert all(torch.equal(start.state_dict()[name], value) for name, value in state.items())
    assert not same_weights(network, start)
    assert not network.training
    assert network.config == start.config
    pd.testing.assert_frame_equal(before.obs, screen.obs)
    assert (before.X != screen.X).nnz == 0
    assert before.uns.keys() == screen.uns.keys()

    predict_targets(screen, "gene", "control", model=network, progress=False)
    models.save(network, tmp_path / "mine.safetensors", network.card)
    again = models.load(tmp_path / "mine.safetensors")
    assert same_weights(network, again)
    assert again.card["name"] == "fine-tuned"
    assert again.card["training"]["started_from"]["name"] == type(start).__name__
    assert sorted(again.card["training"]["groups"]) == sorted(set(screen.obs["gene"]) - {"control"})
    table = screen.uns["cdn_targets"]["table"]
    predict_targets(screen, "gene", "control", model=tmp_path / "mine.safetensors", progress=False)
    pd.testing.assert_frame_equal(screen.uns["cdn_targets"]["table"], table)


def test_the_default_model_keeps_what_it_can_tell(screen):
    network = tuned(screen, model="default", epochs=1, n_genes=12)
    assert network.config == models.load("default").config
    assert network.card["training"]["started_from"]["name"] == "gene-transformer"
    predict_targets(screen, "gene", "control", model=network, progress=False)
    assert "score_elsewhere" in screen.uns["cdn_targets"]["table"]


def test_same_seed_same_model(screen):
    first, second, other = (tuned(screen, rng=seed, validation=0) for seed in (1, 1, 2))
    assert same_weights(first, second)
    assert not same_weights(first, other)
    generators = [np.random.default_rng(4) for _ in range(2)]
    by_generator = [tuned(screen, rng=generator, epochs=1, validation=0) for generator in generators]
    assert same_weights(*by_generator)
    dense = screen.copy()
    dense.X = dense.X.toarray()
    assert same_weights(first, tuned(dense, rng=1, validation=0))


def test_a_run_in_a_folder_goes_on_to_the_bit(screen, tmp_path):
    whole = tuned(screen, folder=tmp_path / "whole", name="mine")
    for _ in range(7):
        part = tuned(screen, folder=tmp_path / "part", name="mine", max_seconds=0)
    assert part.card["training"]["steps"] == whole.card["training"]["steps"]
    assert same_weights(whole, part)
    assert same_weights(whole, models.load(tmp_path / "whole" / "mine.safetensors"))
    with (tmp_path / "whole" / "log.csv").open(newline="") as file:
        log = list(csv.DictReader(file))
    assert [float(row["validation_auroc"]) for row in log] == whole.card["training"]["validations"][
        "validation_auroc"
    ]
    held_out = whole.card["training"]["validation_groups"]
    last = whole.card["training"]["groups"][-1]
    # so many epochs of so many groups that the configuration stays the same
    fewer = screen[screen.obs["gene"] != last].copy()
    with pytest.raises(ValueError, match="a run on other pairs"):
        tuned(fewer, folder=tmp_path / "whole", name="mine", validation=held_out)
    with pytest.raises(ValueError, match="another configuration"):
        tuned(screen, folder=tmp_path / "whole", name="mine", learning_rate=0.5)


def test_best_weights_and_split(screen):
    network = tuned(screen, validation=0.25, epochs=3, learning_rate=1e-2)
    training = network.card["training"]
    assert len(training["validation_groups"]) == 2
    assert len(training["groups"]) == N_GROUPS - 2
    assert set(training["groups"]).isdisjoint(training["validation_groups"])
    scores = training["validations"]["validation_auroc"]
    assert len(scores) == 4
    assert training["best_auroc"] == max(scores)
    assert training["best_step"] == training["validations"]["step"][int(np.argmax(scores))]


def test_validation_groups_by_name(screen, monkeypatch):
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    _, given = pairs_given_to_training(monkeypatch, screen, validation=labels[:3])
    assert [pair.attributes["group"] for pair in given.validation] == labels[:3]
    assert [pair.attributes["group"] for pair in given.training] == labels[3:]
    _, given = pairs_given_to_training(monkeypatch, screen, validation=[labels[2]], groups=labels[:4])
    assert len(given.training) == 3


def test_guides_of_one_gene_stay_together(screen, monkeypatch):
    guide = np.array(["g1", "g2"])[np.arange(screen.n_obs) % 2]
    screen.obs["guide"] = np.where(
        screen.obs["gene"] == "control", "control", screen.obs["gene"] + "_" + guide
    )
    targets = {label: label.split("_g")[0] for label in screen.obs["guide"].unique() if label != "control"}
    for seed in range(4):
        _, given = pairs_given_to_training(
            monkeypatch, screen, groupby="guide", targets=targets, min_cells=5, validation=0.5, rng=seed
        )
        sides = [
            {targets[pair.attributes["group"]] for pair in part}
            for part in (given.training, given.validation)
        ]
        assert sides[0].isdisjoint(sides[1])
        assert min(map(len, sides)) > 0


def test_pairs_are_those_that_predictions_see(screen, monkeypatch):
    _, given = pairs_given_to_training(monkeypatch, screen, n_genes=6, validation=0, kind="knockdown")
    values = screen.to_df()
    labels = screen.obs["gene"].astype(str)
    predict_targets(screen, "gene", "control", n_genes=6, model=small_network(), progress=False)
    table = screen.uns["cdn_targets"]["table"]
    for pair in given.training:
        group = pair.attributes["group"]
        rows = table[table["group"] == group]
        candidates = sorted(rows["gene"].astype(str))
        assert pair.control.shape[1] == 6
        assert pair.attributes["kind"] == "knockdown"
        # a target that is no candidate of a prediction is none of the pair's genes either
        assert [candidates[target] for target in pair.targets] == [group] * (group in candidates)
        assert pair.n_missing == (group not in candidates)
        control = values[labels == "control"].sort_index()
        np.testing.assert_array_equal(pair.control, control[candidates])
        np.testing.assert_array_equal(pair.perturbed, values.loc[labels == group, candidates])
    assert {pair.n_missing for pair in given.training} == {0, 1}


def test_targets_that_are_no_candidates(screen, caplog):
    """Their groups are learned from as they would be seen; with no other there is nothing to learn."""
    tuned(screen, n_genes=6, epochs=1)
    assert "of these groups is none of their candidate genes" in caplog.text
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    values = screen.X.toarray()
    for label in [*labels, "control"]:  # of all targets as much in every group as in the control
        cells = np.flatnonzero(screen.obs["gene"] == label)
        values[np.ix_(cells, screen.var_names.get_indexer(labels))] = np.arange(len(cells))[:, None] % 2
    screen.X = sparse.csr_matrix(values)
    with pytest.raises(errors.InputError, match="targets of all 8 groups are none of their candidate genes"):
        tuned(screen, n_genes=2, epochs=1)


def test_who_was_hit_does_not_choose_the_candidates(screen, monkeypatch):
    """Training on decoys as targets takes the very same genes and cells."""
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    decoys = {label: labels[(place + 3) % len(labels)] for place, label in enumerate(labels)}
    _, true = pairs_given_to_training(monkeypatch, screen, n_genes=6, validation=0)
    _, false = pairs_given_to_training(monkeypatch, screen, n_genes=6, validation=0, targets=decoys)
    for one, other in zip(true.training, false.training, strict=True):
        np.testing.assert_array_equal(one.perturbed, other.perturbed)
        np.testing.assert_array_equal(one.control, other.control)


def test_validation_reads_the_same_correlations_as_training(screen, monkeypatch):
    from cdn_sc import features
    from cdn_sc.train import objective

    read, summarise = [], features.summarize_control

    def recorded(control, contrasts, **options):
        read.append((control, contrasts))
        return summarise(control, contrasts, **options)

    monkeypatch.setattr(features, "summarize_control", recorded)
    _, pairs = pairs_given_to_training(monkeypatch, screen, validation=0.4)
    validated = list(pairs.validation)
    objective.validate(small_network(), validated)
    # one panel, and so the same control cells and contrasts for all of them
    assert len(validated) > 1
    ((control, contrasts),) = read
    assert len(contrasts) == N_GROUPS * 19
    for pair in [*validated, *pairs.training]:
        assert pair.control is control
        assert pair.contrasts is contrasts


def test_fingerprint_is_of_everything_that_is_read(screen, monkeypatch):
    """A cell of another condition, which only the correlations read, changes it; a cell outside does not."""
    screen.obs["gene"] = screen.obs["gene"].astype(str)
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    groups = labels[:5]

    def fingerprint(adata, **options):
        return pairs_given_to_training(monkeypatch, adata, groups=groups, **options)[1].fingerprint

    before = fingerprint(screen)
    assert fingerprint(screen.copy()) == before
    for label in (labels[-1], groups[0], "control"):
        changed = screen.copy()
        rows = np.flatnonzero(changed.obs["gene"] == label)
        values = changed.X.toarray()
        values[rows[:2], 3] = values[rows[:2], 3][::-1] + np.float32(0.25)
        changed.X = sparse.csr_matrix(values)
        assert fingerprint(changed) != before, label
    unlabelled = screen.copy()
    unlabelled.obs.loc[unlabelled.obs_names[unlabelled.obs["gene"] == labels[-1]], "gene"] = np.nan
    assert fingerprint(unlabelled) != before


@pytest.mark.parametrize("architecture", ["gene_transformer", "cdn"])
def test_one_panel_or_candidates_of_each_group(screen, monkeypatch, architecture):
    """As predictions choose: one panel, or each group's own where the model has a limit of its own."""
    _, given = pairs_given_to_training(
        monkeypatch, screen, architecture=architecture, n_genes=10, validation=0
    )
    arrays = {pair.control.tobytes() for pair in given.training}
    assert (len(arrays) == 1) == (architecture == "gene_transformer")
    assert {pair.control.shape[1] for pair in given.training} == {10}
    _, everything = pairs_given_to_training(monkeypatch, screen, architecture=architecture, validation=0)
    sizes = {pair.control.shape[1] for pair in everything.training}
    assert all(20 < size <= 24 for size in sizes)
    if architecture == "cdn":
        return
    _, common = pairs_given_to_training(monkeypatch, screen, min_detection=0.9, validation=0)
    assert common.training[0].control.shape[1] < sizes.pop()
    assert common.fingerprint != everything.fingerprint
    found = [int(target) for pair in given.training for target in pair.targets]
    assert len(found) == len(set(found)) == N_GROUPS - sum(pair.n_missing for pair in given.training)


def test_several_targets_and_unknown_ones(screen, monkeypatch):
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    others = [gene for gene in screen.var_names if gene not in labels][:2]
    targets = {labels[0]: [labels[0], others[0]], labels[1]: others[1], labels[2]: "", labels[3]: None}
    _, given = pairs_given_to_training(monkeypatch, screen, targets=targets, validation=0)
    named = [[screen.var_names[gene] for gene in pair.targets] for pair in given.training]
    assert sorted(named) == sorted([sorted([labels[0], others[0]]), [others[1]]])


def test_labels_that_are_no_genes_are_named_once(screen):
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    screen.obs["gene"] = screen.obs["gene"].replace({labels[0]: "drug_A", labels[1]: "drug_B"})
    with pytest.warns(UserWarning, match="no genes of var_names: 'drug_A', 'drug_B'. 6 groups") as caught:
        network = tuned(screen, epochs=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    training = network.card["training"]
    assert sorted(training["groups"] + training["validation_groups"]) == labels[2:]


def test_groups_that_cannot_be_learned_from_are_named_once(screen):
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    few = np.flatnonzero(screen.obs["gene"] == labels[0])[5:]
    screen = screen[np.setdiff1d(np.arange(screen.n_obs), few)].copy()
    values = screen.X.toarray()
    values[:, screen.var_names.get_loc(labels[1])] = 0
    screen.X = sparse.csr_matrix(values)
    with pytest.warns(
        UserWarning, match=rf"2 of 8 groups .*{labels[0]}.*5 cells.*{labels[1]}.*not vary"
    ) as caught:
        tuned(screen, epochs=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_mask_is_kept_to(screen):
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    screen.var["chosen"] = screen.var_names != labels[0]
    with pytest.warns(UserWarning, match=rf"{labels[0]}.*not in mask_var"):
        tuned(screen, epochs=1, mask_var="chosen")


@pytest.mark.parametrize("bad", [np.nan, -5.0, 1e30])
def test_only_genes_of_the_mask_are_judged(screen, monkeypatch, bad):
    labels = sorted(set(screen.obs["gene"]) - {"control"})
    outside = next(place for place, gene in enumerate(screen.var_names) if gene not in labels)
    screen.var["chosen"] = np.arange(screen.n_vars) != outside
    _, expected = pairs_given_to_training(monkeypatch, screen, mask_var="chosen", validation=0)
    values = screen.X.toarray()
    values[:, outside] = bad
    screen.X = sparse.csr_matrix(values)
    _, found = pairs_given_to_training(monkeypatch, screen, mask_var="chosen", validation=0)
    assert found.fingerprint == expected.fingerprint
    for one, other in zip(found.training, expected.training, strict=True):
        np.testing.assert_array_equal(one.targets, other.targets)
        np.testing.assert_array_equal(one.perturbed, other.perturbed)
        group = one.attributes["group"]
        assert [screen.var_names[screen.var["chosen"]][target] for target in one.targets] == [group]


def test_guides_among_the_genes_are_told_of(screen):
    screen.var["feature_types"] = ["CRISPR Guide Capture", *["Gene Expression"] * (screen.n_vars - 1)]
    with pytest.warns(UserWarning, match="guide|CRISPR"):
        tuned(screen, epochs=1)


def test_settings_reach_the_trainer(screen, monkeypatch):
    config, _ = pairs_given_to_training(
        monkeypatch, screen, epochs=7, batch_size=3, learning_rate=3e-5, patience=4, cells_kept=0.9, rng=8,
        validation=0.25,
    )  # fmt: skip
    assert (config.steps, config.max_pairs_per_batch, config.validate_every) == (14, 3, 2)
    assert (config.learning_rate, config.patience, config.cells_kept, config.seed) == (3e-5, 4, 0.9, 8)
    assert (config.kind_wrong, config.kind_told, config.select_by) == (0.0, 0.0, "auroc")
    config, _ = pairs_given_to_training(
        monkeypatch, screen, architecture="cdn", kind="knockdown", validation=0
    )
    assert (config.kind_wrong, config.kind_told, config.select_by, config.patience) == (0.0, 0.5, "", 0)
    assert config.learning_rate == module.LEARNING_RATES["cdn"]


def test_learning_on_a_screen_of_its_own(screen):
    """The groups it learned from are found better afterwards, by a network that knew nothing."""
    start = small_network()
    network = tuned(screen, model=start, validation=0, epochs=40, batch_size=8, learning_rate=3e-2)
    truth = {label: label for label in set(screen.obs["gene"]) - {"control"}}
    found = []
    for model in (start, network):
        predict_targets(screen, "gene", "control", model=model, progress=False)
        metrics = cdn_sc.metrics.target_metrics(screen.uns["cdn_targets"]["table"], truth)
        found.append(metrics["average_precision"].mean())
    assert found[1] > found[0] + 0.2


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"groupby": "genes"}, KeyError, "no column 'genes'.*Did you mean 'gene'"),
        (
            {"groupby": "perturbation"},
            ValueError,
            r"labels are 'gene_.*\(knockdown\)'.*targets=\{label: gene\}",
        ),
        ({"control": "Control"}, KeyError, "Did you mean 'control'"),
        ({"targets": ["gene_01"]}, ValueError, "targets is a mapping .*not a list"),
        ({"targets": {"gene_0": "gene_01"}}, KeyError, r"no group 'gene_0' \(targets\). Did you mean"),
        ({"targets": {}}, ValueError, "targets are none"),
        ({"layer": "log"}, KeyError, "no 'log'"),
        ({"validation": 1}, ValueError, "validation is a share .*not 1"),
        ({"validation": -0.1}, ValueError, "validation is a share"),
        ({"validation": True}, ValueError, "validation is a share"),
        ({"validation": "gene_01"}, ValueError, "validation is a share .*not 'gene_01'"),
        ({"validation": ["gene_99"]}, ValueError, "names 'gene_99', which is none of the groups"),
        ({"validation": []}, ValueError, "validation is an empty list"),
        ({"epochs": 0}, ValueError, "epochs .* at least 1, not 0"),
        ({"patience": -1}, ValueError, "patience .* at least 0"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"learning_rate": 0}, ValueError, "learning_rate is a number above 0"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate is a number above 0"),
        ({"cells_kept": 0}, ValueError, "cells_kept is a share"),
        ({"cells_kept": 1.1}, ValueError, "cells_kept is a share"),
        ({"kind": "drug"}, ValueError, "kind is one of"),
        ({"n_genes": 1}, ValueError, "n_genes .* at least 2"),
        ({"min_detection": 2}, ValueError, "min_detection is a share, from 0 to 1, not 2"),
        ({"min_cells": 1}, ValueError, "min_cells"),
        ({"min_cells": 301}, ValueError, "control.* has 300 cells, fewer"),
        ({"min_cells": 30}, ValueError, "no group can be learned from: .*20 cells"),
        ({"rng": -1}, ValueError, "-1 is no seed"),
        ({"name": "a/b"}, ValueError, "name is of letters.*not 'a/b'"),
        ({"trackers": ["tensorbord"]}, ValueError, "no tracker 'tensorbord'"),
        ({"trackers": ["tensorboard"]}, ValueError, "name a folder"),
        ({"model": "gene-transformr"}, ValueError, "gene-transformer"),
        ({"device": "gpu"}, RuntimeError, "is no device"),
    ],
)
def test_bad_arguments(screen, options, error, match):
    before = screen.copy()
    settings = {"groupby": "gene", "control": "control", "progress": False} | options
    if "model" not in settings:
        settings["model"] = small_network()
    with pytest.raises(error, match=match) as caught:
        fine_tune(screen, **settings)
    assert isinstance(caught.value, errors.CdnScError | ValueError)
    pd.testing.assert_frame_equal(before.obs, screen.obs)
    assert (before.X != screen.X).nnz == 0


@pytest.mark.filterwarnings("ignore:adata.X has negative values")
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda a: np.round(a.X.toarray() * 3), "look like counts"),
        (lambda a: np.where(np.arange(a.n_vars) == 3, np.nan, a.X.toarray()), "NaN or infinite"),
        (lambda a: (a.X.toarray() - 0.5) * 1e20, "control has values too large"),
    ],
)
def test_bad_values(screen, spoil, match):
    screen.X = sparse.csr_matrix(spoil(screen)) if "counts" in match else spoil(screen)
    with pytest.raises(ValueError, match=match):
        tuned(screen)


def test_too_many_genes_for_the_model():
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.normal(size=(40, 60)).astype(np.float32))
    adata.var_names = [f"g{i}" for i in range(60)]
    adata.obs["gene"] = np.repeat(["control", "g1"], 20)
    with pytest.raises(ValueError, match="takes 40 genes at most: pass n_genes=40"):
        tuned(adata, "cdn", n_genes=50)


def test_effects_that_cannot_be_split(screen):
    one = screen[
        screen.obs["gene"].isin(["control", sorted(set(screen.obs["gene"]) - {"control"})[0]])
    ].copy()
    with pytest.raises(ValueError, match=r"cannot be split .* validation=0"):
        tuned(one)
    assert tuned(one, validation=0, epochs=1).card["training"]["steps"] == 1


def test_example_of_the_docstring():
    (example,) = doctest.DocTestFinder(recurse=False).find(fine_tune, "fine_tune", globs={})
    assert len(example.examples) > 5
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.summarize().failed == 0


def test_all_groups_for_validation(screen):
    with pytest.raises(ValueError, match="none is left to learn from"):
        tuned(screen, validation=sorted(set(screen.obs["gene"]) - {"control"}))


def test_slices_of_pairs_make_nothing_dense(screen, monkeypatch):
    _, given = pairs_given_to_training(monkeypatch, screen, validation=0)
    from cdn_sc.tl import _screen_pairs

    monkeypatch.setattr(_screen_pairs, "dense", lambda *_: pytest.fail("was made dense"))
    part = given.training[1:4]
    assert len(part) == 3
    monkeypatch.undo()
    assert isinstance(part[0], Pair)


def test_targets_of_groups_that_are_not_learned_from(screen):
    groups = sorted(set(screen.obs["gene"]) - {"control"})
    targets = {group: group for group in groups} | {"control": None}
    network = tuned(screen, groups=groups[:4], targets=targets, validation=0)
    assert set(network.card["training"]["groups"]) <= set(groups[:4])


def test_groups_that_cannot_validate(screen):
    groups = sorted(set(screen.obs["gene"]) - {"control"})
    targets = {group: group for group in groups[1:]}
    with pytest.raises(ValueError, match=f"cannot validate: '{groups[0]}' .no known target"):
        tuned(screen, targets=targets, validation=[groups[0]])


def test_numbers_of_numpy(screen):
    options = {"epochs": np.int64(1), "learning_rate": np.float32(1e-4), "cells_kept": np.float64(0.5)}
    assert tuned(screen, validation=0, patience=np.int32(0), **options).card["training"]["configuration"]


def test_log_without_a_checkpoint(screen, tmp_path):
    tuned(screen, folder=tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").unlink()
    again = tuned(screen, folder=tmp_path / "run").card["training"]
    assert again["validations"]["step"][0] == 0
