"""The page at `/` as people meet it, in a real browser."""

import base64
import re

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from model.options import EncodeOptions
from tests.conftest import picture
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.web import chromium
from tests.service.web.chromium import Answer
from tests.service.web.page import COMPARISON, LIMIT, Page

pytestmark = chromium.needed

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_picture_chosen_by_the_button_is_compressed_and_measured(page: Page) -> None:
    data = png()
    page.compress("photo.png", data)
    file = FakeCodec().encode(picture_array(), EncodeOptions(quality=50, tune="psnr"))
    assert page["before"].text == f"{len(data)} B"
    assert page["after"].text in (f"{len(file)} B", f"{len(file) / 1000:.1f} kB")
    assert (page["size"].text, page["psnr"].text) == ("24 \u00d7 16", "∞")
    assert page["decoded"].get_property("naturalWidth") == 24


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_that_is_dropped_or_pasted_is_compressed(page: Page, way: str) -> None:
    page.run(
        """
        const [way, text] = arguments, carried = new DataTransfer();
        const data = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
        carried.items.add(new File([data], "carried.png", { type: "image/png" }));
        const event = way === "drop" ? new DragEvent("drop", { dataTransfer: carried, bubbles: true })
          : new ClipboardEvent("paste", { clipboardData: carried, bubbles: true });
        document.body.dispatchEvent(event);
        """,
        way,
        base64.b64encode(png()).decode(),
    )
    page.wait_for_result()
    assert page["name"].text == "carried.png"


def test_a_cwic_file_is_decompressed(page: Page) -> None:
    page.compress("photo.cwic", FakeCodec().encode(picture_array(), EncodeOptions(lossless=False)))
    assert page["decoded"].get_property("naturalWidth") == 24
    assert not page.script.of("compress")
    assert not page["choices"].is_displayed()
    assert not page["comparison"].is_displayed()


def test_the_sample_is_a_picture_too(page: Page) -> None:
    page.script.answers["compress"] = lambda _: Answer(422, LIMIT)
    page["sample"].click()
    page.wait_for(page["problem"].is_displayed)
    assert page["name"].text == "sample.png"
    assert page.script.of("compress")


def test_quality_and_tune_are_asked_for(page: Page) -> None:
    page["quality"].send_keys(Keys.ARROW_RIGHT)
    page.run("tune.value = 'visual'")
    page.compress()
    assert page["shown"].text == "51"
    assert [each.path for each in page.script.of("compress")] == ["/compress?quality=51&tune=visual"]


def test_another_quality_is_another_request(page: Page) -> None:
    page.compress()
    page["quality"].send_keys(Keys.HOME)
    page.wait_for(lambda: len(page.script.of("compress")) == 2)
    assert page.script.of("compress")[1].path == "/compress?quality=1&tune=psnr"


def test_every_request_for_work_has_an_id_of_its_own(page: Page) -> None:
    page.compress()
    ids = [each.headers["X-Request-ID"] for each in page.script.seen if each.method == "POST"]
    assert len(ids) == len(set(ids)) == 4
    assert all(UUID.fullmatch(each) for each in ids)


def test_ids_need_no_secure_context(page: Page) -> None:
    page.run("Object.defineProperty(crypto, 'randomUUID', { value: undefined })")
    ids = [page.run("return newId()") for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(UUID.fullmatch(each) for each in ids)


def test_the_divider_follows_the_keys(page: Page) -> None:
    page.compress()
    handle = page["handle"]
    seen = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.PAGE_UP, Keys.HOME, Keys.ARROW_LEFT, Keys.END):
        handle.send_keys(key)
        seen.append(handle.get_attribute("aria-valuenow"))
    assert seen == ["52", "50", "60", "0", "0", "100"]
    assert handle.get_attribute("aria-valuetext") == "100 % original, 0 % compressed"


