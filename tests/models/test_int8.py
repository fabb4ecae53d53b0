"""Files whose matrices are int8: what comes back, and what of damage is refused."""

import pytest
import torch
from safetensors.torch import load_file
from test_load import edit_configuration, first_format, rewrite, small

from cdn_sc import models
from cdn_sc.models import WeightsError, int8, registry
from cdn_sc.models.files import read_safetensors, read_tensors, write_tensors
from cdn_sc.models.int8 import SCALE, rounded

MATRIX = "encoder.embed_time.weight"
BUNDLED = ("cdn-scm", "cdn-scm-difference", "cdn-screens")
CARD = {"name": "mine", "version": "2"}


def parts(network):
    """Tensors of a network, its matrices in int8."""
    found = {}
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            found[name], found[name + SCALE] = rounded(tensor)
        else:
            found[name] = tensor.clone()
    return found


@pytest.fixture
def path(tmp_path):
    """A small network in int8."""
    network = small()
    write_tensors(tmp_path / "a.safetensors", network.config, parts(network), CARD)
    return tmp_path / "a.safetensors"


# --- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 30), (7, 5, 3), (4, 1)])
def test_rounding_is_to_the_nearest(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrix[0] = 0
    matrix[1] *= 1e-3
    whole, scale = rounded(matrix)
    assert whole.dtype == torch.int8
    assert whole.shape == shape
    assert scale.dtype == torch.float32
    assert scale.shape == shape[:1]
    assert scale[0] == 0
    assert (whole[1:].flatten(1).int().abs().amax(1) == 127).all()
    by_row = scale.view(-1, *[1] * (matrix.ndim - 1))
    assert ((whole * by_row - matrix).abs() <= 0.5001 * by_row).all()


@pytest.mark.parametrize("value", [1e-45, 2.5e-43, 3.4e38])
def test_rounding_of_extreme_values(value):
    matrix = torch.tensor([[value, -value, 0.0]])
    whole, scale = rounded(matrix)
    assert (whole[0, 0], whole[0, 2]) == (-whole[0, 1], 0)
    assert scale.isfinite().all()
    assert (whole * scale[:, None])[0, 0] >= 0


def test_network_comes_back(path):
    network, found = small(), models.load(path)
    assert found.config == network.config
    assert found.card.items() >= (CARD | {"checksum": "everything"}).items()
    for name, tensor in found.state_dict().items():
        expected = network.state_dict()[name]
        assert tensor.dtype == torch.float32
        if expected.ndim == 1:
            assert torch.equal(tensor, expected)
        else:
            assert (tensor - expected).abs().max() <= expected.abs().max() / 253


def test_saving_writes_float32(path, tmp_path):
    network = models.load(path)
    again = models.save(network, tmp_path / "again.safetensors", CARD)
    assert {tensor.dtype for tensor in load_file(again).values()} == {torch.float32}
    assert again.stat().st_size > path.stat().st_size
    for name, tensor in models.load(again).state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


# --- damage ----------------------------------------------------------------------------------------------


def without_scale(tensors):
    del tensors[MATRIX + SCALE]


def nan_scale(tensors):
    tensors[MATRIX + SCALE][2] = torch.nan


def infinite_scale(tensors):
    tensors[MATRIX + SCALE][2] = torch.inf


def overflowing_scale(tensors):
    tensors[MATRIX + SCALE][2] = 3e38


def short_scale(tensors):
    tensors[MATRIX + SCALE] = tensors[MATRIX + SCALE][:-1].clone()


def single_scale(tensors):
    tensors[MATRIX + SCALE] = torch.ones(1)


def scale_of_each_column(tensors):
    tensors[MATRIX + SCALE] = torch.ones(tensors[MATRIX].shape[1])


def scale_of_each_value(tensors):
    tensors[MATRIX + SCALE] = torch.ones(tensors[MATRIX].shape)


def precise_scale(tensors):
    tensors[MATRIX + SCALE] = tensors[MATRIX + SCALE].double()


def scale_in_int8(tensors):
    tensors[MATRIX + SCALE] = torch.ones(len(tensors[MATRIX]), dtype=torch.int8)


def vector(tensors):
    tensors["linear_out.bias"] = torch.ones(1, dtype=torch.int8)
    tensors["linear_out.bias" + SCALE] = torch.ones(1)


def scale_alone(tensors):
    tensors["linear_out.bias" + SCALE] = torch.ones(1)


def matrix_gone(tensors):
    del tensors[MATRIX]


def unsigned(tensors):
    tensors[MATRIX] = tensors[MATRIX].view(torch.uint8)


def wrong_shape(tensors):
    tensors[MATRIX], tensors[MATRIX + SCALE] = (
        tensors[MATRIX][1:].clone(),
        tensors[MATRIX + SCALE][1:].clone(),
    )


NEEDED = r"embed_time.weight is int8, which takes .* one finite float32 value a row"
REFUSED = {
    without_scale: NEEDED,
    nan_scale: NEEDED,
    infinite_scale: NEEDED,
    overflowing_scale: "embed_time.weight holds NaN or infinity",
    short_scale: NEEDED,
    single_scale: NEEDED,
    scale_of_each_column: NEEDED,
    scale_of_each_value: NEEDED,
    precise_scale: NEEDED,
    scale_in_int8: "is int8, which takes",
    vector: "linear_out.bias is int8, which takes a matrix",
    scale_alone: "0 missing, 1 unknown .linear_out.bias:scale",
    matrix_gone: "1 missing .encoder.embed_time.weight.*1 unknown .encoder.embed_time.weight:scale",
    unsigned: "embed_time.weight has type torch.uint8",
    wrong_shape: r"embed_time.weight has shape \(9, 8\), where \(10, 8\) would fit",
}


@pytest.mark.parametrize(("change", "message"), REFUSED.items(), ids=[change.__name__ for change in REFUSED])
def test_odd_scales_are_refused(path, change, message):
    """With checksums that fit: whoever wrote the file meant it so."""
    network = small()
    tensors = parts(network)
    change(tensors)
    write_tensors(path, network.config, tensors, CARD)
    with pytest.raises(WeightsError, match=message):
        models.load(path)


@pytest.mark.parametrize(
    "change", [without_scale, nan_scale, short_scale, lambda tensors: tensors[MATRIX + SCALE].mul_(1.001)]
)
def test_changed_scales_are_noticed(path, change):
    rewrite(path, lambda state: None)
    models.load(path)
    rewrite(path, change)
    with pytest.raises(WeightsError, match="values are not those that were saved"):
        models.load(path)


def test_flipped_bits(path):
    """Every bit of two scales, and some of the whole file: the right values, or an error."""
    whole = path.read_bytes()
    tensors = read_tensors(path)[1]
    expected = read_safetensors(path)[1]
    start = whole.index(tensors[MATRIX + SCALE].numpy().tobytes())
    in_scales = range(8 * start, 8 * (start + 8))
    elsewhere = torch.randint(8 * len(whole), (60,), generator=torch.Generator().manual_seed(0)).tolist()
    for bit in [*in_scales, *elsewhere]:
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(spoilt)
        try:
            state = read_safetensors(path)[1]
        except WeightsError as error:
            if bit in in_scales:
                assert "values are not those that were saved" in str(error)  # noqa: PT017
            continue
        assert bit not in in_scales
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("change", [first_format, lambda content: content.update(format=2)])
def test_int8_of_earlier_formats_is_refused(path, change):
    edit_configuration(path, change)
    with pytest.raises(WeightsError, match=r"has type torch.int8; weights are floating-point"):
        models.load(path)


def test_sizes_that_no_file_could_hold(path, monkeypatch):
    whole = path.read_bytes()
    edit_configuration(path, lambda content: content["config"].update(num_vars=10**12))
    with pytest.raises(WeightsError, match=r"num_vars = 10+ is more than"):
        models.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr(int8, "LARGEST_NETWORK", 1000)
    # nothing is made of the first before all are counted
    monkeypatch.setattr(torch.Tensor, "float", None)
    with pytest.raises(WeightsError, match=r"int8 values, and 1,000 are the most"):
        models.load(path)


# --- those of the package --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files_are_small(name):
    path = registry.BUNDLED_DIR / f"{name}.safetensors"
    assert path.stat().st_size < 0.85e6
    assert torch.int8 in {tensor.dtype for tensor in load_file(path).values()}
    network = models.load(name)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    assert sum(p.numel() for p in network.parameters()) == registry.find_entry(name).parameters
    assert (network.card["name"], network.card["version"]) == (name, "1.0")
    assert (network.card["source"], network.card["checksum"]) == ("bundled", "everything")
