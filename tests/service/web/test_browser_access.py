"""The page in a browser for everyone: keys only, read aloud, on a phone, in the dark."""

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.conftest import picture
from tests.service.fakes import png
from tests.service.web import chromium
from tests.service.web.chromium import Answer
from tests.service.web.page import COMPARISON, LIMIT, Page

pytestmark = chromium.needed


def test_everything_is_reached_and_seen_with_the_keyboard(page: Page) -> None:
    page.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    page.compress("noisy.png", png(picture(64, 64)))
    page.run("document.activeElement.blur()")
    reached = []
    for _ in range(25):
        page.press(Keys.TAB)
        name, outline = page.run(
            """
            const at = document.activeElement, marked = at.id === "file" ? drop : at;
            const looks = [getComputedStyle(marked), getComputedStyle(marked, "::after")];
            const name = at === document.body ? "" : at.id || at.value || at.textContent.trim();
            return [name, looks.some((each) => each.outlineStyle !== "none" && parseFloat(each.outlineWidth) >= 2)];
            """
        )
        if not name:
            break
        assert outline, f"the focus on {name} cannot be seen"
        reached.append(name)
    wanted = ["key-open", "file", "quality", "tune"]
    wanted += ["slider", "actual", "map-style", "download", "png", "prefix", "handle", "compare"]
    assert [each for each in reached if each in wanted] == wanted
    page["map-style"].send_keys(Keys.ARROW_DOWN)
    assert page["map"].is_displayed()
    page["compare"].send_keys(Keys.ENTER)
    page.wait_for(page["compared"].is_displayed)


def test_every_control_has_a_name_and_every_state_is_read_out(page: Page) -> None:
    page.compress("noisy.png", png(picture(64, 64)))
    page["key-open"].click()
    controls = page.driver.find_elements(
        By.CSS_SELECTOR, "input, select, button, a, progress, [role=slider], img"
    )
    unnamed = [
        each.get_attribute("outerHTML")
        for each in controls
        if each.is_displayed() and not each.accessible_name
    ]
    assert unnamed == []
    assert page["said"].aria_role == "status"
    assert page.run("return problem.parentElement.getAttribute('role')") == "alert"
    assert page.run("return document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(page: Page, scheme: str) -> None:
    page.emulate(width=360, scheme=scheme)
    page.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    assert not page.wide
    page.compress(
        "a-name-that-is-as-long-as-those-that-cameras-and-phones-like-to-give.png", png(picture(64, 64))
    )
    page.choose_option("map-style", "over the picture")
    page["compare"].click()
    page.wait_for(page["compared"].is_displayed)
    assert not page.wide
    page.run("document.querySelector('.more details').open = true")
    page["key-open"].click()
    assert not page.wide
    page["actual"].click()
    assert not page.wide
    page.script.answers["compress"] = lambda _: Answer(422, {**LIMIT, "detail": "CWIC_" + "X" * 300})
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    page.run("document.getElementById('problem-more').open = true")
    assert not page.wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_their_ground(page: Page, scheme: str) -> None:
    page.emulate(scheme=scheme)
    names = ("ground", "card", "ink", "soft", "accent", "bad")
    style = "return getComputedStyle(document.documentElement).getPropertyValue(`--${arguments[0]}`).trim()"
    colours = {name: luminance(f"{page.run(style, name)}") for name in names}
    assert (colours["ground"] > colours["ink"]) == (scheme == "light")
    for ground in ("ground", "card"):
        for ink in names[2:]:
            low, high = sorted((colours[ground], colours[ink]))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {ground}"  # WCAG 2.2, 1.4.3


def luminance(colour: str) -> float:
    """Relative luminance of `#rgb` or `#rrggbb`, as WCAG defines it."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(2 * each for each in digits)
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
