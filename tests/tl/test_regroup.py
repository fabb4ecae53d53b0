"""Files in which the cells of a group are scattered: read from a copy in the order of the groups."""

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cdn_sc.tl import _expression, _regroup
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._groups import split_into_arms
from cdn_sc.tl._regroup import rows_by_group

CONTAINERS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": np.asarray,
    "float64": lambda values: sparse.csr_matrix(values.astype(np.float64)),
    "big endian": lambda values: values.astype(">f4"),
}


def _screen(scattered: bool = True) -> ad.AnnData:
    rng = np.random.default_rng(5)
    labels = np.repeat(["control", "a", "b", "c"], [30, 20, 11, 1])
    values = np.log1p(rng.poisson(0.7, (len(labels), 17))).astype(np.float32)
    values[3] = 0.0
    order = rng.permutation(len(labels)) if scattered else np.arange(len(labels))
    obs = pd.DataFrame({"label": labels}, index=[f"cell_{i}" for i in range(len(labels))])
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(17)]))[order].copy()


def _backed(adata: ad.AnnData, path: Path, container: str) -> ad.AnnData:
    written = adata.copy()
    written.X = CONTAINERS[container](adata.X)
    written.write_h5ad(path)
    return ad.read_h5ad(path, backed="r")


def _dense(rows: object) -> np.ndarray:
    return rows.toarray() if sparse.issparse(rows) else np.asarray(rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("rows_at_once", [7, 4096])
def test_the_copy_holds_the_same_rows(
    tmp_path: Path, container: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_regroup, "_ROWS_AT_ONCE", rows_at_once)
    adata = _screen()
    backed = _backed(adata, tmp_path / "x.h5ad", container)
    expression = Expression(backed)
    arms = split_into_arms(backed, "label", "control", ["a", "b"])
    with rows_by_group(expression, arms) as values:
        assert not values.in_file or container == "csc"
        for cells in (arms.control, *arms.conditions.values(), np.sort(arms.cells)[3:40:5]):
            np.testing.assert_array_equal(_dense(values.rows(cells)), adata.X[cells])
        mask = np.arange(17) % 3 == 0
        np.testing.assert_array_equal(
            _dense(values.only(mask).rows(arms.control)), adata.X[arms.control][:, mask]
        )
    backed.file.close()
    assert list(tmp_path.iterdir()) == [tmp_path / "x.h5ad"]


def test_the_cells_of_a_group_lie_together_in_the_copy(tmp_path: Path) -> None:
    backed = _backed(_screen(), tmp_path / "x.h5ad", "csr")
    expression = Expression(backed)
    arms = split_into_arms(backed, "label", "control", "all")
    with rows_by_group(expression, arms) as values:
        for cells in (arms.control, *arms.groups.values()):
            places = values._places[cells]
            np.testing.assert_array_equal(np.diff(places), 1)
    backed.file.close()


def test_no_copy_where_none_is_needed(tmp_path: Path) -> None:
    in_memory = Expression(_screen())
    arms = split_into_arms(_screen(), "label", "control", "all")
    with rows_by_group(in_memory, arms) as values:
        assert values is in_memory
    backed = _backed(_screen(scattered=False), tmp_path / "x.h5ad", "csr")
    expression = Expression(backed)
    with rows_by_group(expression, split_into_arms(backed, "label", "control", "all")) as values:
        assert values is expression
    backed.file.close()


def test_few_rows_of_a_file_are_read_as_they_lie(tmp_path: Path) -> None:
    adata = _screen()
    more = ad.concat([adata] + [adata] * 5, index_unique="-")
    labels = more.obs["label"].to_numpy().astype(object)
    labels[len(adata) :] = None
    more.obs["label"] = labels
    backed = _backed(more, tmp_path / "x.h5ad", "csr")
    expression = Expression(backed)
    with rows_by_group(expression, split_into_arms(backed, "label", "control", "all")) as values:
        assert values is expression
    backed.file.close()


def test_without_room_for_a_copy_the_file_is_read_as_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        """Stands for a file on a full disk."""

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def seek(self, place: int) -> None:
            pass

        def write(self, values: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(_regroup, "TemporaryFile", lambda **_: Full())
    adata = _screen()
    backed = _backed(adata, tmp_path / "x.h5ad", "csr")
    expression = Expression(backed)
    arms = split_into_arms(backed, "label", "control", "all")
    with caplog.at_level(logging.WARNING, logger="cdn_sc"), rows_by_group(expression, arms) as values:
        assert values is expression
        np.testing.assert_array_equal(_dense(values.rows(arms.control)), adata.X[arms.control])
    backed.file.close()
    assert "No space left" in caplog.text
    assert "TMPDIR" in caplog.text


def test_an_error_while_the_copy_is_read_is_not_taken_for_one_of_its_making(tmp_path: Path) -> None:
    backed = _backed(_screen(), tmp_path / "x.h5ad", "csr")
    arms = split_into_arms(backed, "label", "control", "all")
    with pytest.raises(OSError, match="of the caller"), rows_by_group(Expression(backed), arms):
        raise OSError("of the caller")
    backed.file.close()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the memory of maps is not told here")
@pytest.mark.parametrize("container", ["csr", "dense"])
def test_what_was_read_of_the_copy_does_not_stay_in_memory(
    tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def in_memory() -> int:
        sizes, ours = [0], False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if "-" in line.split()[0]:
                ours = str(tmp_path) in line and "deleted" in line
            elif ours and line.startswith("Rss:"):
                sizes.append(int(line.split()[1]))
        return sum(sizes)

    adata = _screen()
    wide = ad.AnnData(np.tile(adata.X, (1, 400)), obs=adata.obs)
    backed = _backed(wide, tmp_path / "x.h5ad", container)
    expression = Expression(backed)
    arms = split_into_arms(backed, "label", "control", "all")
    with rows_by_group(expression, arms) as values:
        read = values.rows(arms.control).sum()
        assert in_memory() > 100
        _regroup.forget_pages(values._values)
        assert in_memory() == 0
        assert values.rows(arms.control).sum() == read
    backed.file.close()


def test_nothing_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    """The copy has no name: what a killed process was reading goes with it."""
    _backed(_screen(), tmp_path / "x.h5ad", "csr").file.close()
    code = f"""
import os, signal, tempfile
import anndata as ad
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._groups import split_into_arms
from cdn_sc.tl._regroup import rows_by_group
tempfile.tempdir = {str(tmp_path)!r}
backed = ad.read_h5ad({str(tmp_path / "x.h5ad")!r}, backed="r")
expression = Expression(backed)
with rows_by_group(expression, split_into_arms(backed, "label", "control", "all")) as values:
    assert values is not expression
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5ad"]


def test_conditions_that_are_not_read_are_not_copied(tmp_path: Path) -> None:
    adata = _screen()
    backed = _backed(adata, tmp_path / "x.h5ad", "csr")
    expression = Expression(backed)
    arms = split_into_arms(backed, "label", "control", ["a"])
    sizes = []
    for conditions in (True, False):
        with rows_by_group(expression, arms, conditions=conditions) as values:
            sizes.append(values._values.shape[0])
            np.testing.assert_array_equal(_dense(values.rows(arms.control)), adata.X[arms.control])
    backed.file.close()
    assert sizes == [62, 50]


def test_a_file_that_cannot_be_read_is_not_blamed_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backed = _backed(_screen(), tmp_path / "x.h5ad", "csr")
    expression = Expression(backed)
    arms = split_into_arms(backed, "label", "control", "all")

    def broken(values: object, start: int, stop: int) -> object:
        raise OSError("Can't synchronously read data")

    monkeypatch.setattr(_expression, "_run_of_file", broken)
    with caplog.at_level(logging.WARNING, logger="cdn_sc"), rows_by_group(expression, arms) as values:
        assert values is expression
    backed.file.close()
    assert not caplog.text
