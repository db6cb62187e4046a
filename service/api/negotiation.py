"""Which picture format to answer with, by the header `Accept` (RFC 9110, 12.5.1)."""

from collections.abc import Mapping


def choose_format(accept: str, media_types: Mapping[str, str]) -> str | None:
    """The acceptable format of the highest weight, the earlier one where two are equal; None where none is.

    Args:
        accept: the header's value; empty accepts everything.
        media_types: by format, the preferred one first, such as `{"png": "image/png"}`.
    """
    ranges = _parse(accept) if accept.strip() else {"*/*": 1.0}
    weights = {each: _weight(media_type, ranges) for each, media_type in media_types.items()}
    best = max(weights, key=lambda each: weights[each])
    return best if weights[best] > 0 else None


def _weight(media_type: str, ranges: Mapping[str, float]) -> float:
    family = media_type.partition("/")[0]
    for each in (media_type, f"{family}/*", "*/*"):  # the most specific range decides, also where it says 0
        if each in ranges:
            return ranges[each]
    return 0.0


def _parse(accept: str) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = _number(value)
        ranges[name] = max(weight, ranges.get(name, 0.0))
    return ranges


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0  # a range whose weight cannot be read is not taken
    return value if 0 <= value <= 1 else 0.0
