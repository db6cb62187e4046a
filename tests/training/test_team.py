"""training.team: which device a process of torchrun gets."""

import pytest
import torch

from model.errors import DeviceError, ParameterError
from training.team import join


@pytest.mark.parametrize("rank", [None, "0"])
def test_a_gpu_that_is_not_here_is_refused_alone_and_under_torchrun(
    monkeypatch: pytest.MonkeyPatch, rank: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(DeviceError, match="finds 0 CUDA devices"):
        join("cuda")
    with pytest.raises(ParameterError, match="got 'gpu'"):
        join("gpu")


def test_a_machine_with_fewer_gpus_than_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(DeviceError, match="'cuda:1' was asked for"):
        join("auto")


def test_one_process_has_the_device_that_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    team, device = join("cpu")
    assert (team.rank, team.size, device) == (0, 1, torch.device("cpu"))
