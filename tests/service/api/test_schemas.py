"""Results as the API shows them."""

import math
from types import MappingProxyType

from service.api.schemas import ComparisonFacts
from service.jobs.compare import Comparison, Equal, Trial


def test_a_comparison_says_what_each_format_needs_and_which_cannot() -> None:
    others = {"JPEG": None, "WebP": Equal(1500, Trial(40, 1510, 33.1))}
    facts = ComparisonFacts.of(Comparison(60, 40, True, 1000, 33.0, MappingProxyType(others)))
    assert facts.model_dump() == {
        "width": 60,
        "height": 40,
        "cropped": True,
        "size": 1000,
        "psnr": 33.0,
        "others": [
            {"name": "JPEG", "needs": None},
            {"name": "WebP", "needs": {"size": 1500, "quality": 40, "file_size": 1510, "psnr": 33.1}},
        ],
    }


def test_what_equals_the_picture_has_no_psnr_in_json() -> None:
    others = {"WebP": Equal(1500, Trial(40, 1510, math.inf))}
    facts = ComparisonFacts.of(Comparison(60, 40, False, 1000, math.inf, MappingProxyType(others)))
    assert facts.psnr is None
    assert facts.others[0].needs is not None
    assert facts.others[0].needs.psnr is None
