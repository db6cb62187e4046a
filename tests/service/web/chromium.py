"""A Chromium without a window that tests look at the pages with, and a service whose answers they write."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from model.protocol import PictureCodec
from service.app import create_app
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.server import running

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)


def installed() -> bool:
    """Whether there are Chromium and its driver."""
    return None not in (shutil.which("chromium"), shutil.which("chromedriver"))


needed = pytest.mark.skipif(
    not installed(), reason="needs Chromium: apt-get install chromium chromium-driver"
)


@contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """A browser with a new profile; its downloads go to `downloads` in the folder."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": f"{folder / 'downloads'}"})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


class Seen(NamedTuple):
    """A request that has come; its query is part of the path."""

    method: str
    path: str
    headers: Headers


class Answer(NamedTuple):
    """What a test answers in place of the service."""

    status: int
    body: object
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


@dataclass
class Script:
    """What has been asked, and what is answered in place of the service.

    Attributes:
        seen: every request.
        answers: by the first part of the path; None leaves it to the service.
    """

    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, Callable[[Seen], Answer | None]] = field(default_factory=dict)

    def of(self, name: str) -> list[Seen]:
        """The requests whose path begins so."""
        return [each for each in self.seen if first_part(each.path) == name]


def first_part(path: str) -> str:
    """`progress` of `/progress/1234?x`."""
    return path.partition("?")[0].split("/")[1]


class Scripted:
    """The service with some of its answers taken from a script."""

    def __init__(self, app: ASGIApp, *, script: Script) -> None:
        self._app = app
        self._script = script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode()
        seen = Seen(scope["method"], f"{scope['path']}{'?' if query else ''}{query}", Headers(scope=scope))
        self._script.seen.append(seen)
        write = self._script.answers.get(first_part(seen.path))
        answer = write(seen) if write else None
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse(answer.body, answer.status, answer.headers)(scope, receive, send)


@contextmanager
def scripted(*codecs: PictureCodec, **settings: object) -> Iterator[tuple[str, Script]]:
    """The address of a ready service with these codecs, and its script."""
    script = Script()
    app = create_app(Settings.model_validate(settings), load=lambda _: codecs)
    app.add_middleware(Scripted, script=script)
    with running(app) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        script.seen.clear()
        yield str(client.base_url), script


def blocked(driver: Chrome) -> list[str]:
    """What the browser has written to its console about the policy of the page, or an error of its scripts."""
    messages = [json.dumps(each["message"]) for each in driver.get_log("browser")]  # type: ignore[no-untyped-call]
    return [each for each in messages if "Content Security Policy" in each or "Uncaught" in each]
