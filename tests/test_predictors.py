"""The one interface to every network: refusals, what is kept of the control arm, threads."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from cdn_sc import models, predictors
from cdn_sc._device import resolve_device
from cdn_sc._known_relations import KnownRelations
from cdn_sc.errors import InputError
from cdn_sc.features import _known
from cdn_sc.inputs import make_batch
from cdn_sc.models import build_network
from cdn_sc.nn.gene_transformer import KIND_NAMES
from cdn_sc.predictors import Predictor, load_predictor, sigmoid
from cdn_sc.simulate.perturbation import KINDS

CDN = {
    "architecture": "cdn", "num_vars": 12, "max_subsets": 60, "channels": 8, "heads": 2, "blocks": 1,
    "encoder_ffn": 4, "comparison_ffn": 8,
}  # fmt: skip


def network_of(configuration):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(configuration)


def gene_transformer():
    return network_of({"architecture": "gene_transformer", "channels": 8, "heads": 2, "layers": 1})


def arm(seed, n_cells=40, n_genes=7):
    return np.random.default_rng(seed).gamma(1.0, 1.0, (n_cells, n_genes)).astype(np.float32)


def logits(predictor, control, perturbed, seed=0, **options):
    return predictor.predict(control, perturbed, rng=np.random.default_rng(seed), **options).logits


@pytest.fixture
def predictor():
    return Predictor(gene_transformer())


@pytest.fixture
def cdn():
    return Predictor(network_of(CDN))


def fresh(control, perturbed, **options):
    return logits(Predictor(gene_transformer()), control.copy(), perturbed, **options)


def test_both_architectures_predict(predictor, cdn):
    for each in (predictor, cdn):
        found = each.predict(arm(0), arm(1, 20), rng=np.random.default_rng(0), n_subsets=6)
        assert found.logits.shape == (7,)
        assert found.logits.dtype == np.float32
        assert np.isfinite(found.logits).all()
        assert np.ptp(found.logits) > 0
        further = ["score_elsewhere", "direction"] if each is predictor else []
        assert list(found.columns) == ["t_statistic", "wilcoxon_statistic", *further]
        if each is predictor:
            assert found.kinds.shape == (len(KINDS),)
            assert found.kinds.sum() == pytest.approx(1, abs=1e-6)
        else:
            assert found.kinds is None
        for values in found.columns.values():
            assert (values.shape, values.dtype) == ((7,), np.float32)
            assert np.ptp(values) > 0
        assert not each.network.training
    assert (predictor.max_genes, cdn.max_genes) == (None, 12)
    assert (predictor.takes_relations, cdn.takes_relations) == (True, False)
    assert (predictor.takes_kind, cdn.takes_kind) == (True, False)
    assert (predictor.uses_graphs, cdn.uses_graphs) == (False, True)
    assert (predictor.min_genes, cdn.min_genes) == (1, 2)
    assert (predictor.max_subsets, cdn.max_subsets) == (None, 60)


def test_repr(predictor, cdn):
    assert repr(predictor) == "Predictor(GeneTransformer on cpu, takes the kind of perturbation)"
    assert repr(cdn).endswith(" on cpu, reads local causal graphs)")


def test_own_tests_do_not_depend_on_the_network(predictor, cdn):
    """Nor on what was kept of the control arm."""
    first, second = ([each.predict(arm(0), arm(seed, 20), rng=np.random.default_rng(0), n_subsets=4).columns
                      for seed in (1, 2)] for each in (predictor, cdn))  # fmt: skip
    for name in ("t_statistic", "wilcoxon_statistic"):
        for ours, theirs in zip(first, second, strict=True):
            np.testing.assert_array_equal(ours[name], theirs[name])
        assert not np.array_equal(first[0][name], first[1][name])


def test_what_is_said_beside_the_score(predictor):
    control, perturbed = arm(0), arm(1, 20)
    known = KnownRelations.of_entries(7, np.array([0, 1, 4]), np.array([3, 5, 0]), np.array([1.0, -1.0, 1.0]))
    given = {"kind": "activity", "rng": np.random.default_rng(0)}
    plain, found = (predictor.predict(control, perturbed, relations=each, **given) for each in (None, known))
    batch = make_batch(
        predictor.network, [(control, perturbed)], rng=np.random.default_rng(0), kinds=["activity"],
        relations=[known],
    )  # fmt: skip
    with torch.inference_mode():
        said = predictor.network.outputs(batch)
    scores, own, grew = (each[0].sigmoid().numpy() for each in (said.logits, said.own, said.direction))
    np.testing.assert_allclose(sigmoid(found.logits), scores, atol=1e-6)
    np.testing.assert_allclose(found.columns["score_elsewhere"], scores - own, atol=1e-6)
    np.testing.assert_allclose(found.columns["direction"], 2 * grew - 1, atol=1e-6)
    np.testing.assert_allclose(found.columns["score_relations"], scores - sigmoid(plain.logits), atol=1e-6)
    np.testing.assert_allclose(found.kinds, said.kind[0].softmax(0).numpy(), atol=1e-6)
    assert np.ptp(found.columns["score_relations"]) > 1e-4
    assert "score_relations" not in plain.columns


def test_relations_are_kept_with_the_control_array(predictor, monkeypatch):
    """The same table is weighed once; another one, or none, is not taken for it."""
    weighed = []
    weigh = _known.weigh_relations
    monkeypatch.setattr(_known, "weigh_relations", lambda *given: weighed.append(1) or weigh(*given))
    control = arm(0)
    first, second = (
        KnownRelations.of_entries(7, np.array([source]), np.array([source + 1]), np.ones(1))
        for source in (0, 2)
    )
    groups = [arm(1, 20), arm(2, 20)]
    alone = logits(predictor, control, groups[0])
    told = [logits(predictor, control, group, relations=first) for group in groups]
    assert len(weighed) == 1
    assert not np.array_equal(told[0], alone)
    np.testing.assert_array_equal(logits(predictor, control, groups[0]), alone)
    other = logits(predictor, control, groups[0], relations=second)
    assert not np.array_equal(other, told[0])
    assert len(weighed) == 2


def test_cells_of_other_conditions_change_what_is_read_of_genes_together(predictor, cdn):
    control, perturbed = arm(0), arm(1, 20)
    others = arm(2, 300) - arm(2, 300).mean(axis=0)
    alone = logits(predictor, control, perturbed)
    assert not np.array_equal(logits(predictor, control, perturbed, contrasts=others), alone)
    # what was kept with them is not taken for what is computed without them
    np.testing.assert_array_equal(logits(predictor, control, perturbed), alone)
    options = {"n_subsets": 6}
    np.testing.assert_array_equal(
        logits(cdn, control, perturbed, contrasts=others, **options),
        logits(cdn, control, perturbed, **options),
    )


def test_generator_decides(predictor, cdn):
    control, perturbed = arm(0), arm(1, 20)
    first, again, other = (logits(cdn, control, perturbed, seed, n_subsets=6) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(
        logits(predictor, control, perturbed, 0), logits(predictor, control, perturbed, 1)
    )


def test_kinds_are_the_same_everywhere():
    assert predictors.KINDS == KINDS == KIND_NAMES[1:]


def test_kind(predictor, cdn):
    control, perturbed = arm(0), arm(1, 20)
    told = {kind: logits(predictor, control, perturbed, kind=kind) for kind in (None, *KINDS)}
    assert len({value.tobytes() for value in told.values()}) == 5
    np.testing.assert_array_equal(
        logits(cdn, control, perturbed, n_subsets=4),
        logits(cdn, control, perturbed, n_subsets=4, kind="knockout"),
    )
    for each in (predictor, cdn):
        with pytest.raises(InputError, match=r"kind is one of 'knockdown', .* not 'drug'"):
            logits(each, control, perturbed, kind="drug")


def test_too_many_genes(cdn):
    with pytest.raises(InputError, match="13 genes, but the model CDN takes 12 at most"):
        logits(cdn, arm(0, n_genes=13), arm(1, n_genes=13))


def test_too_many_subsets(cdn):
    with pytest.raises(InputError, match="n_subsets=61, but the model CDN takes 60 at most"):
        logits(cdn, arm(0), arm(1), n_subsets=61)


def test_model_that_is_none():
    for model in (None, 3):
        with pytest.raises(InputError, match=f"or a network, not {model}"):
            load_predictor(model)


def test_arms_that_do_not_match(predictor):
    for control, perturbed in ((arm(0), arm(1, n_genes=6)), (arm(0), arm(1)[0]), (arm(0)[0], arm(1))):
        with pytest.raises(InputError, match="the arms have shapes"):
            logits(predictor, control, perturbed)


def test_sea_is_refused():
    sea = network_of({k: v for k, v in CDN.items() if k != "comparison_ffn"} | {"architecture": "sea"})
    with pytest.raises(InputError, match="the model is a sea, which does not predict targets"):
        Predictor(sea)
    with pytest.raises(InputError, match="the model is a Linear"):
        load_predictor(torch.nn.Linear(2, 2))


def test_network_for_other_inputs_is_refused():
    older = network_of({"architecture": "gene_transformer", "channels": 8, "layers": 1, "features": 56})
    with pytest.raises(InputError, match=r"reads \(56, 11\) inputs .* comes from another version"):
        Predictor(older)


def test_card(tmp_path):
    path = models.save(gene_transformer(), tmp_path / "a.safetensors", {"name": "own", "version": "3"})
    for given in (path, str(path)):
        loaded = load_predictor(given)
        assert (loaded.name, loaded.version) == ("own", "3")
        assert len(loaded.sha256) == 64
    network = gene_transformer().eval()
    bare = load_predictor(network)
    assert bare.network is network
    assert (bare.name, bare.version, bare.sha256) == ("GeneTransformer", "", "")


def test_a_network_that_is_passed_stays_as_it_is():
    network = gene_transformer().train()
    scored = load_predictor(network)
    assert not scored.network.training
    assert network.training
    np.testing.assert_array_equal(logits(scored, arm(0), arm(1)), fresh(arm(0), arm(1)))


def test_a_used_predictor_goes_to_other_processes(predictor, cdn):
    for used, options in ((predictor, {}), (cdn, {"control_seed": 3, "n_subsets": 6})):
        expected = logits(used, arm(0), arm(1), **options)
        again = pickle.loads(pickle.dumps(used))
        np.testing.assert_array_equal(logits(again, arm(0), arm(1), **options), expected)


def test_the_processor_has_one_name():
    assert resolve_device("cpu:0") == "cpu"
    numbered, plain = (load_predictor(gene_transformer(), device) for device in ("cpu:0", "cpu"))
    assert numbered.device == plain.device
    assert numbered.batch_size(100) == plain.batch_size(100)


def test_saved_network_predicts_the_same(tmp_path):
    path = models.save(gene_transformer(), tmp_path / "a.safetensors")
    expected = fresh(arm(0), arm(1))
    np.testing.assert_array_equal(logits(load_predictor(path), arm(0), arm(1)), expected)


def test_control_summary_is_kept(predictor, record_summaries):
    control = arm(0)
    for seed in (1, 2, 3):
        np.testing.assert_array_equal(logits(predictor, control, arm(seed)), fresh(control, arm(seed)))
    assert sum(made is control for made in record_summaries) == 1


def test_another_control_is_summarised(predictor, record_summaries):
    first, second = arm(0), arm(5)
    expected = [fresh(control, arm(1)) for control in (first, second)]
    record_summaries.clear()
    for control in (first, second, first):
        found = logits(predictor, control, arm(1))
        np.testing.assert_array_equal(found, expected[control is second])
    assert [made is first for made in record_summaries] == [True, False, True]
    assert not np.array_equal(*expected)


def test_control_that_was_written_over_is_summarised_anew(predictor):
    """A buffer that is filled again is the same object with other values."""
    buffer, perturbed = arm(0), arm(1)
    logits(predictor, buffer, perturbed)
    for change in (
        lambda: np.copyto(buffer, arm(5)),
        lambda: buffer.sort(axis=0),
        lambda: buffer.__imul__(2),
    ):
        change()
        np.testing.assert_array_equal(logits(predictor, buffer, perturbed), fresh(buffer, perturbed))


def test_address_that_is_used_again(predictor):
    """Arrays that come and go often lie where the last one lay."""
    for seed in range(10):
        np.testing.assert_array_equal(logits(predictor, arm(seed), arm(99)), fresh(arm(seed), arm(99)))


def test_same_values_in_another_shape(predictor):
    """Bytes alone do not tell control arms apart."""
    zeros = np.zeros((40, 7), dtype=np.float32)
    logits(predictor, zeros, arm(1))
    other = zeros.reshape(56, 5)
    np.testing.assert_array_equal(
        logits(predictor, other, arm(1, n_genes=5)), fresh(other, arm(1, n_genes=5))
    )


@pytest.mark.parametrize("view", [np.asfortranarray, lambda x: x[::2], lambda x: x[:, ::-1]])
def test_memory_layout_does_not_matter(predictor, view):
    control, perturbed = view(arm(0)), view(arm(1))
    found = logits(predictor, control, perturbed)
    np.testing.assert_array_equal(found, logits(predictor, control, perturbed))
    np.testing.assert_allclose(found, fresh(control, perturbed), atol=1e-5)


def test_threads_never_mix_up_controls(predictor):
    controls, perturbed = [arm(seed) for seed in range(4)], arm(9)
    expected = [fresh(control, perturbed) for control in controls]
    order = np.random.default_rng(0).integers(0, 4, 80)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: logits(predictor, controls[i], perturbed), order))
    for i, each in zip(order, found, strict=True):
        np.testing.assert_allclose(each, expected[i], atol=1e-5)
    assert min(np.abs(expected[a] - expected[b]).max() for a in range(4) for b in range(a)) > 1e-3


def test_control_code_is_kept_for_its_seed(cdn, monkeypatch):
    encoded = []
    encode = cdn.network.encode_arm
    monkeypatch.setattr(cdn.network, "encode_arm", lambda batch: encoded.append(batch) or encode(batch))
    control, options = arm(0), {"n_subsets": 6}
    first = logits(cdn, control, arm(1), seed=1, control_seed=5, **options)
    second = logits(cdn, control, arm(2), seed=2, control_seed=5, **options)
    assert len(encoded) == 3
    # what was kept changes nothing
    for perturbed, seed, kept in ((arm(1), 1, first), (arm(2), 2, second)):
        fresh_cdn = Predictor(network_of(CDN))
        np.testing.assert_array_equal(
            logits(fresh_cdn, control.copy(), perturbed, seed=seed, control_seed=5, **options), kept
        )
    # another seed, number of subsets or control array is encoded anew
    for changed in ({"control_seed": 6}, {"n_subsets": 8}):
        found = logits(cdn, control, arm(1), seed=1, **({"control_seed": 5} | options | changed))
        assert np.abs(found - first).max() > 0
    logits(cdn, control.copy(), arm(1), seed=1, control_seed=5, **options)
    assert len(encoded) == 3 + 3 * 2


def test_a_control_seed_gives_what_its_generator_draws(cdn):
    """The control arm is drawn from its seed, the perturbed arm from the generator, whichever came first."""
    control, perturbed = arm(0), arm(1)
    found = [logits(cdn, control, perturbed, seed=3, control_seed=seed, n_subsets=6) for seed in (1, 2, 1)]
    np.testing.assert_array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 0


def many(each, controls, seeds, **options):
    """Prepared comparisons of these control arms."""
    return [
        each.prepare(control, arm(20 + i), rng=np.random.default_rng(i), control_seed=seed, **options)
        for i, (control, seed) in enumerate(zip(controls, seeds, strict=True))
    ]


@pytest.mark.parametrize("name", ["cdn", "gene_transformer"])
@pytest.mark.parametrize("places", [(0, 0, 0, 0), (0, 1, 2, 3), (0, 1, 0, 1)])
@pytest.mark.parametrize("seed", [None, 5])
def test_together_as_one_by_one(name, places, seed):
    """Whichever comparisons share their control arm."""
    options = {"n_subsets": 6} if name == "cdn" else {"kind": "knockout"}
    arms = [arm(i) for i in range(4)]
    controls = [arms[place] for place in places]
    each = Predictor(network_of(CDN) if name == "cdn" else gene_transformer())
    together = each.launch(many(each, controls, [seed] * 4, **options)).fetch()
    for found, comparison in zip(together, many(each, controls, [seed] * 4, **options), strict=True):
        (alone,) = each.launch([comparison]).fetch()
        np.testing.assert_allclose(found.logits, alone.logits, atol=1e-5)
        assert list(found.columns) == list(alone.columns)
        for column, values in found.columns.items():
            np.testing.assert_allclose(values, alone.columns[column], atol=1e-5)
    assert np.abs(together[0].logits - together[1].logits).max() > 1e-3


def test_shared_control_arm_is_encoded_once_for_all(cdn, monkeypatch):
    sizes, encode = [], cdn.network.encode_arm
    monkeypatch.setattr(
        cdn.network, "encode_arm", lambda batch: sizes.append(len(batch.tokens)) or encode(batch)
    )
    control, other = arm(0), arm(1)
    comparisons = many(cdn, [control] * 5, [5] * 5, n_subsets=6)
    cdn.launch(comparisons[:3])
    cdn.launch(comparisons[3:])
    assert sizes == [1, 3, 2]
    cdn.launch(many(cdn, [control, other, other], [5] * 3, n_subsets=6))
    assert sizes[3:] == [2, 3]


def test_batch_sizes():
    """Large comparisons go alone, small ones together, the more so on an accelerator."""
    network = network_of(CDN | {"num_vars": 1000, "channels": 64})
    on_cpu, on_gpu = Predictor(network), Predictor(network)
    on_gpu.device = "cuda"
    sizes = [[each.batch_size(n) for n in (5, 20, 100, 300, 1000)] for each in (on_cpu, on_gpu)]
    assert sizes[0][-1] == 1
    for of_device in sizes:
        assert of_device == sorted(of_device, reverse=True)
    assert np.all(np.array(sizes[1]) >= sizes[0])
    assert sizes[0][0] > 1
    assert sizes[1][2] >= 10


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_blocks_of_groups(predictor, device):
    """Groups of a block share the products with matrices of the control arm, which grow with its genes."""
    predictor.device = device
    genes = (1, 5, 100, 1000, 4000, 10_000, 100_000, 1_000_000)
    sizes = [predictor.batch_size(n) for n in genes]
    assert sizes == sorted(sizes, reverse=True)
    # many small ones; enough of usual ones to be worth a product; what is read of a block stays small
    assert sizes[2] >= 50
    assert min(sizes[3:5]) >= 8
    assert all(number * n <= 2**18 for number, n in zip(sizes[:-1], genes, strict=False))
    assert sizes[-1] == 1


@pytest.mark.parametrize("n_genes", [7, 700])
def test_a_block_is_scored_in_several_calls_of_the_network(predictor, n_genes, monkeypatch):
    """On a CPU few groups at a time, with what was computed for all of them together."""
    calls, network = [], predictor.network
    outputs = network.outputs
    monkeypatch.setattr(network, "outputs", lambda batch: calls.append(len(batch.mask)) or outputs(batch))
    control = arm(0, 12, n_genes)
    comparisons = [
        predictor.prepare(control, arm(seed, 6, n_genes), rng=np.random.default_rng(0), kind=kind)
        for seed, kind in enumerate([None, "knockout", "activity", None, "knockdown"], 1)
    ]
    together = predictor.launch(comparisons).fetch()
    assert calls == ([5] if n_genes == 7 else [2, 2, 1])
    for comparison, found in zip(comparisons, together, strict=True):
        (alone,) = predictor.launch([comparison]).fetch()
        np.testing.assert_allclose(found.logits, alone.logits, atol=1e-4)
        np.testing.assert_allclose(
            found.columns["score_elsewhere"], alone.columns["score_elsewhere"], atol=1e-4
        )


def test_precision(cdn):
    network = network_of(CDN)
    low = Predictor(network, precision="bfloat16")
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    options = {"n_subsets": 6}
    exact, found = (logits(each, arm(0), arm(1), **options) for each in (cdn, low))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.1 * np.ptp(exact)
    np.testing.assert_array_equal(
        logits(Predictor(network, precision="tf32"), arm(0), arm(1), **options), exact
    )
    with pytest.raises(InputError, match="precision is one of 'float32', 'tf32', 'bfloat16', not 'fp16'"):
        Predictor(network, precision="fp16")
