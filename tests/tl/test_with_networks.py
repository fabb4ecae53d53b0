"""`predict_targets` with real networks (untrained), and what must not change their results."""

import numpy as np
import pandas as pd
import pytest

import cdn_sc
from cdn_sc.tl import predict_targets


@pytest.fixture(params=["cdn", "gene_transformer"])
def network(request):
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "cdn":
            from cdn_sc.nn.cdn import CDN
            from cdn_sc.nn.config import CDNConfig

            return CDN(CDNConfig(channels=16, heads=2, blocks=1)).eval()
        from cdn_sc.nn.gene_transformer import GeneTransformer, GeneTransformerConfig

        return GeneTransformer(GeneTransformerConfig()).eval()


def test_networks_score_every_candidate(screen, network):
    options = {"model": network, "n_subsets": 6, "device": "cpu", "progress": False}
    predict_targets(screen, "perturbation", "control", **options)
    table = cdn_sc.get.predicted_targets_df(screen)
    assert len(table) == 4 * 12
    assert table["score"].between(0, 1).all()
    assert table["score"].nunique() > 12
    assert np.isfinite(table["logfoldchange"]).all()

    predict_targets(screen, "perturbation", "control", groups=["x/y", "A+B"], n_jobs=2, **options)
    again = cdn_sc.get.predicted_targets_df(screen, ["A+B", "x/y"])
    before = table[table["group"].isin(["A+B", "x/y"])].reset_index(drop=True)
    pd.testing.assert_series_equal(again["gene"].astype(str), before["gene"].astype(str))
    np.testing.assert_allclose(again["score"], before["score"], atol=1e-6)


def test_unknown_kind(screen, network):
    with pytest.raises(ValueError, match="kind is one of 'knockdown'"):
        predict_targets(screen, "perturbation", "control", model=network, kind="knock-down", device="cpu")
    assert not screen.uns
