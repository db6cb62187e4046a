"""From a config to the pixel path of its profile."""

from model.config import CodecConfig, Cvpr2018Config, CwicConfig
from model.profiles.base import Transforms
from model.profiles.cvpr2018.transforms import Cvpr2018Transforms
from model.profiles.cwic.transforms import CwicTransforms


def transforms_of(config: CodecConfig) -> Transforms:
    """The analysis and synthesis of a config, with the weights that training starts from."""
    if isinstance(config, Cvpr2018Config):
        return Cvpr2018Transforms(config)
    assert isinstance(config, CwicConfig)
    return CwicTransforms(config)
