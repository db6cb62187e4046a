from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.service.fakes import FakeCodec
from tests.service.web import chromium
from tests.service.web.chromium import Script
from tests.service.web.page import Held, Page


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def driver(folder: Path) -> Iterator[Chrome]:
    with chromium.chromium(folder) as driver:
        yield driver


@pytest.fixture(scope="session")
def held() -> Held:
    return Held()


@pytest.fixture(scope="session")
def service(held: Held) -> Iterator[tuple[str, Script]]:
    codec = FakeCodec(tunes=("psnr", "visual"), on_encode=held)
    with chromium.scripted(codec, max_pixels=10_000) as (address, script):
        yield address, script


@pytest.fixture
def page(driver: Chrome, service: tuple[str, Script], folder: Path, held: Held) -> Iterator[Page]:
    """The page, freshly loaded, of a service whose codec keeps pictures as they are."""
    address, script = service
    script.answers.clear()
    page = Page(driver, address, script, folder)
    page.emulate()
    page.open()
    script.seen.clear()
    yield page
    held.release()
    assert chromium.blocked(driver) == []
