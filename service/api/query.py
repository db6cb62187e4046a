"""Query parameters that come twice: one of the two would silently do nothing, so both are refused."""

from collections import Counter
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request


async def refuse_repeats(request: Request) -> None:
    """A dependency of the whole app: refuses a parameter that comes twice and is no list.

    Raises RequestValidationError, which names the parameter.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    repeated = [name for name, count in counts.items() if count > 1]
    if not repeated:
        return
    lists = _lists(request)
    errors = [
        {"loc": ("query", name), "msg": f"Comes {counts[name]} times; once is enough"}
        for name in repeated
        if name not in lists
    ]
    if errors:
        raise RequestValidationError(errors)


def _lists(request: Request) -> set[str]:
    """The parameters of the request's route that may come more than once, as the API's own description has them."""
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = operations.get(request.method.lower(), {}).get("parameters", ())
    return {each["name"] for each in parameters if each["in"] == "query" and _is_list(each["schema"])}


def _is_list(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "array" or any(_is_list(each) for each in schema.get("anyOf", ()))
