"""Regions of interest on the page in a real browser: drawn, moved, written down, and sent."""

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.interaction import POINTER_MOUSE, POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from model.options import MAX_ROIS, MAX_WEIGHT
from tests.conftest import picture
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.web import chromium
from tests.service.web.chromium import Answer
from tests.service.web.page import COMPARISON, Page

pytestmark = chromium.needed

WIDTH, HEIGHT = 120, 80
Rectangle = tuple[int, int, int, int]


@pytest.fixture
def done(page: Page) -> Iterator[Page]:
    """The page with a picture of 120 x 80 pixels that is compressed."""
    page.compress("photo.png", png(picture_array(WIDTH, HEIGHT)))
    yield page
    page.run("draw(false)")


def drag(
    page: Page, start: tuple[float, float], end: tuple[float, float], *, kind: str = POINTER_MOUSE
) -> None:
    """Drag from one place of the picture to another, both in shares of its width and height."""
    page.run("$('right').scrollIntoView({ block: 'center' })")
    left, top, width, height = page.run(
        "const box = $('sheet').getBoundingClientRect(); return [box.left, box.top, box.width, box.height]"
    )
    device: Any = PointerInput  # selenium has no types for it
    chain = ActionChains(page.driver, 50, devices=[device(kind, kind)])
    pointer: Any = chain.w3c_actions.pointer_action
    pointer.move_to_location(left + start[0] * width, top + start[1] * height)
    pointer.pointer_down()
    pointer.move_to_location(left + (start[0] + end[0]) / 2 * width, top + (start[1] + end[1]) / 2 * height)
    pointer.move_to_location(left + end[0] * width, top + end[1] * height)
    pointer.pointer_up()
    chain.perform()


def regions(page: Page) -> list[list[float]]:
    """Of the page: left, top, width, height and weight of each."""
    found: list[list[float]] = page.run(
        "return regions.map(({ x, y, width, height, weight }) => [x, y, width, height, weight])"
    )
    return found


def sent(page: Page, count: int) -> list[str]:
    """The regions of the last request to compress, of which there are so many then."""
    page.wait_for(lambda: len(page.script.of("compress")) == count)
    query = page.script.of("compress")[-1].path.partition("?")[2]
    return [each.removeprefix("roi=") for each in query.split("&") if each.startswith("roi=")]


def near(found: list[float], wanted: Rectangle) -> bool:
    """Whether the edges are those of a rectangle, but for a pixel that the pointer may touch."""
    return all(abs(one - other) <= 1 for one, other in zip(found, wanted, strict=False))


def field(page: Page, name: str, region: int = 0) -> WebElement:
    """A field of a region."""
    return page["region-list"].find_elements(By.NAME, name)[region]


@pytest.mark.parametrize("kind", [POINTER_MOUSE, POINTER_TOUCH])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_rectangle_drawn_on_the_picture_is_sent_in_its_pixels(done: Page, kind: str, width: int) -> None:
    done.emulate(width=width)
    done["draw"].click()
    assert done["draw"].get_attribute("aria-pressed") == "true"
    drag(done, (0.75, 0.75), (0.25, 0.5), kind=kind)
    [roi] = sent(done, 2)
    assert near([float(each) for each in roi.split(",")], (30, 40, 60, 20))
    assert roi.endswith(",8")
    assert done["draw"].get_attribute("aria-pressed") == "false"
    done.wait_for_result()
    outline = done.driver.find_element(By.CLASS_NAME, "region").rect
    sheet = done["sheet"].rect
    assert abs((outline["x"] - sheet["x"]) / sheet["width"] - 0.25) < 0.02
    assert abs(outline["height"] / sheet["height"] - 0.25) < 0.03
    assert not done.wide


