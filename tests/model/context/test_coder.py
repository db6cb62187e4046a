"""Codes to payloads: which there are. That they come back is tested with the codec."""

import torch

from model.codec import Codec
from model.config import BLOCK
from model.context.conditions import Conditions
from model.entropy.range_coder import Encoder
from model.types import unchecked


def test_groups_of_which_no_place_keeps_a_channel_have_no_payload_but_the_first(any_codec: Codec) -> None:
    config = any_codec.config
    each = config.map_stride // BLOCK
    starts = [sum(config.groups[:k]) for k in range(len(config.groups))]
    found = set()
    for level, kept in enumerate(config.kept, config.lowest_level):
        levels = torch.full((1, 1, 2, 3), level)
        [payloads], _ = any_codec._model.symbols.encode(
            levels,
            torch.zeros(1, config.channels, 2 * each, 3 * each),
            Conditions.of(torch.zeros_like(levels), 0),
            strictness=torch.ones(1),
            sink=Encoder,
            check=unchecked,
        )
        assert len(payloads) == 1 + max(1, sum(start < kept for start in starts))
        found.add(len(payloads))
    assert len(found) > 1
