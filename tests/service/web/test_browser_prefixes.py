"""The picture from less of its file, on the page in a real browser."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from selenium.webdriver import Keys

from model.container import format as file_format
from model.container.format import Container
from model.options import DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import Pixels
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.web import chromium
from tests.service.web.chromium import Answer, Script, Seen
from tests.service.web.page import BUSY, COMPARISON, Held, Page

pytestmark = chromium.needed

GROUPS = 4
PREFIX = "/decompress?format=png&allow_truncated=true"


@dataclass(frozen=True)
class GroupsCodec(FakeCodec):
    """Its files have four groups, and each of them gives two more bits of every value.

    Attributes:
        on_prefix: called with how many groups there are by `decode` of a file that was cut; may wait or raise.
    """

    on_prefix: Callable[[object], None] = lambda _: None

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        file = self.read((yield from super().encoding(array, options)))
        rest = [] if file.header.lossless else [b"the third group", b"and the fourth"]
        return file_format.pack(file.header, [*file.payloads, *rest], file.extensions)

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        container = self.read(file, allow_truncated=True) if isinstance(file, bytes) else file
        array = yield from super().decoding(file, options)
        if container.truncated:
            self.on_prefix(container.groups)
        return array if container.header.lossless else kept(array, container.groups)


def kept(array: Pixels, groups: int) -> Pixels:
    """What a file of so many groups keeps of a picture."""
    return array & np.uint8(0x100 - (1 << 2 * (GROUPS - groups)))


@pytest.fixture(scope="module")
def prefix_held() -> Held:
    return Held()


@pytest.fixture(scope="module")
def service(prefix_held: Held) -> Iterator[tuple[str, Script]]:
    with chromium.scripted(GroupsCodec(on_prefix=prefix_held), max_pixels=10_000) as (address, script):
        yield address, script


@pytest.fixture
def done(page: Page, prefix_held: Held) -> Iterator[Page]:
    """The page with a picture that is compressed; `asked` counts from there."""
    page.compress()
    yield page
    prefix_held.release()


def move(page: Page, *keys: str) -> None:
    """Move the slider by keys, and wait for nothing."""
    page["prefix"].send_keys(*keys)


def wait_for_picture(page: Page) -> None:
    """Return once the picture is from as much as the slider says."""
    page.wait_for(lambda: page.status == f"Shown from {page['prefix-size'].text}.")


def asked(page: Page) -> list[Seen]:
    """The requests for a picture from less of its file."""
    return [each for each in page.script.of("decompress") if each.path == PREFIX]


def sizes() -> list[int]:
    """Of the prefixes of the picture's file, in bytes."""
    file = GroupsCodec().encode(picture_array(), EncodeOptions(quality=50))
    groups = [each.length for each in file_format.inspect(file).sections if each.name.startswith("codes")]
    assert len(groups) == GROUPS
    return [len(file) - sum(groups[count:]) for count in range(1, GROUPS + 1)]


def words(size: int) -> str:
    """A size as the page writes it."""
    return f"{size} B" if size < 1000 else f"{size / 1000:.1f} kB"


def shown_pixels(page: Page) -> Pixels:
    """The pixels of the picture that is shown."""
    data = page.run(
        """
        const canvas = Object.assign(document.createElement("canvas"), { width: 24, height: 16 });
        canvas.getContext("2d").drawImage(decoded, 0, 0);
        return [...canvas.getContext("2d").getImageData(0, 0, 24, 16).data];
        """
    )
    return np.array(data, np.uint8).reshape(16, 24, 4)[..., :3]


