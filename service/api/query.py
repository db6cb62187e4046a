"""Query parameters that would silently do nothing: unknown ones, and those that come twice, are refused."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

MOST_ERRORS = 8  # that an answer tells: a query has room for thousands


async def check_parameters(request: Request) -> None:
    """A dependency of the whole app: refuses parameters that a route does not have or, unless lists, that come twice.

    The routes' parameters are those of the API's own description. Pages, which are not in it, may be given any.
    Raises RequestValidationError, which names the parameters.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    if not counts:
        return
    declared = _declared(request)
    errors = []
    for name, count in counts.items():
        if count > 1 and not _is_list((declared or {}).get(name, {})):
            reason = f"Comes {count} times; once is enough"
        elif declared is not None and name not in declared:
            reason = (
                f"No such parameter; there are {', '.join(declared)}" if declared else "Takes no parameters"
            )
        else:
            continue
        errors.append({"loc": ("query", name), "msg": reason})
        if len(errors) == MOST_ERRORS:
            break
    if errors:
        raise RequestValidationError(errors)


def refusal(name: str, reason: str) -> RequestValidationError:
    """What to raise for a parameter whose value will not do here."""
    return RequestValidationError([{"loc": ("query", name), "msg": reason}])


def _declared(request: Request) -> Mapping[str, Any] | None:
    """The schemas of the parameters of the request's route, by name; None where the API does not describe it."""
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    operation = operations.get(request.method.lower())
    if operation is None:
        return None
    return {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}


def _is_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" or any(_is_list(each) for each in schema.get("anyOf", ()))
