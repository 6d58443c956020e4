"""Videos and zips with an alpha channel: round trips, joins, sound."""

from fractions import Fraction

import av
import numpy as np
import pytest

from headsplat.frames.images import open_image
from headsplat.frames.packs import FrameStore
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.png_zip import PngZipWriter
from headsplat.video.sound import read_sound

WIDTH, HEIGHT = 49, 36


def image(k: int) -> np.ndarray:
    out = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    out[..., :3] = (200, 90, 40)
    out[8:28, 4 + k : 24 + k, 3] = 255
    out[8:28, 24 + k : 32 + k, 3] = 128
    return out


def decoded(path) -> np.ndarray:
    """(N, H, W, 4) images; FFmpeg's own VP9 decoder drops alpha, libvpx's does not."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        if path.suffix == ".mov":
            frames = list(file.decode(stream))
        else:
            libvpx = av.CodecContext.create("libvpx-vp9", "r")
            frames = [frame for packet in file.demux(stream) for frame in libvpx.decode(packet)]
        assert [float(frame.time) for frame in frames] == pytest.approx(
            [k / 25 for k in range(len(frames))], abs=1e-3
        )
        return np.stack([frame.to_ndarray(format="rgba") for frame in frames])


def write(path, ks, audio=None):
    with VideoWriter(path, WIDTH, HEIGHT, 25, audio) as writer:
        for k in ks:
            writer.write(image(k))


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_alpha_and_sound_survive_and_bytes_repeat(tmp_path, suffix):
    tone = np.sin(np.arange(12000) * 0.2).astype(np.float32), 16000
    whole, joined = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write(whole, range(16), tone)
    parts = [tmp_path / f"{n}{suffix}" for n in range(2)]
    write(parts[0], range(8))
    write(parts[1], range(8, 16))
    join_videos(parts, joined, Fraction(25), tone)
    for path in (whole, joined):
        images = decoded(path)[:, :HEIGHT, :WIDTH]
        expected = np.stack([image(k) for k in range(16)])
        off = np.abs(images.astype(int) - expected)
        assert off[..., 3].mean() < 2
        inside = expected[..., 3] == 255
        assert off[inside][:, :3].mean() < 6
        samples, rate = read_sound(path, 100)
        assert len(samples) / rate == pytest.approx(0.64, abs=0.05)
        assert np.abs(samples).max() > 0.5
    first = joined.read_bytes()
    join_videos(parts, joined, Fraction(25), tone)
    assert joined.read_bytes() == first


def test_a_zip_holds_numbered_images(tmp_path):
    parts = [tmp_path / "0.zip", tmp_path / "1.zip"]
    for n, path in enumerate(parts):
        with PngZipWriter(path, 3 * n + 1) as writer:
            for k in range(3 * n, 3 * n + 3):
                writer.write(image(k))
    join_videos(parts, tmp_path / "a.png.zip", Fraction(25))
    with FrameStore([tmp_path / "a.png.zip"]) as store:
        assert store.ids == [1, 2, 3, 4, 5, 6]
        (tmp_path / "5.png").write_bytes(store.read(5))
    with open_image(tmp_path / "5.png") as opened:
        assert opened.mode == "RGBA"
        pixels = np.array(opened)
    expected = image(4)
    np.testing.assert_array_equal(pixels[..., 3], expected[..., 3])
    seen = expected[..., 3] > 0
    np.testing.assert_array_equal(pixels[seen], expected[seen])
    assert pixels[~seen].max() == 0


def test_a_broken_off_zip_is_not_published(tmp_path):
    broken = image(0)[..., :3, None]
    with pytest.raises(TypeError), PngZipWriter(tmp_path / "a.png.zip") as writer:
        writer.write(broken)
    assert not list(tmp_path.iterdir())
