import numpy as np
import pytest

import cdn_sc
from cdn_sc.simulate.perturbation import KINDS


@pytest.fixture(scope="module")
def screen():
    return cdn_sc.datasets.simulated_screen()


def test_small_screen_with_known_targets(screen):
    assert screen.shape == (3100, 200)
    assert (screen.X.data == np.round(screen.X.data)).all()
    assert screen.X.data.min() > 0
    truth = screen.uns["targets"]
    assert set(truth) == set(screen.obs["perturbation"].cat.categories) - {"control"}
    assert all(len(targets) == 1 and targets[0] in screen.var_names for targets in truth.values())
    kinds = screen.obs.groupby("perturbation", observed=True)["kind"].first()
    assert sorted(kinds.drop("control")) == sorted(2 * KINDS)


def test_always_the_same(screen):
    again = cdn_sc.datasets.simulated_screen()
    assert (again.X != screen.X).nnz == 0
    assert again.obs.equals(screen.obs)


def test_what_was_done_shows_in_the_counts(screen):
    control = np.asarray(screen[screen.obs["perturbation"] == "control"].X.mean(0)).ravel()
    for group, (target,) in screen.uns["targets"].items():
        cells = screen[screen.obs["perturbation"] == group]
        ratio = cells[:, target].X.mean() / control[screen.var_names.get_loc(target)]
        kind = cells.obs["kind"].iloc[0]
        if kind == "knockdown":
            assert ratio < 0.9
        elif kind == "activation":
            assert ratio > 1.3
        elif kind == "activity":
            assert 0.5 < ratio < 2
