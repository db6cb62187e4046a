"""A transport for the Python client that answers what a test writes."""

import asyncio

import httpx

from service.client import AsyncClient, Client


class Server(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers each request with the next of some answers, or raises it; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.handle_request(request)


def busy(status: int = 429, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def ok(media_type: str = "image/x-cwic") -> httpx.Response:
    return httpx.Response(200, content=b"file", headers={"Content-Type": media_type})


CWIC, PNG = "image/x-cwic", "image/png"


def answered(server: Server, *, asynchronously: bool, **options: float) -> bytes:
    """The file that a client gets from the server."""

    async def run() -> bytes:
        async with AsyncClient("http://server", transport=server, **options) as client:  # type: ignore[arg-type]
            return (await client.compress(b"picture")).data

    if asynchronously:
        return asyncio.run(run())
    with Client("http://server", transport=server, **options) as client:  # type: ignore[arg-type]
        return client.compress(b"picture").data
