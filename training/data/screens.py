"""Pictures of screens drawn with Pillow: sharp text, windows, plots and tables, colour on coloured grounds.

They belong to nobody. Their letters are those of Pillow's own font: they are the same wherever its version is.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.types import Pixels
from training.data.synthetic import synthetic_picture

HEIGHT, WIDTH = 512, 768
_SYLLABLES = "ra te lo mi sun ker a de vo nis pel tur in so cha bel".split()
_CODE = ("#c678dd", "#98c379", "#e5c07b", "#61afef", "#abb2bf", "#abb2bf", "#e06c75")
_GROUNDS = (
    ("#d7263d", "#1b998b"),
    ("#2e294e", "#f46036"),
    ("#f9c80e", "#3d348b"),
    ("#0b6e4f", "#ff70a6"),
    ("#1d3557", "#e63946"),
    ("#ff00ff", "#00aa00"),
)


def screen(name: str) -> Pixels:
    """One of SCREENS, uint8 [512, 768, 3]."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    _SCREENS[name](image, np.random.default_rng(2018))
    return np.asarray(image)


def _editor(image: Image.Image, generator: np.random.Generator) -> None:
    """Lines of coloured code on a dark ground."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, HEIGHT), "#282c34")
    draw.rectangle((0, 0, 44, HEIGHT), "#21252b")
    for line in range(HEIGHT // 18):
        y = 4 + 18 * line
        draw.text((14, y), str(line + 1), "#636d83", _font(13))
        x = 56.0 + 28 * int(generator.integers(0, 4))
        for _ in range(generator.integers(0, 9)):
            word = _word(generator) + str(generator.choice(["", "(", ")", ":", " =", ","]))
            draw.text((x, y), word, _CODE[generator.integers(len(_CODE))], _font(13))
            x += draw.textlength(word + " ", _font(13))


def _document(image: Image.Image, generator: np.random.Generator) -> None:
    """Black text on white, a heading and links."""
    draw = ImageDraw.Draw(image)
    draw.text((60, 30), _words(generator, 4).capitalize(), "#111111", _font(30))
    for line in range(22):
        ink = "#0645ad" if line % 6 == 2 else "#202020"
        draw.text((60, 84 + 19 * line), _words(generator, 17)[:96], ink, _font(14))


def _desktop(image: Image.Image, generator: np.random.Generator) -> None:
    """Windows with bars, buttons and fields over a smooth ground."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = np.stack((40 + x / 8, 70 + y / 6, 140 + (x + y) / 16), axis=2)
    image.paste(Image.fromarray(smooth.astype(np.uint8)))
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in ((40, 40, 460, 330), (280, 170, 730, 470)):
        draw.rounded_rectangle((left, top, right, bottom), 8, "#f3f3f3", "#888888")
        draw.rounded_rectangle((left, top, right, top + 28), 8, "#dcdcdc")
        draw.text((left + 12, top + 6), _words(generator, 3), "#333333", _font(13))
        for index, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
            draw.ellipse((right - 62 + 18 * index, top + 9, right - 51 + 18 * index, top + 20), colour)
        for row in range((bottom - top - 60) // 34):
            place = top + 42 + 34 * row
            draw.text((left + 16, place + 4), _words(generator, 2), "#222222", _font(13))
            draw.rounded_rectangle((left + 170, place, right - 110, place + 24), 4, "white", "#bbbbbb")
            draw.rounded_rectangle((right - 96, place, right - 16, place + 24), 4, "#2979ff")
            draw.text((right - 84, place + 4), _word(generator), "white", _font(13))


def _plot(image: Image.Image, generator: np.random.Generator) -> None:
    """Curves and points with a grid, an axis and a legend; drawn at three times the size for smooth lines."""
    large = Image.new("RGB", (3 * WIDTH, 3 * HEIGHT), "white")
    draw = ImageDraw.Draw(large)
    for step in range(11):
        draw.line((210 + 200 * step, 90, 210 + 200 * step, 1350), "#e0e0e0", 3)
        draw.line((210, 90 + 126 * step, 2210, 90 + 126 * step), "#e0e0e0", 3)
    along = np.linspace(0, 1, 200)
    colours = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")
    for index, colour in enumerate(colours):
        curve = 0.2 + 0.15 * index + 0.2 * np.sin((3 + index) * along + index) * along
        points = [(210 + 2000 * x, 1350 - 1260 * y) for x, y in zip(along, curve, strict=True)]
        draw.line(points, colour, 6)
        for x, y in points[::12]:
            shift = 30 * generator.standard_normal()
            draw.ellipse((x - 12, y + shift - 12, x + 12, y + shift + 12), colour)
    image.paste(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    draw = ImageDraw.Draw(image)
    for step in range(11):
        draw.text((62 + 67 * step, 456), f"{step / 10:g}", "#333333", _font(12))
        draw.text((38, 444 - 42 * step), f"{10 * step}", "#333333", _font(12))
    for index, colour in enumerate(colours):
        draw.text((90, 40 + 18 * index), _words(generator, 2), colour, _font(13))


def _table(image: Image.Image, generator: np.random.Generator) -> None:
    """Numbers in a grid whose rows and marks are tinted."""
    draw = ImageDraw.Draw(image)
    for row in range(24):
        top = 4 + 21 * row
        draw.rectangle((0, top, WIDTH, top + 21), ("#ffffff", "#eef4fb")[row % 2] if row else "#1f4e79")
        for column in range(8):
            left = 96 * column
            value = float(generator.normal(0, 900))
            text = _word(generator) if column == 0 or row == 0 else f"{value:,.2f}"
            ink = "white" if row == 0 else "#c00000" if value < 0 and column else "#222222"
            if row and column and abs(value) > 1500:
                draw.rectangle((left, top, left + 96, top + 21), "#ffe699")
            draw.text((left + 8, top + 3), text, ink, _font(13))
            draw.line((left, top, left, top + 21), "#c8c8c8")


def _signs(image: Image.Image, generator: np.random.Generator) -> None:
    """Coloured text on coloured grounds, large and small."""
    draw = ImageDraw.Draw(image)
    for index, (ground, ink) in enumerate(_GROUNDS):
        left, top = 256 * (index % 3), 256 * (index // 3)
        draw.rectangle((left, top, left + 256, top + 256), ground)
        draw.text((left + 16, top + 16), _words(generator, 2)[:13], ink, _font(34))
        for line in range(9):
            draw.text((left + 16, top + 70 + 19 * line), _words(generator, 5)[:30], ink, _font(14))


def _website(image: Image.Image, generator: np.random.Generator) -> None:
    """A photograph, as far as one can be drawn, with a title on it, beside text on a tint."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, HEIGHT), "#fbf7ef")
    image.paste(Image.fromarray(synthetic_picture("mountain")), (0, 56))
    draw.rectangle((0, 0, WIDTH, 56), "#7a1f3d")
    draw.text((20, 14), _words(generator, 3), "#ffd9a0", _font(24))
    draw.text((24, 380), _words(generator, 3), "white", _font(32))
    for line in range(20):
        draw.text((532, 76 + 21 * line), _words(generator, 6)[:32], "#5a4632", _font(13))
    for line in range(2):
        draw.text((24, 456 + 21 * line), _words(generator, 9)[:64], "#5a4632", _font(13))


def _word(generator: np.random.Generator) -> str:
    return "".join(generator.choice(_SYLLABLES, generator.integers(1, 4)))


def _words(generator: np.random.Generator, count: int) -> str:
    return " ".join(_word(generator) for _ in range(count))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


_SCREENS: Mapping[str, Callable[[Image.Image, np.random.Generator], None]] = MappingProxyType(
    {
        "editor": _editor,
        "document": _document,
        "desktop": _desktop,
        "plot": _plot,
        "table": _table,
        "signs": _signs,
        "website": _website,
    }
)

SCREENS = tuple(_SCREENS)