def psnr(groups: int) -> float:
    """Of the picture from so many groups."""
    difference = picture_array().astype(float) - kept(picture_array(), groups)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def test_the_picture_sharpens_as_more_of_its_file_is_used(done: Page) -> None:
    all_sizes = sizes()
    assert (done["prefix"].get_attribute("max"), done["prefix"].get_attribute("value")) == ("4", "4")
    assert not asked(done), "nobody wants to see less yet"
    move(done, Keys.HOME)
    for groups in range(1, GROUPS):
        wait_for_picture(done)
        done.wait_for(lambda groups=groups: (shown_pixels(done) == kept(picture_array(), groups)).all())  # type: ignore[misc]
        size = all_sizes[groups - 1]
        assert done["prefix-size"].text == f"{words(size)} of {words(all_sizes[-1])}"
        assert done["prefix-bpp"].text == f"{8 * size / (24 * 16):.3f} bits per pixel"
        assert done["prefix-psnr"].text == f"PSNR {psnr(groups):.2f} dB"
        assert done["cwic"].text == f"From {words(size)}"
        assert int(asked(done)[-1].headers["Content-Length"]) == size
        move(done, Keys.ARROW_RIGHT)
    wait_for_picture(done)
    assert len(asked(done)) == GROUPS - 1, "the whole is there already"
    assert done["prefix-psnr"].text == "PSNR ∞"
    assert done["cwic"].text == "Compressed"
    assert done["prefix-size"].text == f"all {words(all_sizes[-1])}"
    done.wait_for(lambda: bool((shown_pixels(done) == picture_array()).all()))


