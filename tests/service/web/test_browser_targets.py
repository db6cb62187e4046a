"""What a file is to reach, on the page in a real browser; and files that were cut in transfer."""

import pytest
from selenium.webdriver import Keys

from model.container import format
from model.options import EncodeOptions
from service.api.schemas import FileFacts
from tests.service.fakes import FakeCodec, picture_array
from tests.service.web import chromium
from tests.service.web.chromium import Answer, Seen
from tests.service.web.page import COMPARISON, Page

pytestmark = chromium.needed

UNREACHABLE = {
    "type": "urn:cwic:problem:unreachable-target",
    "title": "No file of the picture reaches the target",
    "detail": "target_bytes 100 is out of reach: files of this picture have 4821 to 111790 bytes",
    "lowest": 4821,
    "highest": 111_790,
}


def enter(page: Page, name: str, text: str) -> None:
    """Write into a field and leave it."""
    page[name].clear()
    page[name].send_keys(text, Keys.ENTER)


def last(page: Page, count: int) -> str:
    """The path of the request to compress, of which there are so many then."""
    page.wait_for(lambda: len(page.script.of("compress")) == count)
    return page.script.of("compress")[-1].path


def test_a_file_size_is_asked_for_instead_of_a_quality(page: Page) -> None:
    page.choose_option("aim", "a file size")
    assert not page["quality"].is_displayed()
    assert not page["quality"].is_enabled()
    enter(page, "target-size", "12.5")
    page.compress()
    assert last(page, 1) == "/compress?target_bytes=12500&tune=psnr"
    assert page["found-more"].text == "for at most 12.5 kB"
    page.choose_option("unit", "B")
    assert page["target-size"].get_property("value") == "12500"
    enter(page, "target-size", "800")
    assert last(page, 2) == "/compress?target_bytes=800&tune=psnr"
    page.wait_for_result()
    assert "target_bytes=800" in str(page["curl"].get_property("textContent"))


def test_a_psnr_is_asked_for_instead_of_a_quality(page: Page) -> None:
    page.choose_option("aim", "a PSNR")
    enter(page, "target-psnr", "38.25")
    page.compress()
    assert last(page, 1) == "/compress?target_psnr=38.25&tune=psnr"
    assert page["found-more"].text == "for at least 38.25 dB"


def test_another_aim_begins_with_what_the_file_has_and_asks_for_nothing(page: Page) -> None:
    page.compress()
    size = len(FakeCodec().encode(picture_array(), EncodeOptions(quality=50)))
    page.choose_option("aim", "a file size")
    value = float(str(page["target-size"].get_property("value"))) * float(
        str(page["unit"].get_property("value"))
    )
    assert abs(value - size) <= 50
    page.choose_option("aim", "a quality")
    assert page["shown"].text == "50"
    assert len(page.script.of("compress")) == 1


def test_what_was_reached_is_shown_and_compared(page: Page) -> None:
    page.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    page.choose_option("aim", "a file size")
    page.compress()
    assert page["found"].text == "50", "what the codec of the tests takes for any size"
    page["compare"].click()
    page.wait_for(page["compared"].is_displayed)
    assert page.script.of("compare")[0].path.startswith("/compare?quality=50")


@pytest.mark.parametrize(("tolerance", "words"), [(0, "lossless"), (8, "near-lossless")])
def test_a_picture_that_is_kept_for_its_size_has_no_quality_to_compare_at(
    page: Page, tolerance: int, words: str
) -> None:
    file = FakeCodec().encode(picture_array(), EncodeOptions(lossless=True))
    facts = FileFacts.of(format.inspect(file)).model_dump() | {"tolerance": tolerance}
    page.script.answers["inspect"] = lambda _: Answer(200, facts)
    page.choose_option("aim", "a file size")
    page.compress()
    assert (page["found"].text, page["found-more"].text) == (words, "as that is smaller")
    assert not page["compare"].is_displayed()


