"""Writing of mp4 files and reading of their sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headsplat.runtime.errors import UserError
from headsplat.video.encode import VideoWriter
from headsplat.video.sound import read_sound
from tests.unit.video_files import number_of, numbered_image


def click(rate: int, seconds: float, at: float) -> np.ndarray:
    samples = np.zeros(int(rate * seconds), np.float32)
    start = int(at * rate)
    samples[start : start + rate // 20] = np.sin(np.arange(rate // 20) * 0.3) * 0.8
    return samples


def write(path: Path, audio: tuple[np.ndarray, int] | None, size: tuple[int, int]) -> None:
    with VideoWriter(path, *size, Fraction(25), audio) as writer:
        for index in range(50):
            writer.write(numbered_image(index, *size))


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (22000, 1)])
@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_sound_is_in_sync_and_as_long_as_the_images(
    tmp_path: Path, rate: int, channels: int, seconds: float
) -> None:
    samples = click(rate, seconds, 0.6)
    if channels == 2:
        samples = np.stack([samples, samples], axis=1)
    path = tmp_path / "a.mp4"
    write(path, (samples, rate), (160, 120))
    with av.open(str(path)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert video.duration * video.time_base == 2
        assert abs(audio.duration * audio.time_base - 2) <= Fraction(1, 25)
    sound, sound_rate = read_sound(path, 100)
    assert sound.dtype == np.float32
    assert sound.shape[1] == channels
    start = np.argmax(np.abs(sound[:, 0]) > 0.2) / sound_rate
    assert abs(start - 0.6) < 0.005


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, (click(16000, 2, 0.5), 16000), (160, 120))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sizes_are_padded_and_colors_survive(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    write(path, None, (161, 121))
    with av.open(str(path)) as file:
        for index, frame in enumerate(file.decode(video=0)):
            image = frame.to_ndarray(format="rgb24")
            assert image.shape == (122, 162, 3)
            assert number_of(image[:121, :161]) == index
            assert np.abs(image[100, 80].astype(int) - (90, 120, 150)).max() <= 4
    assert read_sound(path, 100) is None


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with (
        pytest.raises(ValueError, match="expected uint8"),
        VideoWriter(path, 160, 120, 25) as writer,
    ):
        writer.write(np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_sound_of_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing.mp4"):
        read_sound(tmp_path / "nothing.mp4", 100)