def test_a_picture_that_lies_on_its_side_has_regions_of_the_upright_one(page: Page) -> None:
    turned = bytes.fromhex("4578696600004d4d002a000000080001011200030000000100060000000000000000")
    page.compress("turned.jpg", png(picture_array(WIDTH, HEIGHT), picture_format="JPEG", exif=turned))
    assert page["size"].text == f"{HEIGHT} \u00d7 {WIDTH}"
    page["draw"].click()
    drag(page, (0.5, 0.5), (1.05, 1.01))
    assert near(regions(page)[0], (HEIGHT // 2, WIDTH // 2, HEIGHT // 2, WIDTH // 2))
    assert sent(page, 2)
    page.wait_for_result()


def test_the_pixels_are_those_of_the_picture_where_it_is_scrolled(page: Page) -> None:
    page.emulate(width=360)
    page.compress("wide.png", png(picture_array(800, 12)))
    page["actual"].click()
    page.run("scrolls[1].scrollTo(400, 0); draw(true)")
    visible = page.run("return scrolls[1].getBoundingClientRect().width") / 800
    start = page.run("return scrolls[1].scrollLeft") / 800
    drag(page, (start + visible / 4, 0.0), (start + visible / 2, 0.99))
    [[x, y, width, height, _]] = regions(page)
    assert abs(x - 800 * (start + visible / 4)) <= 2
    assert abs(width - 200 * visible) <= 2
    assert (y, height) == (0, 12)


def test_a_region_is_moved_and_sized_on_the_picture(done: Page) -> None:
    done["add"].click()
    assert sent(done, 2) == [f"{WIDTH // 4},{HEIGHT // 4},{WIDTH // 2},{HEIGHT // 2},8"]
    done.wait_for_result()
    drag(done, (0.4, 0.6), (0.15, 0.6))
    assert near(regions(done)[0], (0, 20, 60, 40))
    sent(done, 3)
    done.wait_for_result()
    drag(done, (0.5, 0.75), (0.75, 1.0))
    assert near(regions(done)[0], (0, 20, 90, 60))
    sent(done, 4)
    done.wait_for_result()
    drag(done, (0.6, 0.4), (1.04, 0.4))
    assert near(regions(done)[0], (30, 20, 90, 60))
    sent(done, 5)


def test_the_divider_still_follows_the_pointer(done: Page) -> None:
    done["add"].click()
    sent(done, 2)
    done.wait_for_result()
    drag(done, (0.5, 0.5), (0.9, 0.5))
    assert abs(int(done["handle"].get_attribute("aria-valuenow") or 0) - 90) <= 1
    drag(done, (0.95, 0.9), (0.1, 0.9))
    assert abs(int(done["handle"].get_attribute("aria-valuenow") or 0) - 10) <= 1
    assert regions(done) == [[30, 20, 60, 40, 8]]


def test_a_region_is_made_written_down_and_removed_with_keys_alone(done: Page) -> None:
    done["add"].send_keys(Keys.ENTER)
    sent(done, 2)
    assert done.driver.switch_to.active_element == field(done, "x")
    done.press(*(Keys.BACKSPACE,) * 3, "5", Keys.TAB, Keys.ARROW_UP)
    assert sent(done, 3) == ["5,21,60,40,8"]
    field(done, "weight").send_keys("a quarter")
    assert sent(done, 4) == ["5,21,60,40,0.25"]
    assert "less" in (done.driver.find_element(By.CLASS_NAME, "region").get_attribute("class") or "")
    done["region-list"].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert sent(done, 5) == []
    assert done.driver.switch_to.active_element == done["draw"]
    assert not done.driver.find_elements(By.CLASS_NAME, "region")


def test_what_is_written_is_kept_inside_of_the_picture(done: Page) -> None:
    done["add"].click()
    sent(done, 2)
    for name, text, wanted in (
        ("width", "500", [0, 20, 120, 40, 8]),
        ("x", "7", [0, 20, 120, 40, 8]),
        ("height", "", [0, 20, 120, 1, 8]),
        ("y", "79.6", [0, 79, 120, 1, 8]),
        ("width", "-4", [0, 79, 1, 1, 8]),
    ):
        field(done, name).clear()
        field(done, name).send_keys(text, Keys.TAB)
        assert regions(done) == [wanted], (name, text)


def test_several_regions_are_sent_in_their_order_and_numbered(done: Page) -> None:
    for count in (1, 2):
        done["draw"].click()
        drag(done, (0.02, 0.1), (0.2, 0.4))
        assert len(sent(done, 1 + count)) == len(regions(done)) == count
        done.wait_for_result()
    numbers = [each.text for each in done.driver.find_elements(By.CSS_SELECTOR, ".region b")]
    assert numbers == ["1", "2"]
    done["region-list"].find_elements(By.TAG_NAME, "button")[0].click()
    assert [each.text for each in done.driver.find_elements(By.CSS_SELECTOR, ".region b")] == ["1"]


def test_a_slip_and_escape_draw_nothing(done: Page) -> None:
    done["draw"].click()
    drag(done, (0.5, 0.5), (0.503, 0.5))
    assert regions(done) == []
    assert done["draw"].get_attribute("aria-pressed") == "true"
    done.press(Keys.ESCAPE)
    assert done["draw"].get_attribute("aria-pressed") == "false"
    drag(done, (0.9, 0.9), (0.6, 0.6))
    assert regions(done) == []
    assert len(done.script.of("compress")) == 1


def test_a_comparison_says_that_regions_are_left_out(done: Page) -> None:
    done.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    done["add"].click()
    sent(done, 2)
    done.wait_for_result()
    done["compare"].click()
    done.wait_for(done["compared"].is_displayed)
    assert "roi" not in done.script.of("compare")[0].path
    assert "regions of interest are left out" in done["compared-notes"].text


def test_the_psnr_in_the_regions_is_told(page: Page) -> None:
    page.compress("noisy.png", png(picture(64, 64)))
    one, other = picture(64, 64), picture(64, 64)
    other[:32, :32] ^= 1
    found = page.run(
        """
        const blobs = [...arguments].map((text) => new Blob([Uint8Array.from(text, (each) => each.charCodeAt(0))]));
        const inside = { x: 0, y: 0, width: 32, height: 32 }, half = { x: 16, y: 0, width: 32, height: 32 };
        const outside = { x: 40, y: 40, width: 8, height: 8 }, none = new AbortController().signal;
        const measured = async (rectangles) => `${await psnr(...blobs, none, rectangles)}`;
        return Promise.all([[], [inside], [half, inside], [outside]].map(measured));
        """,
        png(one).decode("latin-1"),
        png(other).decode("latin-1"),
    )
    whole, first, both, none = (float(each.replace("Infinity", "inf")) for each in found)
    assert (round(first, 2), none) == (48.13, float("inf"))
    assert whole - first == pytest.approx(6.02, abs=0.01), "a quarter of the picture"
    assert both - first == pytest.approx(1.76, abs=0.01), "two thirds of what the two cover"
    page["add"].click()
    sent(page, 2)
    page.wait_for_result()
    assert page["psnr-more"].text == "identical"


def test_another_picture_has_no_regions_yet_and_a_file_none(done: Page) -> None:
    done["add"].click()
    sent(done, 2)
    done.compress("second.png")
    assert sent(done, 3) == []
    assert not done.driver.find_elements(By.CLASS_NAME, "region")
    done.compress("photo.cwic", FakeCodec().encode(picture_array()))
    assert not done["draw"].is_displayed()


def test_a_problem_leaves_the_regions_to_be_changed(done: Page) -> None:
    outside = {
        "type": "urn:cwic:problem:invalid-parameter",
        "title": "Invalid parameter",
        "detail": "roi 60x40 at 30,20 is not inside 24x16",
    }
    done.script.answers["compress"] = lambda _: Answer(422, outside)
    done["add"].click()
    done.wait_for(done["problem"].is_displayed)
    assert done["problem"].text.startswith(
        "A region of interest is not inside the picture. Move it, or remove it."
    )
    assert field(done, "x").is_displayed()
    assert not done["draw"].is_displayed(), "there is nothing to draw on"
    del done.script.answers["compress"]
    done["region-list"].find_element(By.TAG_NAME, "button").click()
    done.wait_for_result()
    assert not done["problem"].is_displayed()


def test_the_page_offers_what_the_service_takes(done: Page) -> None:
    assert done.run("return MOST_REGIONS") == MAX_ROIS
    weights = done.run(
        "return [...$('region-row').content.querySelectorAll('option')].map((each) => Number(each.value))"
    )
    assert weights == sorted(weights, reverse=True)
    assert (weights[0], weights[-1]) == (MAX_WEIGHT, 1 / MAX_WEIGHT)
    done.run("for (let i = 0; i < MOST_REGIONS; i++) addRegion({ x: 0, y: 0, width: 9, height: 9 })")
    assert not done["add"].is_enabled()
    assert not done["draw"].is_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_the_fields(done: Page, scheme: str) -> None:
    done.emulate(width=320, scheme=scheme)
    done["add"].click()
    sent(done, 2)
    assert not done.wide
    unnamed = [
        each.get_attribute("outerHTML")
        for each in done["regions"].find_elements(By.CSS_SELECTOR, "input, select, button, fieldset")
        if not each.accessible_name
    ]
    assert unnamed == []
