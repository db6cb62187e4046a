"""The processes that train one network together: torchrun's, or this one alone."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from model.checkpoints import resolve_device


@dataclass(frozen=True)
class Team:
    """Processes that see different crops of one batch and hold equal weights.

    Attributes:
        rank: of this process; 0 leads: it alone writes files and decides how much time has passed.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process does what is done once."""
        return self.rank == 0

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network with gradients that are means over all processes."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)

    def own(self, batch: int) -> slice:
        """This process's part of what was drawn for all: `batch` items for each."""
        return slice(self.rank * batch, (self.rank + 1) * batch)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over all processes; without gradient."""
        value = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(value)
            value /= self.size
        return value

    def agreed(self, value: float, device: torch.device) -> float:
        """The leader's value."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.broadcast(shared, src=0)
        return float(shared)

    def leave(self) -> None:
        """Wait for the others and part."""
        if self.size > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def join(device: str) -> tuple[Team, torch.device]:
    """The team that torchrun's environment names, and this process's device: a GPU of its own where one is meant.

    Raises:
        DeviceError: the device is not here, or there is not one for each process of this machine.
        ParameterError: no device has this name.
    """
    own = resolve_device(device)
    if "LOCAL_RANK" not in os.environ:
        return Team(), own
    cuda = own.type == "cuda"
    if cuda:
        own = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if cuda else "gloo")
    return Team(distributed.get_rank(), distributed.get_world_size()), own