def test_the_divider_follows_the_pointer_and_shows_the_original_left_of_it(page: Page) -> None:
    page.compress()
    width = page["sheet"].size["width"]
    move = ActionChains(page.driver).drag_and_drop_by_offset(page["handle"], -width // 4, 0)
    move.perform()
    assert abs(int(page["handle"].get_attribute("aria-valuenow") or 0) - 25) <= 1
    shown = page.run("return getComputedStyle(front).clipPath")
    assert re.search(r"7[456]", shown), shown


def test_both_pictures_can_stand_side_by_side(page: Page) -> None:
    page.compress()
    page.driver.find_element(By.CSS_SELECTOR, "input[value=side]").click()
    assert page["original"].is_displayed()
    assert page["original"].size == page["decoded"].size
    assert page["original"].location["y"] == page["decoded"].location["y"]
    assert not page["handle"].is_displayed()


def test_the_importance_map_lies_over_the_picture_in_colours(page: Page) -> None:
    page.compress("noisy.png", png(picture(64, 64)))
    assert not page["map"].is_displayed()
    before = page["decoded"].rect
    page.choose_option("map-style", "over the picture")
    assert page["map"].is_displayed()
    assert page["legend"].is_displayed()
    assert page["map"].rect == page["decoded"].rect == before
    red, _, blue, _ = page.run("return [...map.getContext('2d').getImageData(0, 0, 1, 1).data]")
    assert red > blue > 0, "100 of 255, between the second colour and the third"
    assert float(page["map"].value_of_css_property("opacity")) < 1


def test_the_importance_map_can_stand_alone_in_colours_or_in_grey(page: Page) -> None:
    page.compress("noisy.png", png(picture(64, 64)))
    first_pixel = "return [...map.getContext('2d').getImageData(0, 0, 1, 1).data]"
    page.choose_option("map-style", "in grey")
    assert page.run(first_pixel) == [100, 100, 100, 255]
    assert page["map"].value_of_css_property("opacity") == "1"
    page.choose_option("map-style", "in colours")
    red, _, blue, _ = page.run(first_pixel)
    assert red > blue > 0
    assert page["map"].value_of_css_property("opacity") == "1"
    page.choose_option("map-style", "hidden")
    assert not page["map"].is_displayed()
    assert not page["legend"].is_displayed()


def test_the_file_and_the_picture_are_downloaded(page: Page) -> None:
    page.compress("mine.png")
    page["download"].click()
    page["png"].click()
    downloads = page.folder / "downloads"
    page.wait_for(lambda: {"mine.cwic", "mine-decoded.png"} <= {each.name for each in downloads.glob("*")})
    file = (downloads / "mine.cwic").read_bytes()
    assert (FakeCodec().decode(file) == picture_array()).all()


def test_what_is_no_picture_is_explained(page: Page) -> None:
    page.choose("text.png", b"no picture at all")
    page.wait_for(page["problem"].is_displayed)
    assert page["problem-title"].text == "Not a picture that can be read."
    assert page["problem-reason"].text
    assert not page["result"].is_displayed()
    assert not page["problem-again"].is_displayed(), "it would only come again"


def test_settings_of_the_server_are_folded_away(page: Page) -> None:
    page.script.answers["compress"] = lambda _: Answer(422, LIMIT)
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert page["problem"].text.startswith(
        "Picture too large. It has 48.0 megapixels; this server takes up to 40.0 megapixels."
    )
    assert "CWIC_" not in page["problem"].text
    page["problem-more"].find_element(By.TAG_NAME, "summary").click()
    assert "CWIC_MAX_PIXELS" in page["problem"].text
    assert "one-of-ours" in page["problem"].text


def test_other_formats_are_compared_on_request(page: Page) -> None:
    page.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    page.compress()
    assert not page["compared"].is_displayed()
    page["compare"].click()
    page.wait_for(page["compared"].is_displayed)
    [sent] = page.script.of("compare")
    assert (sent.method, sent.path) == ("POST", "/compare?quality=50&tune=psnr")
    assert UUID.fullmatch(sent.headers["X-Request-ID"])
    rows = [each.text.replace("\n", " ") for each in page["compared-rows"].find_elements(By.TAG_NAME, "tr")]
    assert rows == [
        "cwic 1.0 kB",
        "JPEG cannot be as good",
        "WebP quality 40 1.5 kB 50 % more",
        "AVIF quality 50 900 B 10 % less",
    ]
    bars = [
        each.size["width"] for each in page["compared-rows"].find_elements(By.CLASS_NAME, "length")
    ]  # cwic, WebP, AVIF
    assert bars[1] > bars[0] > bars[2] > 0
    assert "33.0 dB" in page["compared-at"].text
    assert "middle of the picture, 60 \u00d7 40" in page["compared-notes"].text
    page["quality"].send_keys(Keys.ARROW_LEFT)
    page.wait_for(lambda: not page["compared"].is_displayed())
