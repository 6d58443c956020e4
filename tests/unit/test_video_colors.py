"""Colors of SDR and HDR sources, against patches encoded here from their known light."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headsplat.runtime.errors import UserError
from headsplat.video.decode import read_images
from headsplat.video.probe import probe_video
from tests.unit.video_files import make_video

SIDE = 32
PATCHES = np.array(
    [
        [(196, 150, 128), (120, 80, 64), (224, 188, 170), (60, 60, 60)],
        [(180, 60, 60), (60, 140, 70), (60, 80, 170), (200, 200, 200)],
    ],
    float,
)
# Light of BT.709 to light of wider primaries: ITU-R BT.2087, SMPTE EG 432-1.
TO_2020 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
TO_P3 = [[0.8225, 0.1775, 0.0], [0.0332, 0.9668, 0.0], [0.0171, 0.0724, 0.9105]]
WIDER = {1: np.eye(3), 9: np.array(TO_2020), 12: np.array(TO_P3)}
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
PQ, HLG = 16, 18


def code_values(light: np.ndarray, transfer: int) -> np.ndarray:
    """Light, 1 being reference white, to code values in [0, 1]."""
    if transfer == PQ:
        y = (light * 203 / 10000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)
    if transfer == HLG:
        shown = light * 203 / 1000
        scene = shown * (shown @ [0.2627, 0.6780, 0.0593])[..., None] ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return light ** (1 / 2.4)


def planes(rgb: np.ndarray, matrix: int, full: bool, bits: int) -> list[np.ndarray]:
    """Y, Cb, Cr of code values (H, W, 3), the last two halved."""
    red, blue = LUMA[matrix]
    y = rgb @ [red, 1 - red - blue, blue]
    cb, cr = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
    unit, most = 2 ** (bits - 8), 2**bits - 1
    if full:
        values = y * most, cb * most + 128 * unit, cr * most + 128 * unit
    else:
        values = (16 + 219 * y) * unit, (128 + 224 * cb) * unit, (128 + 224 * cr) * unit
    y, cb, cr = (np.rint(v).clip(0, most) for v in values)
    return [y, cb[::2, ::2], cr[::2, ::2]]


def patches(
    path: Path, tags: tuple[int, int, int], full: bool, bits: int, tagged: int | None = None
) -> Path:
    """A lossless clip; tags are transfer, primaries, matrix, which it may say to be `tagged`."""
    transfer, primaries, matrix = tags
    light = (PATCHES / 255) ** 2.4 @ WIDER[primaries].T
    rgb = code_values(light, transfer).repeat(SIDE, 0).repeat(SIDE, 1)
    kind, pixels = (np.uint8, "yuv420p") if bits == 8 else (np.uint16, "yuv420p10le")
    height, width = rgb.shape[:2]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = tags
        context.colorspace = tagged or matrix
        context.color_range = 2 if full else 1
        frame = av.VideoFrame(width, height, pixels)
        for plane, values in zip(frame.planes, planes(rgb, matrix, full, bits), strict=True):
            rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
            rows[:, : values.shape[1]] = values
            plane.update(rows.tobytes())
        for index in range(51):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tags", "bits", "words"),
    [
        ((PQ, 9, 9), 10, "HDR (PQ, BT.2020) to SDR BT.709"),
        ((HLG, 9, 9), 10, "HDR (HLG, BT.2020) to SDR BT.709"),
        ((PQ, 12, 1), 10, "HDR (PQ, Display P3) to SDR BT.709"),
        ((1, 12, 1), 8, "SDR Display P3 to SDR BT.709"),
        ((1, 12, 1), 10, "SDR Display P3 to SDR BT.709"),
        ((14, 9, 9), 10, "SDR BT.2020 to SDR BT.709"),
        ((1, 1, 1), 10, ""),
        ((1, 1, 1), 8, ""),
        ((1, 1, 5), 8, ""),
    ],
)
def test_patches_keep_their_colors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tags: tuple, bits: int, words: str, full: bool
) -> None:
    path = patches(tmp_path / "patches.mkv", tags, full, bits)
    with caplog.at_level(logging.INFO):
        info = probe_video(path, tmp_path / "video.json")
    assert words in caplog.text
    assert (" to SDR " in caplog.text) == bool(words)
    assert info.hdr == (tags[0] in (PQ, HLG))
    for fine in (True, False):
        _, image = next(read_images(path, info, 10, 11, fine=fine))
        middles = image[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE].astype(int)
        assert np.abs(middles - PATCHES).max() <= 4


def test_strong_colors_of_hdr_do_not_overflow(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mp4"
    options = {"x265-params": "log-level=none"}
    make_video(path, range(60), Fraction(1, 25), "libx265", "yuv420p10le", options, transfer=HLG)
    info = probe_video(path, tmp_path / "video.json")
    fine, plain = (next(read_images(path, info, 1, 2, fine=f))[1] for f in (True, False))
    # Both ways differ at the edges of colors only.
    assert np.median(np.abs(fine.astype(int) - plain)) <= 2


def test_rare_matrices_are_refused(tmp_path: Path) -> None:
    path = patches(tmp_path / "ictcp.mkv", (PQ, 9, 9), False, 10, tagged=14)
    with pytest.raises(UserError, match=r"a rare matrix \(number 14 "):
        probe_video(path, tmp_path / "video.json")


def test_dolby_vision_without_a_fallback_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dolby.mp4"
    options = {"x265-params": "log-level=none"}
    make_video(path, range(60), Fraction(1, 25), "libx265", "yuv420p10le", options)
    path.write_bytes(path.read_bytes().replace(b"hev1", b"dvhe"))
    with pytest.raises(UserError, match="Dolby Vision without a fallback"):
        probe_video(path, tmp_path / "video.json")