def test_what_was_seen_is_not_asked_for_again(done: Page) -> None:
    for key in (Keys.HOME, Keys.END, Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        move(done, key)
        wait_for_picture(done)
    assert [int(each.headers["Content-Length"]) for each in asked(done)] == sizes()[:2]


def test_steps_that_are_passed_over_are_not_asked_for(done: Page) -> None:
    done.run(
        """
        for (const value of [3, 2, 1]) {
          prefix.value = value;
          prefix.dispatchEvent(new Event("input"));
        }
        """
    )
    wait_for_picture(done)
    assert [int(each.headers["Content-Length"]) for each in asked(done)] == sizes()[:1]


def test_a_request_that_the_slider_has_left_is_given_up_before_the_next(
    done: Page, prefix_held: Held
) -> None:
    done.run(
        """
        window.open = window.most = 0;
        const reach = fetch;
        window.fetch = (path, options) => {
          if (!path.startsWith("decompress")) return reach(path, options);
          most = Math.max(most, ++open);
          return reach(path, options).finally(() => { open -= 1; });
        };
        """
    )
    prefix_held.hold()
    move(done, Keys.HOME)
    done.wait_for(lambda: len(asked(done)) == 1)
    move(done, Keys.ARROW_RIGHT)
    done.wait_for(lambda: len(asked(done)) == 2)
    prefix_held.release()
    wait_for_picture(done)
    assert done.run("return most") == 1
    assert [int(each.headers["Content-Length"]) for each in asked(done)] == sizes()[:2]
    assert done["prefix"].get_attribute("value") == "2"
    assert not done["problem"].is_displayed()


def test_its_place_in_the_queue_is_told_and_cancelling_goes_back(done: Page, prefix_held: Held) -> None:
    state: dict[str, object] = {"state": "waiting", "ahead": 2, "seconds_left": 2.5, "done": 0.0}
    done.script.answers["progress"] = lambda _: Answer(200, state)
    prefix_held.hold()
    move(done, Keys.HOME)
    done.wait_for(lambda: done.status == "The server is busy: 2 pictures ahead of yours, about 3 s")
    done["cancel"].click()
    assert done.status == "Cancelled."
    assert done["prefix"].get_attribute("value") == "4"
    assert done["prefix-psnr"].text == "PSNR ∞"
    assert done["result"].is_displayed()


def test_a_busy_server_is_asked_again_for_the_same_part(done: Page) -> None:
    def busy_once(seen: Seen) -> Answer | None:
        refused = seen.path == PREFIX and len(asked(done)) == 1
        return Answer(429, BUSY, {"Retry-After": "1"}) if refused else None

    done.script.answers["decompress"] = busy_once
    move(done, Keys.HOME)
    wait_for_picture(done)
    assert [int(each.headers["Content-Length"]) for each in asked(done)] == sizes()[:1] * 2
    assert len({each.headers["X-Request-ID"] for each in asked(done)}) == 2


def test_a_part_that_fails_leaves_what_was_shown_and_can_be_tried_again(done: Page) -> None:
    done.script.answers["decompress"] = lambda _: Answer(503, {"title": "The worker is dead or stuck"})
    move(done, Keys.HOME)
    done.wait_for(done["problem"].is_displayed)
    assert done["prefix"].get_attribute("value") == "4"
    assert (shown_pixels(done) == picture_array()).all()
    del done.script.answers["decompress"]
    done["problem-again"].click()
    wait_for_picture(done)
    assert done["prefix"].get_attribute("value") == "1"
    assert not done["problem"].is_displayed()


def test_a_comparison_gives_up_a_part_that_has_not_come(done: Page, prefix_held: Held) -> None:
    done.script.answers["compare"] = lambda _: Answer(200, COMPARISON)
    prefix_held.hold()
    move(done, Keys.HOME)
    done.wait_for(lambda: len(asked(done)) == 1)
    done["compare"].click()
    done.wait_for(done["compared"].is_displayed)
    assert done["prefix"].get_attribute("value") == "4"


def test_another_picture_is_shown_from_its_whole_file(done: Page) -> None:
    move(done, Keys.HOME)
    wait_for_picture(done)
    done.compress("second.png", png(picture_array(30, 20)))
    assert done["prefix"].get_attribute("value") == "4"
    assert done["cwic"].text == "Compressed"
    move(done, Keys.HOME)
    wait_for_picture(done)
    done.wait_for(lambda: done["decoded"].get_property("naturalWidth") == 30)


def test_a_file_without_its_original_sharpens_without_psnr(page: Page) -> None:
    page.compress("photo.cwic", GroupsCodec().encode(picture_array(), EncodeOptions(lossless=False)))
    move(page, Keys.HOME)
    wait_for_picture(page)
    assert page["prefix-size"].is_displayed()
    assert not page["prefix-psnr"].is_displayed()


def test_a_file_that_cannot_be_cut_has_no_slider(page: Page, lossless_file: bytes) -> None:
    page.compress("kept.cwic", lossless_file)
    assert not page["prefix"].is_displayed()


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({"map": 10, "codes0": 20, "codes1": 30, "codes2": 40}, [130, 160, 200]),
        ({"plane": 5, "map": 5, "alpha": 10, "codes0": 20, "codes1": 30, "exif": 30}, [140, 200]),
        ({"map": 10, "codes0": 20, "codes1": 0, "codes2": 0}, [200]),
        ({"samples": 90}, [200]),
    ],
)
def test_a_file_may_end_after_any_group(page: Page, sections: dict[str, int], wanted: list[int]) -> None:
    facts = {"size": 200, "sections": [{"name": name, "length": sections[name]} for name in sections]}
    assert page.run("return prefixSizes(arguments[0])", facts) == wanted


def test_the_slider_says_what_it_does_to_those_who_cannot_see_it(done: Page) -> None:
    assert done["prefix"].accessible_name == "Picture from"
    move(done, Keys.HOME)
    first, *_, last = map(words, sizes())
    assert done["prefix"].get_attribute("aria-valuetext") == f"{first} of {last}"
    wait_for_picture(done)
    assert done["said"].text == f"Shown from {first} of {last}."


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_moves_while_a_part_is_on_its_way(done: Page, prefix_held: Held, width: int) -> None:
    done.emulate(width=width)
    places = """
        return ["prefix", "decoded", "compare"].map((id) => Object.values($(id).getBoundingClientRect().toJSON()));
    """
    done.run("scrollTo(0, 0)")
    before = done.run(places)
    prefix_held.hold()
    done.run("prefix.value = 1; prefix.dispatchEvent(new Event('input'))")
    done.wait_for(lambda: len(asked(done)) == 1)
    assert done["cancel"].is_displayed()
    assert done["done"].is_displayed()
    assert done.run(places) == before
    prefix_held.release()
    wait_for_picture(done)
    assert not done["done"].is_displayed()
    assert done.run(places) == before
    assert not done.wide
