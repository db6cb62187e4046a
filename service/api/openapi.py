"""What the OpenAPI document says beyond what FastAPI finds by itself: bodies, pictures and problems."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from model.images.writing import MEDIA_TYPES
from service.api import problems
from service.api.auth import OPEN
from service.api.browsers import READING
from service.api.problems import Kind, Problem

CWIC_TYPE = "image/x-cwic"
TEXT = "text/plain"

Schema = dict[str, Any]  # a JSON document

_BINARY: Schema = {"type": "string", "format": "binary"}
_PROBLEM: Schema = {"$ref": "#/components/schemas/Problem"}

_HEADERS: dict[int, Schema] = {
    problems.UNAUTHORIZED.status: {
        "WWW-Authenticate": {"description": "The scheme `Bearer`.", "schema": {"type": "string"}}
    },
    problems.QUEUE_FULL.status: {
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    },
    problems.NOT_READY.status: {
        "Retry-After": {
            "description": "Seconds to wait; absent where the server has to be started again.",
            "schema": {"type": "integer"},
        }
    },
}
_SCHEMES: Schema = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, where the service has keys (`CWIC_API_KEYS`).",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
# Of every endpoint that takes a body and does work.
WORK = (
    problems.BAD_REQUEST,
    problems.EMPTY_BODY,
    problems.BAD_FORM,
    problems.BODY_TIMEOUT,
    problems.BODY_TOO_SLOW,
    problems.BODY_TOO_LARGE,
    problems.LIMIT,
    problems.TOO_MUCH_WORK,
    problems.QUEUE_FULL,
    problems.BODY_MEMORY,
    problems.INTERNAL,
    problems.NOT_READY,
    problems.DRAINING,
    problems.OUT_OF_MEMORY,
    problems.NOT_ALIVE,
    problems.TIMEOUT,
    problems.NO_SPACE,
)
READ_IMAGE = (
    problems.UNSUPPORTED_IMAGE,
    problems.BROKEN_IMAGE,
    problems.INVALID_PARAMETER,
    problems.UNKNOWN_MODEL,
)
READ_FILE = (
    problems.NOT_CWIC,
    problems.UNSUPPORTED_VERSION,
    problems.INVALID_PARAMETER,
    problems.DAMAGED_FILE,
    problems.TRUNCATED_FILE,
    problems.WRONG_MODEL,
)


def body(description: str, *media_types: str, beside: dict[str, str] | None = None) -> Schema:
    """The request body of an endpoint: raw bytes, or a multipart form with the field `file`.

    `beside` has the other fields that the form may have, with what their files are.
    """
    fields = {name: {**_BINARY, "description": meaning} for name, meaning in (beside or {}).items()}
    form = {"type": "object", "properties": {"file": _BINARY, **fields}, "required": ["file"]}
    content: Schema = {each: {"schema": _BINARY} for each in (*media_types, "application/octet-stream")}
    content["multipart/form-data"] = {"schema": form}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def answers(*kinds: Kind, ok: Schema | None = None) -> dict[int | str, Schema]:
    """The responses of an endpoint: its success where it is not JSON, and its problems by status."""
    result: dict[int | str, Schema] = {200: ok} if ok else {}
    for status in sorted({kind.status for kind in kinds}):
        titles = dict.fromkeys(kind.title for kind in kinds if kind.status == status)
        result[status] = {
            "description": "; ".join(titles),
            "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}},
        }
        if status in _HEADERS:
            result[status]["headers"] = _HEADERS[status]
    return result


def binary(description: str, *media_types: str, headers: dict[str, str] | None = None) -> Schema:
    """A successful answer of bytes, with its headers and what they mean."""
    named = {
        "ETag": "Of the content, strong.",
        "Server-Timing": "Milliseconds of each stage.",
        **(headers or {}),
    }
    return {
        "description": description,
        "content": {each: {"schema": _BINARY} for each in media_types},
        "headers": {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in named.items()
        },
    }


def pictures() -> tuple[str, ...]:
    """The media types that pictures are answered in."""
    return tuple(MEDIA_TYPES.values())


def install(app: FastAPI) -> None:
    """Add what no endpoint declares: the schema of problems, keys, and what is refused before any of them."""

    def document() -> Schema:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            parts = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            definitions = parts.pop("$defs", {})
            schema.setdefault("components", {}).setdefault("schemas", {}).update(
                definitions | {"Problem": parts}
            )
            schema["components"]["securitySchemes"] = _SCHEMES
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    _add_refusals(operation, method=method.upper(), path=path)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _add_refusals(operation: Schema, *, method: str, path: str) -> None:
    """What is checked before any endpoint: host, origin, key, rate, and that parameters come once."""
    kinds = [problems.WRONG_HOST, problems.INVALID_PARAMETER]
    if method not in READING:
        kinds.append(problems.CROSS_ORIGIN)
    if path not in OPEN:
        kinds += [problems.UNAUTHORIZED, problems.RATE_LIMIT]
        operation["security"] = [{"bearer": []}, {"key": []}, {}]  # the last: a service without keys
    found = operation["responses"]
    for status, answer in answers(*kinds).items():
        known = found.setdefault(str(status), answer)
        titles = [*known["description"].split("; "), answer["description"]]
        known["description"] = "; ".join(dict.fromkeys(titles))
    operation["responses"] = dict(sorted(found.items()))
