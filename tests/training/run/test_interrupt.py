"""Ctrl-C during training: the step is taken whole or not kept."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.commands.test_train import folder, write_config
from training.config import read_config
from training.data.pool import load_pool
from training.run.interrupt import Interrupt
from training.run.state import STATE, read_tensors
from training.run.trainer import Trainer
from training.run.validation import Validation

__all__ = ["folder"]  # a fixture


@pytest.fixture(autouse=True)
def _python_handles_the_signal() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def trainer_of(folder: Path) -> Trainer:
    config = read_config(write_config(folder))
    return Trainer(
        config, load_pool(config.train_files, patch=64), Validation(()), device=torch.device("cpu")
    )


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Train until the signal comes that often after the optimiser has moved and before the average has."""
    move = trainer.optimisers.step

    def moved() -> None:
        move()
        if trainer.progress.step == 1:
            for _ in range(times):
                interrupt()

    monkeypatch.setattr(trainer.optimisers, "step", moved)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def test_the_step_is_finished_and_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(folder)
    interrupted(trainer, monkeypatch, times=1)
    tensors, progress = read_tensors(folder / "run" / STATE)
    assert progress.step == trainer.progress.step == 2
    for prefix, network in (("network.", trainer.network), ("ema.", trainer.ema)):
        assert all(torch.equal(tensors[prefix + n], t) for n, t in network.state_dict().items())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_signal_ends_the_step_and_nothing_of_it_is_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(folder)
    trainer._save()
    before = (folder / "run" / STATE).read_bytes()
    interrupted(trainer, monkeypatch, times=2)
    assert trainer.progress.step == 1
    assert (folder / "run" / STATE).read_bytes() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_no_step_has_seen_is_not_lost() -> None:
    passed = []

    def block() -> None:
        with Interrupt().deferred():
            interrupt()
            passed.append(True)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert passed


def test_the_handler_of_a_program_is_kept() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        with Interrupt().deferred():
            interrupt()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
