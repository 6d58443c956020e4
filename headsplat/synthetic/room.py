"""Background image of the built-in clip: a room with a wall, a shelf, a plant and a window.

It is painted once at twice the size, in units of the image side, and slightly blurred.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

BOOKS = (
    (0.030, 0.120, (126, 58, 50)), (0.022, 0.100, (196, 160, 92)), (0.034, 0.130, (58, 82, 104)),
    (0.020, 0.108, (214, 206, 190)), (0.028, 0.092, (92, 112, 84)), (0.024, 0.124, (70, 56, 82)),
    (0.036, 0.105, (178, 104, 66)),
)  # fmt: skip


def paint_room(size: int, seed: int = 3) -> np.ndarray:
    """(size, size, 3) uint8 sRGB image of the room."""
    side = 2 * size
    generator = np.random.default_rng(seed)
    image = Image.fromarray(_wall(side, generator))
    draw = ImageDraw.Draw(image)
    _painting(draw, side)
    _shelf(draw, side)
    _plant(draw, side, generator)
    image = image.filter(ImageFilter.GaussianBlur(side / 320))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def _wall(side: int, generator: np.random.Generator) -> np.ndarray:
    """Plaster lit from a window on the left, wainscot below, and the window's light on it."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    light = 1.06 - 0.34 * x - 0.10 * y
    # A slanted pool of light from the window, with the shadow of its cross bars.
    across, up = x - 0.62 + 0.35 * y, y - 0.30
    pool = _soft(0.16 - np.abs(across), 0.012) * _soft(0.24 - np.abs(up), 0.012)
    bars = _soft(np.abs(across) - 0.012, 0.006) * _soft(np.abs(up) - 0.012, 0.006)
    light = light + 0.13 * pool * bars
    coarse = Image.fromarray(generator.uniform(0, 255, (40, 40)).astype(np.uint8))
    mottle = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) / 255 - 0.5
    color = np.array([170.0, 172.0, 166.0]) * (light + 0.035 * mottle)[..., None]
    wainscot = _soft(y - 0.80, 0.003)[..., None]
    grooves = 1 - 0.10 * _soft(0.004 - np.abs((x * 9) % 1 - 0.5) / 9, 0.002)
    panel = np.array([112.0, 104.0, 96.0]) * (light * grooves)[..., None]
    rail = _soft(0.012 - np.abs(y - 0.80), 0.002)[..., None]
    wall = color * (1 - wainscot) + panel * wainscot
    wall = wall * (1 - rail) + np.array([146.0, 136.0, 124.0]) * light[..., None] * rail
    return wall.clip(0, 255).astype(np.uint8)


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    """0 below -width, 1 above width, smooth between."""
    step = ((value / width + 1) / 2).clip(0, 1)
    return step * step * (3 - 2 * step)


def _box(draw: ImageDraw.ImageDraw, side: int, corners: tuple, color: tuple) -> None:
    draw.rectangle([value * side for value in corners], fill=color)


def _painting(draw: ImageDraw.ImageDraw, side: int) -> None:
    """A framed landscape on the left."""
    _box(draw, side, (0.052, 0.117, 0.292, 0.427), (128, 126, 120))
    _box(draw, side, (0.045, 0.105, 0.285, 0.415), (74, 56, 44))
    _box(draw, side, (0.058, 0.118, 0.272, 0.402), (226, 220, 208))
    _box(draw, side, (0.082, 0.145, 0.248, 0.375), (140, 172, 192))
    draw.ellipse([v * side for v in (0.19, 0.165, 0.225, 0.20)], fill=(244, 214, 150))
    for base, peak, color in (
        (0.245, 0.03, (110, 130, 140)), (0.285, 0.02, (88, 116, 98)), (0.33, 0.012, (150, 138, 84)),
    ):  # fmt: skip
        x = np.linspace(0.082, 0.248, 40)
        ridge = base + peak * np.sin(x * 38 + base * 90)
        outline = [(a * side, b * side) for a, b in zip(x, ridge, strict=True)]
        outline += [(0.248 * side, 0.375 * side), (0.082 * side, 0.375 * side)]
        draw.polygon(outline, fill=color)


def _shelf(draw: ImageDraw.ImageDraw, side: int) -> None:
    """A board on the right with books and a bowl, and a shadow below it."""
    _box(draw, side, (0.71, 0.415, 1.0, 0.440), (104, 102, 98))
    _box(draw, side, (0.70, 0.395, 1.0, 0.418), (98, 70, 50))
    left = 0.725
    for width, height, color in BOOKS:
        _box(draw, side, (left, 0.395 - height, left + width, 0.395), color)
        band = tuple(min(255, c + 40) for c in color)
        _box(draw, side, (left, 0.395 - 0.8 * height, left + width, 0.395 - 0.74 * height), band)
        left += width + 0.003
    draw.pieslice([v * side for v in (0.925, 0.335, 0.995, 0.455)], 180, 360, fill=(196, 188, 170))


def _plant(draw: ImageDraw.ImageDraw, side: int, generator: np.random.Generator) -> None:
    """Leaves on the left, rising from below the image's edge."""
    root = np.array([0.10, 0.86])
    for index, angle in enumerate(np.linspace(-0.95, 0.75, 11)):
        length = 0.20 + 0.12 * generator.uniform()
        s = np.linspace(0, 1, 24)
        direction = np.stack([np.sin(angle * (0.55 + 0.45 * s)), -np.cos(angle * s)], 1)
        spine = root + s[:, None] * length * direction
        normal = np.stack([-direction[:, 1], direction[:, 0]], 1)
        half = (0.020 * np.sin(np.pi * s**0.8))[:, None]
        outline = np.concatenate([spine + half * normal, (spine - half * normal)[::-1]]) * side
        green = 70 + 14 * (index % 3)
        draw.polygon([tuple(point) for point in outline], fill=(green - 20, green + 18, green - 8))
    _box(draw, side, (0.045, 0.855, 0.155, 1.0), (168, 112, 84))
