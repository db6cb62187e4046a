import json
import shutil
from pathlib import Path

import pytest

from model.checkpoints import available, load_codec
from model.errors import CheckpointFormatError, CheckpointNotFoundError, ParameterError, SelfTestError


@pytest.fixture
def copied(tiny_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dir, tmp_path / "copy"))


def edit_card(folder: Path, **changes: str) -> None:
    path = folder / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_saved_checkpoint_loads_and_names_itself(tiny_dir: Path) -> None:
    info = load_codec("tiny", model_dir=tiny_dir, device="cpu").info
    card = json.loads((tiny_dir / "tiny.json").read_text())
    assert (info.name, info.profile, info.sha256, info.device) == ("tiny", "cwic", card["sha256"], "cpu")
    assert info.model_id == info.sha256[:8]
    assert info.size == (tiny_dir / "tiny.safetensors").stat().st_size
    assert available(tiny_dir) == ("tiny",)


def test_a_missing_checkpoint_is_named_with_those_that_are_there(tiny_dir: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"'other'.*there: tiny"):
        load_codec("other", model_dir=tiny_dir)


def test_damaged_weights_are_refused(copied: Path) -> None:
    path = copied / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointFormatError, match="SHA-256"):
        load_codec("tiny", model_dir=copied)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": 1, "golden": "", "golden_codes_sha256": ""}'])
def test_a_damaged_card_is_refused(copied: Path, text: str) -> None:
    (copied / "tiny.json").write_text(text)
    with pytest.raises(CheckpointFormatError, match="model card"):
        load_codec("tiny", model_dir=copied)


def test_weights_that_are_no_checkpoint_are_refused(copied: Path) -> None:
    import hashlib

    data = b"\x02\0\0\0\0\0\0\0{}"
    (copied / "tiny.safetensors").write_bytes(data)
    edit_card(copied, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(CheckpointFormatError, match="not a checkpoint"):
        load_codec("tiny", model_dir=copied)


def test_a_golden_vector_that_decodes_differently_stops_the_load(copied: Path) -> None:
    edit_card(copied, golden_codes_sha256="0" * 64)
    with pytest.raises(SelfTestError, match="other codes"):
        load_codec("tiny", model_dir=copied)
    edit_card(copied, golden="")
    with pytest.raises(SelfTestError, match="does not decode"):
        load_codec("tiny", model_dir=copied)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x", ""])
def test_devices_that_do_not_exist_are_refused(tiny_dir: Path, device: str) -> None:
    with pytest.raises(ParameterError, match="device"):
        load_codec("tiny", model_dir=tiny_dir, device=device)
