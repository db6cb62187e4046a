"""Contact sheets drawn with Pillow: pictures in rows, text below them, the colours of importance maps above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.errors import ParameterError
from model.types import Pixels

MAX_WIDTH = 2400
MIN_PANEL_WIDTH = 240  # narrower pictures stand in a cell of this width, so that their captions can be read

_WIDTH_IN_LETTERS = 72  # a sheet's width over the height of its letters: legible where it is shown 900 wide
_MIN_LETTERS = 12
_INK, _PALE = "#1b1b1b", "#666666"
_COLOURS = "magma"  # even steps to the eye, and from dark to light: a grey print of it still reads


@dataclass(frozen=True)
class Panel:
    """An RGB picture and the line below it."""

    image: Image.Image
    caption: str


Tile = tuple[Panel, ...]  # what belongs together and stands side by side


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels: of a panel's cell, of letters, of the space between panels, of the sheet's margin."""

    tiles: int
    per_line: int
    panels: int
    width: int
    height: int
    letters: int
    gap: int
    margin: int

    @property
    def lines(self) -> int:
        """How many rows of tiles."""
        return math.ceil(self.tiles / self.per_line)

    @property
    def line_height(self) -> int:
        """Of a row of tiles, with its captions."""
        return self.height + round(2.2 * self.letters)

    @property
    def tile_width(self) -> int:
        """Of a tile, with the space to its neighbour."""
        return self.panels * (self.width + self.gap) + self.letters

    @property
    def top(self) -> int:
        """Where the first pictures begin: below the scale and the headings."""
        return self.margin + 4 * self.letters

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole sheet."""
        inner = self.per_line * self.tile_width - self.letters - self.gap
        return 2 * self.margin + inner, self.top + self.lines * self.line_height + self.margin // 2


def coloured(grey: Pixels) -> Image.Image:
    """An importance map, [H, W] with 255 for all channels, in the colours of the sheet's scale."""
    table = (np.asarray(matplotlib.colormaps[_COLOURS](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)
    return Image.fromarray(table[grey])


def fitted(image: Image.Image, *, panels: int, height: int, smooth: bool) -> Image.Image:
    """The picture at a height, or lower where it is very wide or that many side by side would be.

    `smooth` is for photographs; without it the squares of a map keep their edges.
    """
    widest = min(2 * height, (MAX_WIDTH - 200) // panels)
    scale = min(height / image.height, widest / image.width)
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    blocky = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    return image.resize(size, Image.Resampling.LANCZOS if smooth else blocky)


def compose(tiles: Sequence[Tile], headings: Sequence[str], *, title: str, scale: bool = True) -> Image.Image:
    """One picture of all tiles, as near to a square as MAX_WIDTH lets it (a single tile is as wide as it is).

    Args:
        tiles: one or more, of as many panels as there are headings.
        headings: above the panels of each tile.
        title: in the first line.
        scale: whether the colours of importance maps are explained beside it.
    """
    layout = _layout(tiles)
    sheet = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(sheet)
    left = _draw_scale(sheet, draw, layout) if scale else sheet.width
    font = _font(layout)
    room = left - layout.margin - layout.letters
    draw.text((layout.margin, layout.margin), _shortened(draw, title, font, room), fill=_INK, font=font)
    for index, tile in enumerate(tiles):
        line, place = divmod(index, layout.per_line)
        y = layout.top + line * layout.line_height
        for column, (panel, heading) in enumerate(zip(tile, headings, strict=True)):
            x = layout.margin + place * layout.tile_width + column * (layout.width + layout.gap)
            if line == 0:
                _write(draw, (x, y - round(1.4 * layout.letters)), heading, layout, fill=_INK)
            sheet.paste(panel.image, (x, y + layout.height - panel.image.height))
            _write(draw, (x, y + layout.height + layout.gap), panel.caption, layout, fill=_PALE)
    return sheet


def save(sheet: Image.Image, path: Path, **options: Any) -> None:
    """Write a sheet, with Pillow's options for the format of the path's suffix; raises ParameterError."""
    try:
        sheet.save(path, **options)
    except OSError as error:
        raise ParameterError(f"{path} cannot be written: {error.strerror or error}") from error


def _layout(tiles: Sequence[Tile]) -> _Layout:
    images = [panel.image for tile in tiles for panel in tile]
    cell = max(MIN_PANEL_WIDTH, *(image.width for image in images)), max(image.height for image in images)
    choices = [_with(len(tiles), per_line, len(tiles[0]), cell) for per_line in range(1, len(tiles) + 1)]
    fitting = [layout for layout in choices if layout.size[0] <= MAX_WIDTH]
    return min(fitting or choices[:1], key=lambda layout: abs(math.log(layout.size[0] / layout.size[1])))


def _with(tiles: int, per_line: int, panels: int, cell: tuple[int, int]) -> _Layout:
    letters = max(_MIN_LETTERS, round(per_line * panels * cell[0] / _WIDTH_IN_LETTERS))
    return _Layout(
        tiles=tiles,
        per_line=per_line,
        panels=panels,
        width=cell[0],
        height=cell[1],
        letters=letters,
        gap=max(2, letters // 4),
        margin=letters,
    )


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, layout: _Layout) -> int:
    """The scale at the right, `channels kept: none [colours] all`; where it begins."""
    font = _font(layout)
    bar = coloured(np.arange(256, dtype=np.uint8)[None]).resize((10 * layout.letters, layout.letters))
    few, many = "channels kept: none ", " all"
    x = sheet.width - layout.margin - round(draw.textlength(many, font)) - bar.width
    draw.text((x + bar.width, layout.margin), many, fill=_PALE, font=font)
    sheet.paste(bar, (x, layout.margin + layout.letters // 8))
    x -= round(draw.textlength(few, font))
    draw.text((x, layout.margin), few, fill=_PALE, font=font)
    return x


def _write(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, layout: _Layout, *, fill: str
) -> None:
    font = _font(layout)
    draw.text(corner, _shortened(draw, text, font, layout.width), fill=fill, font=font)


def _font(layout: _Layout) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(layout.letters)


def _shortened(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float
) -> str:
    """The text on one line, or as much of its beginning as fits, with dots; file names may hold anything."""
    text = " ".join(text.encode(errors="replace").decode().split())
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(f"{text}...", font) > room:
        text = text[:-1]
    return f"{text}..." if text else ""
