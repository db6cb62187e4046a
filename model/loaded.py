"""A checkpoint in memory: what encoder and decoder share."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from model.config import TUNES, CodecConfig, CwicConfig
from model.context.coder import SymbolCoder
from model.profiles.base import Transforms
from model.profiles.cwic.network import CwicNetwork
from model.profiles.cwic.refinement import Refinement
from model.profiles.cwic.transforms import CwicTransforms
from model.profiles.export import dequantise
from model.profiles.registry import transforms_of
from model.types import ModelInfo


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedModel:
    """One checkpoint's networks, frozen, on their device.

    Attributes:
        config: what the codec is made of.
        info: where it comes from and where it runs.
        transforms: the pixel path.
        symbols: the coder of importance maps and codes.
        weights: what it is made of, by the names of `model.profiles.export.quantise`.
        device: of both.
    """

    config: CodecConfig
    info: ModelInfo
    transforms: Transforms
    symbols: SymbolCoder
    weights: Mapping[str, Tensor]
    device: torch.device

    @classmethod
    def of(cls, config: CodecConfig, weights: Mapping[str, Tensor], info: ModelInfo) -> "LoadedModel":
        """From the tensors of `model.profiles.export.quantise`, onto the device and into the dtype of `info`."""
        device = torch.device(info.device)
        transforms = transforms_of(config)
        transforms.load_state_dict({name: weights[name] for name in transforms.state_dict()})
        transforms.requires_grad_(False).eval().to(device)
        transforms.run_in(getattr(torch, info.dtype))
        for parameter in transforms.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        choosing = [w for tune in range(len(TUNES)) if (w := transforms.residual_weight(tune)) is not None]
        symbols = SymbolCoder(config, weights, residual_weights=choosing, device=device)
        return cls(
            config=config,
            info=info,
            transforms=transforms,
            symbols=symbols,
            weights=weights,
            device=device,
        )

    @cached_property
    def refinement(self) -> Refinement:
        """What improves latents, with the transforms as they are here; made when it is first needed."""
        assert isinstance(self.config, CwicConfig), f"profile {self.config.profile} has no refinement"
        assert isinstance(self.transforms, CwicTransforms)
        network = CwicNetwork(self.config)
        network.load_state_dict(dequantise(self.weights, self.config))
        network.requires_grad_(False).eval().to(self.device)
        network.transforms = self.transforms
        return Refinement(network)
