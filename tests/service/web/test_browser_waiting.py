"""The page in a browser while its server is busy, loading, gone or wants a key."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome, Keys

from tests.effort import PATIENCE
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.web import chromium
from tests.service.web.chromium import Answer, Seen
from tests.service.web.page import BUSY, COMPARISON, Held, Page

pytestmark = chromium.needed

KEY = "a-key-of-this-server"


def test_a_server_that_does_not_answer_is_told_and_asked_again(page: Page) -> None:
    page.run("window.reach = fetch; window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert page["problem-title"].text == "The server does not answer."
    page.run("window.fetch = reach")
    page["problem-again"].click()
    page.wait_for_result()
    assert not page["problem"].is_displayed()


@pytest.mark.parametrize(
    ("body", "failure", "title"),
    [
        ("blob", "Promise.reject(new TypeError('Failed to fetch'))", "The server does not answer."),
        ("json", "Promise.reject(new TypeError('Failed to fetch'))", "The server does not answer."),
        (
            "json",
            "new Response('<!doctype html>').text().then(JSON.parse)",
            "This is no answer of the server.",
        ),
    ],
)
def test_an_answer_that_is_lost_or_unreadable_is_told(
    page: Page, body: str, failure: str, title: str
) -> None:
    page.run(f"window.whole = Response.prototype.{body}; Response.prototype.{body} = () => {failure}")
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert page["problem-title"].text == title
    page.run(f"Response.prototype.{body} = whole")
    page["problem-again"].click()
    page.wait_for_result()


@pytest.mark.parametrize("path", ["compress", "inspect", "decompress", "importance-map", "compare"])
def test_an_answer_of_every_endpoint_may_be_lost(page: Page, path: str) -> None:
    page.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    if path == "compare":
        page.compress()
    page.run(
        """
        for (const body of ["blob", "json"]) {
          const whole = Response.prototype[body];
          Response.prototype[body] = function () {
            if (!this.url.includes(`/${path}`)) return whole.call(this);
            return Promise.reject(new TypeError("Failed to fetch"));
          };
        }
        """.replace("${path}", path)
    )
    if path == "compare":
        page["compare"].click()
    else:
        page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert page["problem-title"].text == "The server does not answer."


def test_a_queued_request_tells_its_place_and_a_running_one_how_far_it_is(page: Page, held: Held) -> None:
    state: dict[str, object] = {"state": "waiting", "ahead": 3, "seconds_left": 4.2, "done": 0.0}
    page.script.answers["progress"] = lambda _: Answer(200, state)
    held.hold()
    page.choose()
    page.wait_for(
        lambda: page.status == "The server is busy: 3 pictures ahead of yours, about 5 s",
    )
    assert page["done"].get_dom_attribute("value") is None
    [sent] = page.script.of("compress")
    assert page.script.of("progress")[0].path == f"/progress/{sent.headers['X-Request-ID']}"
    state.update(ahead=1, seconds_left=0.4)
    page.wait_for(lambda: page.status == "The server is busy: 1 picture ahead of yours, about 1 s")
    state.update(ahead=0)
    page.wait_for(lambda: page.status == "The server is busy: yours is next, about 1 s")
    state.update(state="working", done=0.4)
    page.wait_for(lambda: page.status == "Working: 40 %")
    assert float(page["done"].get_attribute("value") or 0) == 0.4
    assert page["done"].is_displayed()
    held.release()
    page.wait_for_result()
    assert not page["done"].is_displayed()


def test_the_place_in_a_real_queue_is_told(driver: Chrome, folder: Path) -> None:
    held = Held()
    with chromium.scripted(FakeCodec(on_encode=held), workers=1) as (address, script):
        page = Page(driver, address, script, folder)
        page.emulate()
        page.open()
        held.hold()
        with ThreadPoolExecutor(1) as others:
            try:
                before = others.submit(httpx.post, f"{address}/compress", content=png(), timeout=PATIENCE)
                page.wait_for(lambda: held.waiting == 1)
                page.choose()
                page.wait_for(lambda: "yours is next, about" in page.status)
            finally:
                held.release()
            page.wait_for_result()
            assert before.result().status_code == 200


def test_a_request_that_is_not_known_yet_changes_nothing(page: Page, held: Held) -> None:
    page.script.answers["progress"] = lambda _: Answer(404, {"title": "Unknown"})
    held.hold()
    page.choose()
    page.wait_for(lambda: len(page.script.of("progress")) >= 2)
    assert page.status == "Compressing…"
    held.release()
    page.wait_for_result()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(page: Page, status: int) -> None:
    def busy_twice(_: Seen) -> Answer | None:
        busy = len(page.script.of("compress")) <= 2
        return Answer(status, BUSY, {"Retry-After": "1"}) if busy else None

    page.script.answers["compress"] = busy_twice
    page.compress()
    ids = [each.headers["X-Request-ID"] for each in page.script.of("compress")]
    assert len(set(ids)) == 3


def test_a_server_that_stays_busy_is_asked_five_times_more(page: Page) -> None:
    page.script.answers["compress"] = lambda _: Answer(429, BUSY, {"Retry-After": "2"})
    page.hurry()
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert len(page.script.of("compress")) == 6
    assert page["problem"].text.startswith("Too many requests. Please try again in a while.")
    assert page["problem-again"].is_displayed()


def test_the_wait_is_counted_down_and_can_be_cancelled(page: Page) -> None:
    page.script.answers["compress"] = lambda _: Answer(429, BUSY, {"Retry-After": "600"})
    page.choose()
    shown = re.compile(r"The server is busy: trying again in (\d+) s \(1 of 5\)")
    page.wait_for(lambda: (found := shown.fullmatch(page.status)) is not None and int(found[1]) < 600)
    page["cancel"].click()
    assert page.status == "Cancelled."
    assert not page["cancel"].is_displayed()
    assert page.run("return running.signal.aborted")


def test_a_problem_without_a_time_to_wait_is_told_at_once(page: Page) -> None:
    page.script.answers["compress"] = lambda _: Answer(503, {"title": "The worker is dead or stuck"})
    page.choose()
    page.wait_for(page["problem"].is_displayed)
    assert len(page.script.of("compress")) == 1


def test_a_server_that_loads_its_model_is_waited_for(page: Page) -> None:
    not_ready = Answer(
        503, {"type": "urn:cwic:problem:not-ready", "title": "Not ready"}, {"Retry-After": "5"}
    )
    page.script.answers["compress"] = lambda _: None if page.script.of("readyz") else not_ready
    page.script.answers["readyz"] = lambda _: not_ready if len(page.script.of("readyz")) < 2 else None
    page.choose()
    page.wait_for(lambda: page.status == "The server is loading its model…")
    page.wait_for_result()


def test_a_server_that_is_lost_while_it_loads_is_waited_for(page: Page) -> None:
    not_ready = Answer(503, {"type": "urn:cwic:problem:not-ready", "title": "Not ready"})
    page.script.answers["compress"] = lambda _: None if page.script.of("readyz") else not_ready
    page.run(
        """
        window.lost = 0;
        const reach = fetch;
        window.fetch = (path, options) => path === "readyz" && lost++ < 2
          ? Promise.reject(new TypeError("Failed to fetch")) : reach(path, options);
        """
    )
    page.hurry()
    page.choose()
    page.wait_for_result()
    assert page.run("return lost") == 3
    assert len(page.script.of("readyz")) == 1


def test_another_picture_gives_up_the_one_before(page: Page, held: Held) -> None:
    page.run(
        """
        window.gone = [];
        const reach = fetch;
        window.fetch = (path, options) => {
          options?.signal?.addEventListener("abort", () => gone.push(path));
          return reach(path, options);
        };
        """
    )
    held.hold()
    page.choose("first.png")
    page.wait_for(lambda: bool(page.script.of("compress")))
    page.choose("second.png", png(picture_array(30, 20)))
    page.wait_for(lambda: any("compress" in each for each in page.run("return gone")))
    held.release()
    page.wait_for_result()
    assert (page["name"].text, page["size"].text) == ("second.png", "30 \u00d7 20")
    assert not page["problem"].is_displayed()


def test_leaving_gives_up_what_is_pending(page: Page, held: Held) -> None:
    held.hold()
    page.choose()
    page.wait_for(lambda: bool(page.script.of("compress")))
    page.run("dispatchEvent(new Event('pagehide'))")
    assert page.run("return running.signal.aborted")


def test_a_server_with_keys_is_given_one_of_this_tab(driver: Chrome, folder: Path) -> None:
    with chromium.scripted(FakeCodec(), api_keys=KEY) as (address, script):
        page = Page(driver, address, script, folder)
        page.emulate()
        page.open()
        assert page["key-form"].is_displayed()
        assert driver.switch_to.active_element == page["key"]
        for changed in ("\u201ca-quoted-key\u201d", "a-key\u2013of-mine", "a key"):
            script.seen.clear()
            page["key"].send_keys(changed, Keys.ENTER)
            assert page["key-said"].text.startswith("Keys are of unaccented letters, digits and signs")
            assert page["said"].text == "This key cannot be sent."
            assert driver.switch_to.active_element == page["key"]
            assert script.seen == []
            assert page.run("return sessionStorage.length") == 0
        page["key"].send_keys("a-wrong-key-of-mine ", Keys.ENTER)
        page.wait_for(lambda: page["said"].text == "The server does not know this key.")
        page["key"].send_keys(KEY, Keys.ENTER)
        page.wait_for(lambda: not page["key-form"].is_displayed())
        page.compress()
        assert {each.headers.get("X-API-Key") for each in script.of("decompress")} == {KEY}
        assert page.run("return [sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        assert KEY not in str(page["curl"].get_property("textContent"))
        driver.refresh()
        page.compress()  # still known in this tab
        page["key-open"].click()
        page["key-forget"].click()
        page.choose()
        page.wait_for(page["key-form"].is_displayed)
        assert page.run("return sessionStorage.length") == 0
        page["key"].send_keys(KEY, Keys.ENTER)
        page.wait_for_result()  # what was asked for without a key is done now
    assert chromium.blocked(driver) == []
