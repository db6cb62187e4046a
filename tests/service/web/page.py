"""The page in a browser, as tests handle it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.effort import PATIENCE, wait_until
from tests.service.fakes import png
from tests.service.web.chromium import Script

COMPARISON = {
    "width": 60,
    "height": 40,
    "cropped": True,
    "size": 1000,
    "psnr": 33.0,
    "others": [
        {"name": "JPEG", "needs": None},
        {"name": "WebP", "needs": {"size": 1500, "quality": 40, "file_size": 1510, "psnr": 33.1}},
        {"name": "AVIF", "needs": {"size": 900, "quality": 50, "file_size": 910, "psnr": 33.1}},
    ],
}
LIMIT = {
    "type": "urn:cwic:problem:limit",
    "title": "Picture too large",
    "detail": "A picture of 48000000 pixels; the limit is 40000000 (CWIC_MAX_PIXELS).",
    "limit": 40_000_000,
    "actual": 48_000_000,
    "request_id": "one-of-ours",
}
BUSY = {"type": "urn:cwic:problem:queue-full", "title": "Too many requests", "detail": "(CWIC_QUEUE_SIZE)"}


class Held:
    """A hook of `FakeCodec` that keeps pictures waiting between `hold` and `release`.

    Attributes:
        waiting: how many it keeps.
    """

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()
        self.waiting = 0

    def __call__(self, _: object) -> None:
        self.waiting += 1
        try:
            assert self._free.wait(PATIENCE)
        finally:
            self.waiting -= 1

    def hold(self) -> None:
        """Keep what comes from now on."""
        self._free.clear()

    def release(self) -> None:
        """Let all go on."""
        self._free.set()


class Page:
    """The page in a browser, and the script of its server."""

    def __init__(self, driver: Chrome, address: str, script: Script, folder: Path) -> None:
        self.driver = driver
        self.address = address
        self.script = script
        self.folder = folder

    def open(self) -> None:
        """Load it; returns once it knows the models, or that it lacks a key."""
        self.driver.get(self.address)
        wait_until(
            lambda: bool(self.run("return models.length")) or self["key-form"].is_displayed(), pause=0.02
        )

    def __getitem__(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in it."""
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def file(self, name: str = "photo.png", data: bytes | None = None) -> Path:
        """A file to choose; a picture, unless its bytes are given."""
        path = self.folder / name
        path.write_bytes(png() if data is None else data)
        return path

    def choose(self, name: str = "photo.png", data: bytes | None = None) -> None:
        """Choose a file by the button."""
        self["file"].send_keys(str(self.file(name, data)))

    def compress(self, name: str = "photo.png", data: bytes | None = None) -> None:
        """Choose a file and wait until all is done."""
        self.choose(name, data)
        self.wait_for_result()

    def choose_option(self, name: str, text: str) -> None:
        """Choose what a list offers by these words."""
        Select(self[name]).select_by_visible_text(text)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once it holds."""
        wait_until(condition, pause=0.02)

    def wait_for_result(self) -> None:
        """Return once a picture is done."""
        self.wait_for(lambda: self["said"].text.startswith("Done in"))

    @property
    def status(self) -> str:
        """The line of status, as it is read."""
        return f"{self.run('return said.textContent + numbers.textContent')}"

    def hurry(self) -> None:
        """Make the page's seconds short."""
        self.run("const wait = setTimeout; window.setTimeout = (what, time) => wait(what, time / 100);")

    @property
    def wide(self) -> bool:
        """Whether it has to be scrolled sideways."""
        return bool(
            self.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
        )

    def emulate(self, *, width: int = 1280, scheme: str = "light") -> None:
        """A window of that width, and a colour scheme."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
