"""Pictures drawn with numpy, the same on every machine: what a content-weighted codec should tell apart.

Each has places that are cheap to describe beside places that are not: flat paper and print, sky and rock, a blurred
background and a sharp flower. They belong to nobody, so that what is made of them can be shown anywhere.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from model.types import Pixels

Plane = NDArray[np.float64]
HEIGHT, WIDTH = 384, 512
_SHAPE = (HEIGHT, WIDTH)
_BRICK = (19, 46)  # no multiple of the importance map's cells, which would make a pattern of its own


def synthetic_picture(name: str) -> Pixels:
    """One of NAMES, uint8 [384, 512, 3]."""
    drawn = _DRAWINGS[name](np.random.default_rng(20180))
    picture: Pixels = (drawn.clip(0, 1) * 255).round().astype(np.uint8)
    return picture


def _page(generator: np.random.Generator) -> Plane:
    """Print on flat paper: a title, two columns of text, and a figure without detail."""
    ink = np.zeros((2 * HEIGHT, 2 * WIDTH))  # twice the size: halving it makes soft edges
    glyphs = [_glyph(generator) for _ in range(24)]
    for top, left, right, size, last in (
        (48, 64, 960, 5, 48),
        (144, 64, 480, 2, 700),
        (470, 544, 960, 2, 700),
    ):
        for y in range(top, last + 1, 13 * size):
            x = left
            while x < right - 10 * size:
                for _ in range(generator.integers(2, 9)):
                    glyph = np.kron(glyphs[generator.integers(24)], np.ones((size, size)))
                    if x + 7 * size <= right:
                        ink[y : y + 10 * size, x : x + 6 * size] = glyph
                    x += 7 * size
                x += 5 * size
    page = np.array((0.96, 0.95, 0.91)) - 0.85 * _halved(ink)[..., None]
    y, x = np.mgrid[0:140, 0:208]
    figure = np.stack((0.25 + 0.5 * x / 208, 0.35 + 0.3 * y / 140, 0.75 - 0.3 * x / 208), axis=2)
    figure[np.hypot(y - 75, x - 95) < 42] = (0.93, 0.75, 0.3)
    page[80:220, 272:480] = figure
    return page + 0.004 * generator.standard_normal((*_SHAPE, 1))  # as from a scanner


def _glyph(generator: np.random.Generator) -> Plane:
    """A sign of 10x6 that looks like a letter: some strokes out of seven."""
    glyph = np.zeros((10, 6))
    strokes = [np.s_[:, 0], np.s_[:, 5], np.s_[0, :], np.s_[4, :], np.s_[9, :], np.s_[:5, 3], np.s_[4:, 3]]
    for index in generator.choice(7, size=3, replace=False):
        glyph[strokes[index]] = 1
    return glyph


def _mountain(generator: np.random.Generator) -> Plane:
    """A smooth sky over ridges, each nearer and rougher than the one behind it."""
    y = np.mgrid[0:HEIGHT, 0:WIDTH][0] / HEIGHT
    sky = _mix((0.24, 0.45, 0.75), (0.93, 0.86, 0.78), 1.5 * y) + 0.03 * _fractal(generator, 2.2)[..., None]
    picture = sky
    layers = (
        (0.50, 0.07, 0.00, (0.62, 0.67, 0.76)),
        (0.60, 0.06, 0.03, (0.40, 0.46, 0.52)),
        (0.76, 0.05, 0.16, (0.24, 0.30, 0.20)),
    )
    for horizon, height, roughness, colour in layers:
        ridge = horizon + height * _fractal(generator, 2.0)[0]
        ground = np.array(colour) + roughness * _fractal(generator, 0.9)[..., None]
        picture = np.where((y > ridge)[..., None], ground, picture)
    return picture


def _checks(_generator: np.random.Generator) -> Plane:
    """Checks that become finer to the right and fainter to the top."""
    y, x = np.mgrid[0 : 4 * HEIGHT, 0 : 4 * WIDTH] / 4
    cell = 48 * (2.5 / 48) ** (np.floor(x / 64) / 7)  # eight columns, 48 to 2.5 pixels
    board = np.sign(np.sin(np.pi * (x % 64) / cell) * np.sin(np.pi * (y + 0.125) / cell))
    contrast = 0.45 * 0.02 ** (1 - y / HEIGHT)
    grey = 0.5 + _halved(_halved(board * contrast))
    return grey[..., None] * (1.0, 0.97, 0.92)


def _flower(generator: np.random.Generator) -> Plane:
    """A sharp flower before a background far out of focus."""
    y, x = np.mgrid[0 : 2 * HEIGHT, 0 : 2 * WIDTH] / 2
    blurred = np.full((*_SHAPE, 3), (0.16, 0.24, 0.14))
    for _ in range(60):
        centre, radius = generator.uniform((0, 0), _SHAPE), generator.uniform(15, 45)
        inside = np.hypot(y[::2, ::2] - centre[0], x[::2, ::2] - centre[1]) < radius
        blurred[inside] = generator.uniform((0.1, 0.2, 0.05), (0.6, 0.7, 0.4))
    blurred = np.stack([_blurred(blurred[..., k], 14.0) for k in range(3)], axis=2)
    picture = blurred.repeat(2, axis=0).repeat(2, axis=1)
    dy, dx = y - 175, x - 300
    radius, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    stem = (np.abs(dx + 20 * np.sin(dy / 120)) < 6) & (dy > 0)
    picture[stem] = (0.30, 0.50, 0.20)
    for turn, shade in ((0.5, 0.80), (0.0, 1.0)):
        phase = (angle / (2 * np.pi) * 21 + turn) % 1 - 0.5  # across one of 21 petals
        length = 150 - 12 * turn
        petal = (np.abs(phase) < 0.46 * np.sqrt(np.clip(1 - (radius / length) ** 4, 0, 1))) & (
            radius < length
        )
        veins = 0.86 + 0.14 * np.cos(phase * 40) - 0.6 * phase**2
        colour = (veins * shade * (0.65 + 0.35 * radius / 150))[..., None] * (0.98, 0.78, 0.12)
        picture = np.where(petal[..., None], colour, picture)
    picture[radius < 70] = (0.20, 0.12, 0.06)
    for k in range(420):  # seeds, each a golden angle on from the one before
        seed_radius, seed_angle = 3.3 * np.sqrt(k), 2.399963 * k
        cy, cx = 175 + seed_radius * np.sin(seed_angle), 300 + seed_radius * np.cos(seed_angle)
        window = np.s_[int(2 * cy) - 5 : int(2 * cy) + 6, int(2 * cx) - 5 : int(2 * cx) + 6]
        light = np.clip(1.3 - np.hypot(y[window] - cy + 0.5, x[window] - cx + 0.5) / 2.0, 0, 1)[..., None]
        picture[window] = np.maximum(picture[window], light * (0.72, 0.48, 0.18))
    return _halved(picture)


def _leaves(generator: np.random.Generator) -> Plane:
    """Dead leaves: shapes that hide each other, their sizes by a power law, as objects in photographs are."""
    y, x = np.mgrid[0 : 2 * HEIGHT, 0 : 2 * WIDTH] / 2
    picture = np.zeros((2 * HEIGHT, 2 * WIDTH, 3))
    smallest, largest = 5.0, 130.0
    for uniform in generator.uniform(size=4000):  # density of the radius r: r ** -3
        radius = 1 / np.sqrt(uniform / smallest**2 + (1 - uniform) / largest**2)
        cy, cx = generator.uniform((-20, -20), (HEIGHT + 20, WIDTH + 20))
        top, left = max(0, int(2 * (cy - radius))), max(0, int(2 * (cx - radius)))
        window = np.s_[top : int(2 * (cy + radius)) + 2, left : int(2 * (cx + radius)) + 2]
        turn = generator.uniform(0, np.pi)
        dy, dx = (y[window] - cy) / radius, (x[window] - cx) / radius
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        colour = generator.uniform(0.25, 0.95) * generator.uniform((0.7, 0.5, 0.2), (1.0, 0.9, 0.6))
        shade = 1 + generator.uniform(-0.3, 0.3) * along + generator.uniform(-0.3, 0.3) * across
        leaf = np.hypot(along, across / generator.uniform(0.5, 1)) < 1
        picture[window] = np.where(leaf[..., None], shade[..., None] * colour, picture[window])
    return _halved(picture)


def _wall(generator: np.random.Generator) -> Plane:
    """A brick wall, smooth plaster, and a window with a reflection of the sky."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    row = y // _BRICK[0]
    along = x + _BRICK[1] // 2 * (row % 2)
    tones = generator.uniform(0.75, 1.1, (HEIGHT // _BRICK[0] + 1, WIDTH // _BRICK[1] + 2))
    bricks = (
        tones[row, along // _BRICK[1]][..., None] * (0.62, 0.30, 0.22)
        + 0.035 * _fractal(generator, 0.4)[..., None]
    )
    mortar = (y % _BRICK[0] < 2) | (along % _BRICK[1] < 2)
    wall = np.where(mortar[..., None], np.array((0.72, 0.69, 0.64)), bricks)
    wall[:, 330:] = (0.86, 0.80, 0.68)
    wall[:, 330:] *= 1 + 0.02 * _fractal(generator, 2.0)[:, 330:, None]
    wall[60:300, 70:250] = (0.93, 0.93, 0.90)
    wall[290:306, 60:260] = (0.55, 0.54, 0.52)
    sky = _mix((0.30, 0.42, 0.55), (0.75, 0.82, 0.88), (y + x) / 600)
    for top in (70, 184):
        for left in (80, 165):
            wall[top : top + 104, left : left + 75] = sky[top : top + 104, left : left + 75]
    return wall


def _balls(generator: np.random.Generator) -> Plane:
    """Three balls of one shape before a flat ground: plain, striped and grainy."""
    y, x = np.mgrid[0 : 2 * HEIGHT, 0 : 2 * WIDTH] / 2
    picture = _mix((0.80, 0.82, 0.84), (0.58, 0.60, 0.64), y / HEIGHT)
    grain = _fractal(generator, 0.5).repeat(2, axis=0).repeat(2, axis=1)
    for index, colour in enumerate(((0.80, 0.25, 0.22), (0.95, 0.92, 0.86), (0.30, 0.52, 0.34))):
        cx, cy, radius = 96 + 160 * index, 190, 70
        dy, dx = (y - cy) / radius, (x - cx) / radius
        shadow = np.exp(-(((x - cx - 12) / 75) ** 2) - ((y - cy - 76) / 16) ** 2)
        picture *= 1 - 0.45 * shadow[..., None]
        height = np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1))
        light = 0.25 + 0.75 * np.clip(0.75 * height - 0.45 * dx - 0.5 * dy, 0, 1.1)
        stripes = np.where(np.sin(9 * np.arctan2(dx + 0.6 * dy, height)) > 0, 1, 0.35)
        surface = (np.ones_like(light), stripes, 1 + 0.3 * grain)[index]
        picture = np.where((height > 0)[..., None], (light * surface)[..., None] * colour, picture)
    return _halved(picture)


def _fractal(generator: np.random.Generator, slope: float) -> Plane:
    """Noise whose amplitude falls with frequency to the power of `slope`: mean 0, deviation 1, [H, W]."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(generator.standard_normal(_SHAPE)) / frequency**slope
    noise = np.fft.irfft2(spectrum, s=_SHAPE)
    scaled: Plane = noise / noise.std()
    return scaled


def _blurred(plane: Plane, sigma: float) -> Plane:
    """A Gaussian blur of an [H, W] plane; its edges are mirrored."""
    mirrored = np.block([[plane, plane[:, ::-1]], [plane[::-1], plane[::-1, ::-1]]])
    fy, fx = np.fft.fftfreq(mirrored.shape[0])[:, None], np.fft.rfftfreq(mirrored.shape[1])
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    whole = np.fft.irfft2(np.fft.rfft2(mirrored) * kernel, s=mirrored.shape)
    return whole[: plane.shape[0], : plane.shape[1]]


def _halved(array: Plane) -> Plane:
    """Means of 2x2 pixels of an [H, W] or [H, W, 3] array."""
    return (array[::2, ::2] + array[1::2, ::2] + array[::2, 1::2] + array[1::2, 1::2]) / 4


def _mix(first: tuple[float, ...], second: tuple[float, ...], share: Plane) -> Plane:
    """Colours between two, [H, W, 3]; `share` is of the second, [H, W]."""
    part = share.clip(0, 1)[..., None]
    return (1 - part) * first + part * second


_DRAWINGS: Mapping[str, Callable[[np.random.Generator], Plane]] = MappingProxyType(
    {
        "page": _page,
        "mountain": _mountain,
        "checks": _checks,
        "flower": _flower,
        "leaves": _leaves,
        "wall": _wall,
        "balls": _balls,
    }
)

NAMES = tuple(_DRAWINGS)
