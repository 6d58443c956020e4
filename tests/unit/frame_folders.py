"""Small folders in the layouts of metrical-tracker and FlashAvatar, and a head that fits them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from headsplat.formats.frame import frame_dict
from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle
from tests.unit.toy_head import toy_head

SIZE = 48


def flame_like(year: str = "2020") -> HeadModel:
    """A head of few vertices with FLAME's name and numbers of codes."""
    return replace(toy_head(identity=300, expression=100), name="flame", version=f"{year}-toy")


def frames(count: int) -> list[dict]:
    """Dictionaries as metrical-tracker fills them: one shape, one camera, a head that turns."""
    rng = np.random.default_rng(5)
    shape = rng.normal(size=300) * 0.3
    K = np.array([[130.0, 0, 25.0], [0, 130.0, 23.0], [0, 0, 1]])
    out = []
    for index in range(count):
        phase = 0.7 * index
        turn = torch.tensor([0.2 * np.sin(phase), 0.5 * np.cos(0.6 * phase), 0.1])
        R = np.diag([1.0, -1, -1]) @ matrix_from_axis_angle(turn).numpy()
        six = np.array([1.0, 0, 0, 0, np.cos(0.1 * index), -np.sin(0.1 * index)])
        t = np.array([0.01 * np.sin(phase), 0.02 * np.cos(phase), 0.8])
        exp = rng.normal(size=100) * 0.5
        codes = (exp, six * 1.3, np.r_[six, six], rng.random(2))
        out.append(frame_dict(index, shape, *codes, R, t, K, (SIZE, SIZE)))
    return out


def write_frames(folder: Path, count: int) -> Path:
    """`folder` with `00000.frame` and on, written by torch itself."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames(count)):
        torch.save(frame, folder / f"{index:05d}.frame")
    return folder


def image(number: int) -> np.ndarray:
    """A gray image that carries its number, for detectors that need no face."""
    return np.full((SIZE, SIZE, 3), number, np.uint8)


def metrical_output(folder: Path, count: int) -> Path:
    """`output/<actor>`: checkpoint/ and input/."""
    write_frames(folder / "checkpoint", count)
    (folder / "input").mkdir()
    for number in range(count):
        (folder / "input" / f"{number:05d}.png").write_bytes(encode_png(image(number)))
    return folder


def flashavatar_dataset(folder: Path, count: int) -> Path:
    """imgs/, alpha/ and parsing/ numbered from 1, and checkpoint/ from 0."""
    write_frames(folder / "checkpoint", count)
    for part in ("imgs", "alpha", "parsing"):
        (folder / part).mkdir()
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:40, 8:40] = 255
    for number in range(1, count + 1):
        stem = f"{number:05d}"
        (folder / "imgs" / f"{stem}.jpg").write_bytes(encode_jpeg(image(number)))
        (folder / "alpha" / f"{stem}.jpg").write_bytes(encode_jpeg(mask))
        (folder / "parsing" / f"{stem}_neckhead.png").write_bytes(encode_png(mask))
        (folder / "parsing" / f"{stem}_mouth.png").write_bytes(encode_png(mask // 2 * 0))
    return folder
