import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from model import checkpoints
from model.checkpoints import available, load_codec, model_id, save_checkpoint
from model.codec import Codec
from model.config import CodecConfig
from model.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    CwicError,
    DeviceError,
    ParameterError,
    SelfTestError,
    WrongModelError,
)
from tests.conftest import TINIES, TINY_2018, picture


@pytest.fixture
def copied(any_dir: Path, tmp_path: Path) -> Path:
    """A folder with the checkpoint `copy`, of each kind in turn."""
    (name,) = available(any_dir)
    for path in any_dir.glob(f"{name}.*"):
        shutil.copy(path, tmp_path / f"copy{path.suffix}")
    return tmp_path


def edit_card(folder: Path, **changes: str) -> None:
    path = folder / "copy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_weights(folder: Path, data: bytes) -> None:
    """Weights whose digest the card confirms."""
    (folder / "copy.safetensors").write_bytes(data)
    edit_card(folder, sha256=hashlib.sha256(data).hexdigest())


def test_a_saved_checkpoint_loads_and_names_itself(any_dir: Path) -> None:
    (name,) = available(any_dir)
    info = load_codec(name, model_dir=any_dir, device="cpu").info
    card = json.loads((any_dir / f"{name}.json").read_text())
    config = CodecConfig.from_json(json.dumps(card["config"]))
    assert config == TINIES[name]
    assert (info.name, info.profile, info.fixed_rate) == (name, config.profile, config.fixed_rate)
    assert (info.sha256, info.model_id, info.device) == (card["sha256"], info.sha256[:8], "cpu")
    assert info.size == (any_dir / f"{name}.safetensors").stat().st_size


def test_checkpoints_of_all_profiles_live_in_one_folder(tiny_dirs: dict[str, Path], tmp_path: Path) -> None:
    for folder in tiny_dirs.values():
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert set(available(tmp_path)) == set(TINIES)
    ids = {load_codec(name, model_dir=tmp_path, device="cpu").info.model_id for name in TINIES}
    assert len(ids) == len(TINIES)


def test_a_card_tells_the_model_id_without_the_weights(any_dir: Path, any_codec: Codec) -> None:
    name = any_codec.info.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.checkpoints._build", None)
        assert model_id(name, model_dir=any_dir) == any_codec.info.model_id
    with pytest.raises(CheckpointNotFoundError, match="'absent'"):
        model_id("absent", model_dir=any_dir)


def test_a_missing_checkpoint_is_named_with_those_that_are_there(tiny_dir: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"'other'.*there: tiny"):
        load_codec("other", model_dir=tiny_dir)


def test_weights_without_a_card_are_no_checkpoint(copied: Path) -> None:
    (copied / "state.safetensors").write_bytes(b"of a run")
    assert available(copied) == ("copy",)


def test_damaged_weights_are_refused(copied: Path) -> None:
    path = copied / "copy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointFormatError, match="SHA-256"):
        load_codec("copy", model_dir=copied)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": 1, "golden": "", "golden_codes_sha256": ""}'])
def test_a_damaged_card_is_refused(copied: Path, text: str) -> None:
    (copied / "copy.json").write_text(text)
    with pytest.raises(CheckpointFormatError, match="model card"):
        load_codec("copy", model_dir=copied)


def test_weights_that_are_no_checkpoint_are_refused(copied: Path) -> None:
    write_weights(copied, b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointFormatError, match="not a checkpoint"):
        load_codec("copy", model_dir=copied)


def test_weights_under_the_config_of_another_profile_are_refused(copied: Path) -> None:
    with safe_open(copied / "copy.safetensors", "pt") as file:
        own = CodecConfig.from_json(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    other = next(config for config in TINIES.values() if config.profile != own.profile)
    write_weights(copied, safetensors.torch.save(tensors, metadata={"config": other.to_json()}))
    with pytest.raises(CheckpointFormatError, match="not a checkpoint"):
        load_codec("copy", model_dir=copied)


@pytest.mark.parametrize("convention", [0, 1])
def test_the_mask_convention_is_part_of_the_model_id(
    tiny_dirs: dict[str, Path], tmp_path: Path, convention: int
) -> None:
    """The same weights under both conventions are two models: neither decodes the other's files."""
    tensors = safetensors.torch.load_file(tiny_dirs["tiny-2018"] / "tiny-2018.safetensors")
    save_checkpoint(tensors, replace(TINY_2018, lowest_level=convention), tmp_path / "same", card={})
    same = load_codec("same", model_dir=tmp_path, device="cpu")
    name = "tiny-2018" if convention == 0 else "tiny-2018-empty"
    other = load_codec(name, model_dir=tiny_dirs[name], device="cpu")
    with pytest.raises(WrongModelError):
        other.decode(same.encode(picture(40, 40)))


def test_a_golden_vector_that_decodes_differently_stops_the_load(copied: Path) -> None:
    edit_card(copied, golden_codes_sha256="0" * 64)
    with pytest.raises(SelfTestError, match="other codes"):
        load_codec("copy", model_dir=copied)
    edit_card(copied, golden="")
    with pytest.raises(SelfTestError, match="does not decode"):
        load_codec("copy", model_dir=copied)


def test_a_device_that_is_full_is_no_fault_of_the_checkpoint(
    tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("model.checkpoints.Codec", fill)
    with pytest.raises(DeviceError, match=r"cpu cannot take .*CUDA out of memory"):
        load_codec("tiny", model_dir=tiny_dir, device="cpu")


@pytest.mark.parametrize(
    ("device", "error"),
    [("gpu", ParameterError), ("cuda:x", ParameterError), ("", ParameterError), ("cuda:99", DeviceError)],
)
def test_devices_that_do_not_exist_are_refused(tiny_dir: Path, device: str, error: type[CwicError]) -> None:
    with pytest.raises(error, match="device"):
        load_codec("tiny", model_dir=tiny_dir, device=device)


@pytest.mark.parametrize(
    ("float32", "bfloat16", "pays"), [(6.0, 1.0, True), (1.1, 1.0, False), (1.0, 9.0, False)]
)
def test_bfloat16_is_taken_where_it_is_clearly_faster(float32: float, bfloat16: float, pays: bool) -> None:
    """A block is timed five times in each precision, and the fastest of them counts."""
    now, spent = 0.0, iter([*(2 * [float32] * 5), *(2 * [bfloat16] * 5)])

    def clock() -> float:
        nonlocal now
        now += next(spent)
        return now

    assert checkpoints._bfloat16_pays.__wrapped__(clock) == pays
