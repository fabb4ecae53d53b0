"""Numbers of the published implementation."""

import numpy as np
import pytest
import torch
from nn_arms import parity_arm

from cdn_sc import models
from cdn_sc.nn import CDN, collate
from straightforward_network import logits as reference_logits

CASES = ("case_0_n6", "case_1_n10", "case_2_n20", "case_3_n50", "case_4_n120")
FORMS = {"cat": "concat", "diff": "difference"}
PARAMETERS = {"cat": 705_544, "diff": 573_448}


@pytest.fixture(scope="module", params=FORMS)
def published(request, shared_dir) -> tuple[str, CDN]:
    return request.param, models.load(shared_dir / "parity" / f"official_{request.param}.ckpt")


@pytest.fixture(scope="module")
def in_double(published, shared_dir) -> CDN:
    return models.load(shared_dir / "parity" / f"official_{published[0]}.ckpt").double()


@pytest.fixture(scope="module", params=CASES)
def case(request, shared_dir):
    with np.load(shared_dir / "parity" / f"{request.param}.npz") as arrays:
        return dict(arrays)


def batch_of(case):
    arms = parity_arm(case, "obs"), parity_arm(case, "int")
    return collate([arms], permutations=case["permutations"][None])


def score(network, batch):
    with torch.inference_mode():
        return network(batch)[0].numpy()


@pytest.fixture(scope="module")
def in_single(published, case) -> np.ndarray:
    """Logits of one case in float32."""
    return score(published[1], batch_of(case))


def test_form_and_number_of_parameters(published):
    short, network = published
    assert network.config.form == FORMS[short]
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[short]


def test_logits_in_float32(published, case, in_single):
    expected = case[f"logits_{published[0]}"]
    tolerance = 1e-4 if len(expected) <= 20 else 2e-2
    np.testing.assert_allclose(in_single, expected, rtol=0, atol=tolerance)


def test_rounding_alone_makes_the_difference(published, case, in_single, in_double):
    """The published float32 number is off the float64 one by no more than our own float32 run is."""
    expected = case[f"logits_{published[0]}"]
    exact = score(in_double, batch_of(case))
    rounding = np.abs(in_single - exact).max()
    assert np.abs(expected - exact).max() <= 3 * rounding + 1e-6


@pytest.mark.parametrize("case", ["case_0_n6", "case_3_n50"], indirect=True)
def test_description_gives_the_published_numbers(published, case):
    """Full maps and masked logits, operation by operation: checks the reference of the other tests."""
    short, network = published
    arms = parity_arm(case, "obs"), parity_arm(case, "int")
    with torch.inference_mode():
        found = reference_logits(network.state_dict(), network.config, *arms, case["permutations"])
    np.testing.assert_allclose(found.numpy(), case[f"logits_{short}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", CASES[:3], indirect=True)  # the parity data hold codes for N <= 20 only
def test_codes_of_the_arms(published, case):
    short, network = published
    batch = batch_of(case)
    with torch.inference_mode():
        control, perturbed = network.encode_arm(batch.control)[0], network.encode_arm(batch.perturbed)[0]
    np.testing.assert_allclose(control.numpy(), case[f"encoder_obs_{short}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(perturbed.numpy(), case[f"encoder_int_{short}"], rtol=0, atol=1e-4)


def test_cases_of_unequal_size_in_one_batch(published, shared_dir):
    short, network = published
    pairs, permutations = [], []
    for name in CASES[:3]:
        with np.load(shared_dir / "parity" / f"{name}.npz") as arrays:
            pairs.append((parity_arm(arrays, "obs"), parity_arm(arrays, "int"), arrays[f"logits_{short}"]))
            permutations.append(arrays["permutations"])
    with torch.inference_mode():
        found = network(collate([pair[:2] for pair in pairs], permutations=permutations)).numpy()
    for row, (_, _, expected) in zip(found, pairs, strict=True):
        np.testing.assert_allclose(row[: len(expected)], expected, rtol=0, atol=1e-4)
        assert not row[len(expected) :].any()
