"""Files that want memory, time, or trust that they do not deserve."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hostile_files import bombs
from test_load import assert_same, edit_configuration, lightning, small

from cdn_sc import models
from cdn_sc.models import WeightsError, registry
from cdn_sc.models.checkpoints import read_checkpoint
from cdn_sc.models.files import read_safetensors

BOMBS = bombs()

MEASURED = """
import resource, sys
from pathlib import Path
from cdn_sc import models

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

models.load()
before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        models.load(path)
        print("taken:", path)
    except models.WeightsError:
        pass
print("refused with", peak() - before, "MB")
"""


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused(tmp_path, kind):
    path = tmp_path / "bomb.ckpt"
    path.write_bytes(BOMBS[kind])
    with pytest.raises(WeightsError, match=r"bomb.ckpt"):
        models.load(path)


def test_memory_that_bombs_take(tmp_path):
    for number, content in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.ckpt").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "taken" not in done.stdout
    assert int(done.stdout.split()[2]) < 500


def test_flipped_bits_of_a_checkpoint(tmp_path):
    """The right values, or an error."""
    network = small()
    whole = lightning(network, tmp_path / "whole.ckpt").read_bytes()
    path, generator = tmp_path / "flipped.ckpt", torch.Generator().manual_seed(0)
    refused = 0
    for bit in torch.randint(8 * len(whole), (150,), generator=generator).tolist():
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(spoilt)
        try:
            config, state = read_checkpoint(path)
        except WeightsError:
            refused += 1
            continue
        assert_same(state, network.state_dict())
        assert config == network.config
    assert refused > 50


def test_flipped_bits_of_safetensors(tmp_path):
    network = small()
    card = {"name": "mine", "training": {"steps": 10}}
    whole = models.save(network, tmp_path / "whole.safetensors", card).read_bytes()
    text = whole.index(b"__metadata__"), whole.index(b'"}', whole.index(b"tensors_sha256"))
    path, generator = tmp_path / "flipped.safetensors", torch.Generator().manual_seed(0)
    bits = torch.randint(8 * len(whole), (60,), generator=generator).tolist()
    bits += torch.randint(8 * text[0], 8 * text[1], (150,), generator=generator).tolist()
    refused = 0
    for bit in bits:
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(spoilt)
        try:
            config, state, found = read_safetensors(path)
        except WeightsError:
            refused += 1
            continue
        assert_same(state, network.state_dict())
        assert config == network.config
        assert found == card | {"checksum": "everything"}
    assert refused > 150


def test_threads(tmp_path):
    """Eight threads at once, as in a server; the process's list of permitted classes stays as it was."""
    networks = [small(), small(form="difference"), small("sea")]
    paths = [lightning(network, tmp_path / f"{i}.ckpt") for i, network in enumerate(networks)]
    permitted, state = torch.serialization.get_safe_globals(), torch.get_rng_state()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda i: models.load(paths[i % 3]), range(24)))
    finally:
        sys.setswitchinterval(interval)
    for i, network in enumerate(found):
        assert_same(network.state_dict(), networks[i % 3].state_dict())
    assert torch.serialization.get_safe_globals() == permitted
    assert torch.equal(torch.get_rng_state(), state)


def test_changed_configuration_or_card_is_refused(tmp_path):
    path = models.save(small(), tmp_path / "a.safetensors", {"recommended_for": "tests"})
    whole = path.read_bytes()
    for change in (
        lambda c: c["config"].update(heads=1),
        lambda c: c["card"].update(recommended_for="everything"),
        lambda c: c.update(sha256="0" * 64),
    ):
        path.write_bytes(whole)
        edit_configuration(path, change, sealed=False)
        with pytest.raises(WeightsError, match="its configuration or card is not what was saved"):
            models.load(path)
    path.write_bytes(whole)
    edit_configuration(path, lambda c: c.pop("sha256"), sealed=False)
    with pytest.raises(WeightsError, match="cannot be read"):
        models.load(path)
    path.write_bytes(whole)
    assert models.load(path).card["checksum"] == "everything"


def test_nested_card(tmp_path):
    path = models.save(small(), tmp_path / "a.safetensors", {"notes": ["PLACE"]})
    content = path.read_bytes()
    deep = b"[" * 100_000 + b"]" * 100_000
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(rb"\"PLACE\"", deep)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    with pytest.raises(WeightsError, match="cannot be read"):
        models.load(path)


def test_file_that_calls_itself_bundled(tmp_path):
    claims = {
        "name": "gene-transformer",
        "source": "bundled",
        "version": "1.0",
        "path": "here",
        "sha256": "0",
    }
    path = models.save(small(), tmp_path / "mine.safetensors", claims)
    card = models.load(path).card
    expected = {"name": "mine.safetensors", "source": "file", "version": "", "path": str(path)}
    assert card.items() >= expected.items()
    assert len(card["sha256"]) == 64
    # a copy of the bundled file is the bundled model
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((registry.BUNDLED_DIR / "gene-transformer.safetensors").read_bytes())
    card, bundled = models.load(copy).card, models.load("gene-transformer").card
    assert card == bundled | {"path": str(copy)}


def test_control_characters_in_a_card(tmp_path):
    card = {
        "name": "\x1b[31mred\x1b[2J\n\0", "version": "1\r2", "recommended_for": "\x1b]0;owned\x07 all",
        "training": {"\x1b": ["a\x1bb", "two\nlines"]},
    }  # fmt: skip
    found = models.load(models.save(small(), tmp_path / "a.safetensors", card)).card
    assert found["name"] == r"\x1b[31mred\x1b[2J\n\x00"
    assert found["version"] == r"1\r2"
    assert found["recommended_for"] == r"\x1b]0;owned\x07 all"
    assert found["training"] == {r"\x1b": [r"a\x1bb", "two\nlines"]}


def test_control_characters_in_names_of_parameters(tmp_path):
    network = small()
    state = {f"\x1b[2J{name}": value for name, value in network.state_dict().items()}
    path = lightning(network, tmp_path / "a.ckpt", state_dict=state)
    with pytest.raises(WeightsError) as caught:
        models.load(path)
    assert str(caught.value).isprintable()


def test_bundled_files_are_sealed_and_small():
    for path in Path(registry.BUNDLED_DIR).glob("*.safetensors"):
        assert models.load(path.stem).card["checksum"] == "everything"
        assert path.stat().st_size < 1e6
        header = path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]
        assert json.loads(json.loads(header)["__metadata__"]["cdn_sc"])["format"] in (2, 3)