@pytest.mark.parametrize("text", ["", "0", "-3"])
def test_no_size_is_no_request(page: Page, text: str) -> None:
    page.compress()
    page.choose_option("aim", "a file size")
    enter(page, "target-size", text)
    page.choose("second.png")
    page.wait_for(page["problem"].is_displayed)
    assert page["problem-title"].text == "The target is missing."
    assert len(page.script.of("compress")) == 1


def test_a_target_out_of_reach_tells_what_can_be_reached(page: Page) -> None:
    page.script.answers["compress"] = lambda _: Answer(422, UNREACHABLE)
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert page["problem"].text.startswith(
        "This target is out of reach. Files of this picture have 4.9 kB to 111.7 kB: choose something between."
    )
    problem = {**UNREACHABLE, "detail": "target_psnr 99 is out of reach", "lowest": 21.001, "highest": 44.019}
    page.script.answers["compress"] = lambda _: Answer(422, problem)
    page.choose("second.png")
    page.wait_for(lambda: "21.01 dB to 44.01 dB" in page["problem-reason"].text)
    assert page["choices"].is_displayed()


def test_a_file_that_was_cut_is_shown_as_far_as_it_goes_when_asked(page: Page) -> None:
    whole = FakeCodec().encode(picture_array(), EncodeOptions(lossless=False))
    page.choose("photo.cwic", whole[:-3])
    page.wait_for(page["problem"].is_displayed)
    assert page["problem-title"].text == "This file was cut in transfer."
    assert not page.script.of("decompress")
    assert page["problem-again"].text == "Show what is there"
    page["problem-again"].click()
    page.wait_for_result()
    assert [each.path for each in page.script.of("decompress")] == [
        "/decompress?format=png&allow_truncated=true"
    ]
    assert "cut in transfer" in page["said"].text
    assert page["decoded"].get_property("naturalWidth") == 24
    assert "allow_truncated" in str(page["curl"].get_property("textContent"))
    assert not page["prefix"].is_displayed()


def test_a_file_of_which_too_little_is_there_is_not_offered_again(page: Page) -> None:
    def too_little(_: Seen) -> Answer:
        return Answer(422, {"type": "urn:cwic:problem:truncated-file", "title": ".cwic file cut in transfer"})

    page.script.answers["inspect"] = too_little
    page.choose("photo.cwic", FakeCodec().encode(picture_array(), EncodeOptions(lossless=False)))
    page.wait_for(page["problem"].is_displayed)
    assert "Too little of it has arrived" in page["problem"].text
    assert not page["problem-again"].is_displayed()


def test_a_model_of_one_rate_has_nothing_to_aim_for(page: Page) -> None:
    page.run("models[0].fixed_rate = true; showModel()")
    assert not page["aim"].is_enabled()
    page.compress()
    assert last(page, 1) == "/compress?tune=psnr"
    assert page["found-more"].text == "one rate"
    assert not page["draw"].is_displayed()


def test_more_effort_is_asked_for_where_the_server_gives_it(page: Page) -> None:
    page.compress()
    assert last(page, 1) == "/compress?quality=50&tune=psnr"
    page.choose_option("effort", "more: smaller, slow")
    assert last(page, 2) == "/compress?quality=50&effort=2&tune=psnr"
    page.wait_for_result()
    assert "effort=2" in str(page["curl"].get_property("textContent"))
    page.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    page["compare"].click()
    page.wait_for(page["compared"].is_displayed)
    assert "effort" not in page.script.of("compare")[0].path
    page.run("models[0].max_effort = 1; showModel()")
    assert not page["effort"].is_displayed()
    page.choose("second.png")
    assert last(page, 3) == "/compress?quality=50&tune=psnr"


@pytest.mark.parametrize("aim", ["a file size", "a PSNR"])
def test_a_phone_shows_the_fields_of_each_aim(page: Page, aim: str) -> None:
    page.emulate(width=360)
    page.compress()
    page.choose_option("aim", aim)
    assert not page.wide
